"""Too little memory is one line, whoever ran out of it and however that is said."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import InputError, fault_outside, lacks_memory
from storage.memory import LEAST_ADDRESSES, check_addresses
from study import cli
from study.run import main

COMMAND = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))
from study.run import main
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others do not keep to such a limit")
def test_a_command_that_has_too_few_addresses_says_how_many_it_needs(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,rating\n1,1,5\n1,2,3\n")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--data", "ratings.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "study.run: expected 3 GB of addresses for a process, or more, got a limit of 0.6 GB; "
        "ulimit -v unlimited lifts it\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, LEAST_ADDRESSES])
def test_enough_addresses(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    check_addresses()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (LEAST_ADDRESSES - 1, limit))
    with pytest.raises(InputError, match="expected 3 GB of addresses"):
        check_addresses()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_memory_that_ends_is_told_from_faults_of_our_own(error: Exception) -> None:
    assert fault_outside(error) == "not enough memory"
    wrapped = ValueError("what came of it")
    wrapped.__cause__ = error
    assert lacks_memory(wrapped)


@pytest.mark.parametrize("error", [ValueError("out"), RuntimeError("no such kernel"), KeyError(3)])
def test_a_fault_of_our_own_stays_one(error: Exception) -> None:
    assert fault_outside(error) == ""


def test_memory_that_ends_in_a_command_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object) -> None:
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.Asked, "load", load)
    with pytest.raises(SystemExit) as exit_:
        main(["--workers", "1"])
    assert exit_.value.code == 1
    said = capsys.readouterr().err
    assert said == "study.run: not enough memory; what was finished before is kept\n"
