"""The project's commands as a user runs them, for benchmarks: their seconds and what they print."""

import re
import resource
import subprocess
import sys
import time
from pathlib import Path


def run(module: str, *arguments: object, folder: Path) -> tuple[float, str]:
    """The seconds of `python -m module` in a folder, and its standard output.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def spent(module: str, *arguments: object, folder: Path) -> tuple[float, str]:
    """The seconds of a processor that it and its processes take, and its standard output.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, output = run(module, *arguments, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, output


def queries_rmse(output: str) -> float:
    """The RMSE that `study.best_predict --truth` printed."""
    found = re.search(r"^RMSE: ([\d.]+)", output, re.MULTILINE)
    assert found is not None, output
    return float(found.group(1))


def validation_rmse(output: str) -> float:
    """The validation RMSE of the first setting that `study.best_predict` answered with."""
    found = re.search(r": validation RMSE ([\d.]+)", output)
    assert found is not None, output
    return float(found.group(1))
