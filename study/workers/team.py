"""The workers of a study: processes that run its trials, and what looks after them.

One that dies is replaced, so long as trials finish in between. Workers share nothing but the
database and the files, which they open by themselves: one on another machine is no different.
"""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import torch

from model.kernels.threads import n_threads, set_n_threads
from storage.errors import InputError, fault_outside
from study.events import OnEvent, Rest
from study.record.ranking import is_decided
from study.record.record import Record, n_finished
from study.workers.claims import StudyFailedError
from study.workers.interrupts import Interrupts
from study.workers.job import Job
from study.workers.joining import Joined, join_anew
from study.workers.leases import Watch
from study.workers.processes import may_start, start_method, starting
from study.workers.progress import Follower

LOOK_SECONDS = 0.5  # from one look at the workers and the database to the next
WORKER_BYTES, RATING_BYTES = 400_000_000, 300  # of memory, that a worker may need
MEMORY_SHARE = 0.25  # of the memory that is free, which they may need together
STARTS = 5  # tries to start a worker
DEATHS_IN_A_ROW = 5  # of all workers, without a trial that finishes in between


class WorkerError(Exception):
    """Workers keep dying, or one met an error that the others would meet too."""


def suitable_workers(n_ratings: int, device: torch.device) -> int:
    """How many workers finish most trials: one a core that there is memory for, on a GPU one.

    One too where this process may not start any.

    By measurement (`benchmarks/workers.py`): two with a thread each finish 1.4 times as many as one
    with two threads.
    """
    if device.type == "cuda" or not may_start():
        return 1
    memory = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(n_threads(), int(memory / (WORKER_BYTES + RATING_BYTES * n_ratings))))


def run_job(job: Job, joined: Joined, *, interrupts: Interrupts, on_event: OnEvent) -> None:
    """Does what there is to do in a study with as many workers as its clock says, and tells of it.

    Raises:
        StudyFailedError: trials keep failing, or all finalists do.
        WorkerError: workers keep dying, or one met an error.
    """
    study, clock, watch = joined.record.study, joined.clock, Watch()
    # Of ranks they run trials alone.
    left = max(job.total - n_finished(study), 0 if job.whole else clock.n_finalists)
    n_workers = min(clock.n_workers, left)
    follower = Follower(
        joined.record,
        joined.finalists,
        clock=clock,
        total=max(n_finished(study), job.total),
        n_workers=n_workers,
        on_event=on_event,
    )

    def records() -> list[Record]:
        """What is worked on: the trials, or once it is time the runs of finalists too."""
        racing = clock.is_for_finalists(study, total=job.total) and not is_decided(study)
        return [joined.record, joined.finalists.runs.record] if racing else [joined.record]

    def look() -> None:
        watch.look(*records())
        follower.look()

    def look_on() -> None:
        if interrupts():
            follower.say_stopping()
        look()

    try:
        look()
        if clock.n_workers == 1:
            _run_here(joined.work, look_on, interrupts)
        else:
            _run_workers(
                job,
                n_workers,
                look=look_on,
                n_done=lambda: sum(n_finished(record.study) for record in records()),
                interrupted=interrupts,
            )
            if job.whole:  # workers have a sample alone
                _run_here(joined.race, look_on, interrupts)
        look()
    finally:
        on_event(Rest())


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
            worker = self._context.Process(target=_work, args=(self._job, theirs), daemon=True)
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


def _work(job: Job, pipe: Connection) -> None:
    """The life of a worker process."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it says when
    terminated = threading.Event()

    def terminate(*_: object) -> None:
        terminated.set()
        stop.set()

    signal.signal(signal.SIGTERM, terminate)
    set_n_threads(max(1, job.n_threads // job.clock.n_workers))
    torch.set_num_threads(1)

    def listen() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()
        stop.set()  # it said so, or is gone

    threading.Thread(target=listen, name="listen", daemon=True).start()
    try:
        join_anew(job, interrupted=stop.is_set).work()
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
