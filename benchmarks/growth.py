"""How seconds and memory grow with the ratings: of reading, of each solver, of a whole study.

    python -m benchmarks.growth [--ratings 10000 100000 1000000 10000000] [--trials 20]
        [--no-study | --study-up-to N]

The ratings are planted (`planted`). Every measurement is a process of its own; its memory is the
most that it ever held, the interpreter and PyTorch included, which the first rows show alone, and
numba with what it compiled where that runs. The file is read once as text and once from the cache.
A solver at its default setting is built from 90 % of the ratings, as in a study, after a few others
that do not count; of sweeps, or passes, the median is told, their validation error included, the
first left out. A study finds the cache filled, and its finalists are part of it; its memory
is that of all its processes together, what they share counted once, looked at twice a second.
"""

# This process stays small, for what is started from it inherits its peak: nothing heavy up here.
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
MEASURED = [
    *("planting", "imports", "imports, kernels"),
    *("reading", "reading again", "als", "gibbs", "gradient"),
]
N_SWEEPS = 9
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured once."""

    what: str
    n_ratings: int
    seconds: float
    peak: float  # bytes


def measure(n_ratings: int, folder: Path, *, trials: int) -> Iterator[Row]:
    """Everything there is to measure of so many ratings; `folder` is empty, and filled.

    Raises:
        subprocess.CalledProcessError: a process failed.
    """
    file = folder / "mat_comp"
    for what in MEASURED:
        arguments = ["--measure", what, "--ratings", str(n_ratings), "--file", str(file)]
        output, peak = started("benchmarks.growth", *arguments)
        for part, seconds in json.loads(output).items():
            yield Row(what=part, n_ratings=n_ratings, seconds=seconds, peak=peak)
    if trials:
        began = time.perf_counter()
        arguments = ["--data", str(file), "--storage", f"sqlite:///{folder / 'study.db'}"]
        _, peak = started("study.run", "--trials", str(trials), *arguments)
        seconds = time.perf_counter() - began
        yield Row(what=f"study, {trials} trials", n_ratings=n_ratings, seconds=seconds, peak=peak)


def started(module: str, *arguments: str) -> tuple[str, float]:
    """What a module prints in a fresh Python, and the most bytes that it held.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, env=os.environ | {"PYTHONPATH": path})
        together = 0.0
        while (waited := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            together = max(together, held(psutil.Process(process.pid)))
            time.sleep(LOOK_SECONDS)
        _, status, usage = waited
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return output.read(), max(together, float(usage.ru_maxrss * unit))


def held(process: psutil.Process) -> float:
    """The bytes that a process and those it started hold, as long as there are any of these."""
    started = process.children(recursive=True)
    total = 0.0
    for one in [process, *started] if started else []:
        with contextlib.suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total


def seconds_of(what: str, n_ratings: int, file: Path) -> dict[str, float]:
    """The seconds of each part of a measurement, taken in this process."""
    began = time.perf_counter()
    import torch

    from benchmarks.planted import planted, sizes, write_mat_comp
    from model.solvers import SOLVERS, make_solver
    from model.splits import split
    from study.inputs import load_data

    def lap() -> float:
        """Seconds since the lap before."""
        nonlocal began
        before, began = began, time.perf_counter()
        return began - before

    def warm_up(solver: str) -> None:
        """Loads what is compiled, on a few ratings."""
        few = planted(1000, n_users=100, n_items=100)
        next(make_solver(SOLVERS[solver].default, few, device=device, seed=0).epochs(None))

    device = torch.device("cpu")
    if what == "imports":
        return {what: lap()}
    if what == "imports, kernels":
        warm_up("gibbs")
        return {what: lap()}
    if what == "planting":
        n_users, n_items = sizes(n_ratings)
        write_mat_comp(planted(n_ratings, n_users=n_users, n_items=n_items), file)
        return {}
    lap()
    data = load_data(file, runs=file.parent)
    if what.startswith("reading"):
        return {what: lap()}
    training, validation = split(data.ratings, seed=0)
    warm_up(what)
    lap()
    epochs = make_solver(SOLVERS[what].default, training, device=device, seed=0).epochs(validation)
    built = lap()
    next(epochs)
    lap()
    seconds = []
    for _ in range(N_SWEEPS):
        next(epochs)
        seconds.append(lap())
    return {f"{what}, building": built, f"{what}, a sweep": statistics.median(seconds)}


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown, beside each figure its ratio to the one of the size before."""
    yield "| what | ratings | seconds | ratio | peak, MB | ratio |"
    yield "|---|---|---|---|---|---|"
    for what in dict.fromkeys(row.what for row in rows):
        before = None
        for row in (row for row in rows if row.what == what):
            seconds, peak = f"{row.seconds:.3g}", f"{row.peak / 1e6:,.0f}"
            more = slower = "–"
            if before:
                slower = f"{row.seconds / before.seconds:.1f}" if before.seconds else "–"
                more = f"{row.peak / before.peak:.1f}"
            yield f"| {what} | {row.n_ratings:,} | {seconds} | {slower} | {peak} | {more} |"
            before = row


def main() -> None:
    """Prints a table, and what is being measured to standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = [10_000, 100_000, 1_000_000, 10_000_000]
    parser.add_argument("--ratings", type=int, nargs="+", default=sizes)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--no-study", action="store_true")
    parser.add_argument("--study-up-to", type=float, default=float("inf"), help="ratings")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(seconds_of(options.measure, options.ratings[0], options.file)))
        return
    rows = []
    for n_ratings in sorted(options.ratings):
        studied = not options.no_study and n_ratings <= options.study_up_to
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(n_ratings, Path(folder), trials=options.trials if studied else 0):
                told = f"{row.what}, {n_ratings:,} ratings: {row.seconds:.3g} s"
                print(told, file=sys.stderr, flush=True)
                rows.append(row)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
