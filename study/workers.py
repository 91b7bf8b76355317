"""The workers of a study: processes that run its trials, and what looks after them.

One that dies is replaced, so long as trials finish in between. Workers share nothing but the
database and the files, which they open by themselves: one on another machine is no different.
"""

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from model.threads import n_threads, set_n_threads
from storage.errors import InputError
from study.interrupts import Interrupts
from study.processes import start_method, starting

if TYPE_CHECKING:
    import optuna
    import torch

    from study.joining import Joined

LOOK_SECONDS = 0.5  # from one look at the workers and the database to the next
LOCK_SECONDS = 60.0  # a worker that waits so long for the lock does without
WORKER_BYTES, RATING_BYTES = 400_000_000, 300  # of memory, that a worker may need
MEMORY_SHARE = 0.25  # of the memory that is free, which they may need together
STARTS = 5  # tries to start a worker
DEATHS_IN_A_ROW = 5  # of all workers, without a trial that finishes in between


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know to join a study."""

    storage: str  # the URL, password and all
    study_name: str
    total: int  # finished trials that the study is to have
    data: Path | None  # as load_data takes it
    columns: tuple[str, str, str] | None
    missing: float | None
    folder: Path  # where files beside the database are
    device: str
    seed: int
    timeout: float  # seconds
    deadline: float  # of time.monotonic(), which processes of a machine share
    n_workers: int


class WorkerError(Exception):
    """Workers keep dying, or one met an error that the others would meet too."""


def work(joined: "Joined", total: int) -> None:
    """Runs trials up to the total, then finalists, among all others that do so.

    Raises:
        StudyFailedError: trials keep failing, or all finalists do.
    """
    from study.studies import n_finished
    from study.trials import run_trials

    lock, objective, timeout = folder_lock(joined.folder), joined.objective, joined.timeout
    run_trials(joined.study, objective, total=total, lock=lock, until=timeout.trials_end)
    in_time = time.monotonic() < timeout.deadline and not objective.interrupted()
    if in_time or n_finished(joined.study) >= total:
        joined.finalists.run(lock=lock)


def suitable_workers(n_ratings: int, device: "torch.device") -> int:
    """How many workers finish most trials: one a core that there is memory for, on a GPU one.

    By measurement (`benchmarks/workers.py`): two with a thread each finish 1.4 times as many as one
    with two threads.
    """
    if device.type == "cuda":
        return 1
    memory = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(n_threads(), int(memory / (WORKER_BYTES + RATING_BYTES * n_ratings))))


def run_job(job: Job, joined: "Joined", *, interrupts: Interrupts) -> None:
    """Does what there is to do in a study, in view, with as many workers as the job says.

    Raises:
        StudyFailedError: trials keep failing, or all finalists do.
        WorkerError: workers keep dying, or one met an error.
    """
    from study.finalists import N_FINALISTS, is_decided
    from study.leases import Watch
    from study.progress import StudyProgress
    from study.studies import n_finished

    study, watch = joined.study, Watch()
    left = max(job.total - n_finished(study), N_FINALISTS)
    progress = StudyProgress(
        study,
        joined.finalists,
        timeout=joined.timeout,
        total=max(n_finished(study), job.total),
        n_workers=min(job.n_workers, left),
    )

    def studies() -> list["optuna.Study"]:
        """What is worked on: the trials, or once it is time the runs of finalists too."""
        racing = joined.timeout.is_for_finalists(job.total) and not is_decided(study)
        return [study, joined.finalists.runs] if racing else [study]

    def look() -> None:
        watch.look(*studies())
        progress.look()

    def look_on() -> None:
        if interrupts():
            progress.say_stopping()
        look()

    with progress:
        look()
        if job.n_workers == 1:
            _run_here(lambda: work(joined, job.total), look_on, interrupts)
        else:
            _run_workers(
                job,
                min(job.n_workers, left),
                look=look_on,
                n_done=lambda: sum(map(n_finished, studies())),
                interrupted=interrupts,
            )
        look()


def _run_here(task: Callable[[], None], look: Callable[[], None], interrupts: Interrupts) -> None:
    """Runs a task in this process, and looks after it from a thread.

    Raises:
        Exception: what the task raised, or the looking.
    """
    ended = threading.Event()
    raised: list[Exception] = []

    def keep_looking() -> None:
        try:
            while not ended.wait(LOOK_SECONDS):
                look()
        except Exception as error:  # such as that nobody reads what is printed any more
            raised.append(error)
            interrupts.wish()

    thread = threading.Thread(target=keep_looking, name="look", daemon=True)
    thread.start()
    try:
        task()
    finally:
        ended.set()
        thread.join()
    if raised:
        raise raised[0]


def _run_workers(
    job: Job,
    n_workers: int,
    *,
    look: Callable[[], None],
    n_done: Callable[[], int],
    interrupted: Callable[[], bool],
) -> None:
    """Runs workers until there is nothing left for them to do, or an interrupt arrives.

    Raises:
        WorkerError: they keep dying, or one met an error.
    """
    team = _Team(job)
    deaths, before = 0, n_done()
    try:
        for _ in range(n_workers):
            team.start()
        while team.workers:
            wait([worker.sentinel for worker in team.workers], timeout=LOOK_SECONDS)
            for code in filter(None, team.take_ended()):
                if (now := n_done()) > before:
                    deaths, before = 0, now
                deaths += 1
                if deaths >= DEATHS_IN_A_ROW:
                    raise WorkerError(f"{deaths} workers died in a row, at last by {_cause(code)}")
                if not (interrupted() or team.errors):
                    team.start()
            if interrupted() or team.errors:
                team.stop()
            look()
        if team.errors:
            raise WorkerError(team.errors[0])
    finally:
        team.kill()


class _Team:
    """The worker processes, each with a pipe to it that ends when this process does."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._context: Any = multiprocessing.get_context(start_method())
        self._pipes: dict[BaseProcess, Connection] = {}
        self.errors: list[str] = []

    @property
    def workers(self) -> list[BaseProcess]:
        return list(self._pipes)

    def start(self) -> None:
        ours, theirs = self._context.Pipe()
        for tries_left in reversed(range(STARTS)):
            worker = self._context.Process(target=_worker, args=(self._job, theirs), daemon=True)
            try:
                with starting():
                    worker.start()
                break
            except (EOFError, OSError):  # the process that starts workers was killed
                if not tries_left:
                    raise
        theirs.close()
        self._pipes[worker] = ours

    def stop(self) -> None:
        """Asks all to end after the epoch that they are in."""
        for pipe in self._pipes.values():
            with suppress(OSError):
                pipe.send("stop")

    def kill(self) -> None:
        for worker, pipe in self._pipes.items():
            worker.kill()
            worker.join()
            pipe.close()
        self._pipes.clear()

    def take_ended(self) -> list[int]:
        """The exit codes of those that have ended since."""
        ended = [worker for worker in self._pipes if worker.exitcode is not None]
        for worker in ended:
            pipe = self._pipes.pop(worker)
            with suppress(EOFError, OSError):
                if pipe.poll():
                    self.errors.append(pipe.recv())
            pipe.close()
        return [worker.exitcode or 0 for worker in ended]


def folder_lock(folder: Path) -> Callable[[], AbstractContextManager[object]]:
    """What makes a context that one process at a time is in, of those that share the folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS, poll_interval=0.005)

    def held() -> AbstractContextManager[object]:
        try:
            return lock.acquire()
        except (Timeout, OSError):
            return nullcontext()  # trials are counted right without it

    return held


def _worker(job: Job, pipe: Connection) -> None:
    """The life of a worker process."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it says when
    terminated = threading.Event()

    def terminate(*_: object) -> None:
        terminated.set()
        stop.set()

    signal.signal(signal.SIGTERM, terminate)
    set_n_threads(max(1, n_threads() // job.n_workers))

    def listen() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()
        stop.set()  # it said so, or is gone

    threading.Thread(target=listen, name="listen", daemon=True).start()
    from study.cli import fault_outside
    from study.joining import join_anew
    from study.trials import StudyFailedError

    try:
        work(join_anew(job, interrupted=stop.is_set), job.total)
    except (InputError, StudyFailedError) as error:
        pipe.send(str(error))
    except Exception as error:
        if not (reason := fault_outside(error)):
            raise
        pipe.send(f"{reason}; what was finished before is kept")
    if terminated.is_set():  # by somebody else, who has not ended the study: to be replaced
        sys.exit(128 + signal.SIGTERM)


def _cause(code: int) -> str:
    """What an exit code tells of a death."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
