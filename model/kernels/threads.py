"""Work shared out to threads: what is compiled lets go of the interpreter while it runs."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()


class _Outside:
    """What PyTorch gives to threads that begin, where nobody is in `torch_in_one_thread`."""

    lock = threading.Lock()
    n_inside = 0
    n_threads = 1


_outside = _Outside()


def n_threads() -> int:
    """How many threads the calling one may use: as many as suit the process, unless it was set."""
    if not hasattr(_local, "n_threads"):
        _local.n_threads = suitable_threads()
    limit: int = _local.n_threads
    return limit


def suitable_threads() -> int:
    """How many threads suit this process: OMP_NUM_THREADS, or the cores that there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    is_number = asked.isascii() and asked.isdigit() and len(asked) < 10
    return (int(asked) if is_number else 0) or cores or 1


def set_n_threads(n: int) -> None:
    """Sets how many threads the calling one may use."""
    _local.n_threads = n


@contextmanager
def torch_in_one_thread() -> Iterator[None]:
    """Lets PyTorch share out nothing by itself within the block, and as before after it.

    The solvers work in blocks that fit a cache, too small to be worth sharing out: with two threads
    sweeps took ten times longer, and epochs twice. PyTorch keeps a number for each thread that has
    used it and one, which is that set last, for threads that begin: those are to have one too as
    long as anybody is in such a block.
    """
    if getattr(_local, "is_inside", False):
        yield
        return
    with _outside.lock:
        if _outside.n_inside:
            _in_new_thread(lambda: torch.set_num_threads(_outside.n_threads))
        else:
            _outside.n_threads = _in_new_thread(torch.get_num_threads)
        _outside.n_inside += 1
        before = torch.get_num_threads()
        torch.set_num_threads(1)
    _local.is_inside = True
    try:
        yield
    finally:
        _local.is_inside = False
        with _outside.lock:
            _outside.n_inside -= 1
            torch.set_num_threads(before)
            n_new = 1 if _outside.n_inside else _outside.n_threads
            _in_new_thread(lambda: torch.set_num_threads(n_new))


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What the work gives of each item, in their order.

    The calling thread works too. The work may share out its own: whatever thread has nothing else
    to do helps with it. An error of the work is raised when no thread is at it any more.
    """
    items = list(items)
    n = n_threads()
    if min(n, len(items)) <= 1:
        return [work(item) for item in items]
    teams: dict[int, _Team] = _local.__dict__.setdefault("teams", {})
    if n not in teams:
        teams[n] = _Team(n)
    return teams[n].share(_Job(work, items))


def _in_new_thread(work: Callable[[], Result]) -> Result:
    """What the work gives in a thread of its own, which has not used PyTorch yet."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


class _Job:
    """Items to work on, each taken by some thread."""

    def __init__(self, work: Callable[[Any], Any], items: list[Any]) -> None:
        self.n_items = len(items)
        self._work = work
        self._left = enumerate(items)
        self._results: dict[int, Any] = {}
        self._error: BaseException | None = None
        self.n_running = 0

    def take(self) -> tuple[int, Any] | None:
        """The next item and its number, if one is left."""
        return next(self._left, None)

    def do(self, number: int, item: Any) -> None:
        try:
            self._results[number] = self._work(item)
        except BaseException as error:
            self._error = error
            self.drop()

    def drop(self) -> None:
        """Takes what is left from everyone."""
        self._left = enumerate([])

    def results(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        return [self._results[number] for number in range(self.n_items)]


class _Team:
    """Threads that help each other: one that calls, and a pool of others."""

    def __init__(self, n: int) -> None:
        self._jobs: list[_Job] = []  # in the order in which they were shared out
        self._changed = threading.Condition()  # they, or whether someone is at one
        self._pool = ThreadPoolExecutor(n - 1, initializer=self._join, initargs=(n,))
        self._n_others = n - 1

    def _join(self, n: int) -> None:
        _local.n_threads, _local.teams = n, {n: self}

    def share(self, job: _Job) -> list[Any]:
        """Works on a job until it is done, together with whoever is free."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()
        others = min(self._n_others, job.n_items - 1)
        helpers = [self._pool.submit(self._work_on) for _ in range(others)]
        try:
            self._work_on(job)
        finally:
            with self._changed:
                job.drop()
                self._jobs.remove(job)
            for helper in helpers:
                helper.cancel()
        return job.results()

    def _work_on(self, awaited: _Job | None = None) -> None:
        """Does what there is, until the awaited job is done; without one, until nothing is left."""
        while taken := self._next(awaited):
            job, number, item = taken
            job.do(number, item)
            with self._changed:
                job.n_running -= 1
                if not job.n_running:
                    self._changed.notify_all()

    def _next(self, awaited: _Job | None) -> tuple[_Job, int, Any] | None:
        """An item of the job that was shared out last, for others may wait for it."""
        with self._changed:
            while True:
                for job in reversed(self._jobs):
                    if taken := job.take():
                        job.n_running += 1
                        return job, *taken
                    if job is awaited:
                        break
                if awaited is None or not awaited.n_running:
                    return None
                self._changed.wait()
