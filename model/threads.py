"""Work shared out to threads: what is compiled lets go of the interpreter while it runs."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()


def n_threads() -> int:
    """How many threads the calling one may use: OMP_NUM_THREADS, or the cores that there are."""
    if not hasattr(_local, "n_threads"):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        is_number = asked.isascii() and asked.isdigit() and len(asked) < 10
        _local.n_threads = (int(asked) if is_number else 0) or cores or 1
    limit: int = _local.n_threads
    return limit


def set_n_threads(n: int) -> None:
    """Sets how many threads the calling one may use."""
    _local.n_threads = n


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What the work gives of each item, in their order.

    The work may share out its own: whatever thread has nothing else to do helps with it.
    """
    items = list(items)
    if min(n_threads(), len(items)) <= 1:
        return [work(item) for item in items]
    pool: ThreadPoolExecutor | None = getattr(_local, "pool", None)
    if pool is None:  # the pool's threads work, this one waits
        return _own_pool().submit(lambda: in_threads(work, items)).result()
    results: dict[int, Result] = {}
    left = iter(enumerate(items))

    def go_on() -> None:
        for number, item in left:
            results[number] = work(item)

    helpers = [pool.submit(go_on) for _ in range(min(n_threads(), len(items)) - 1)]
    go_on()
    for helper in helpers:
        if not helper.cancel():  # it has begun
            helper.result()
    return [results[number] for number in range(len(items))]


def _own_pool() -> ThreadPoolExecutor:
    """The calling thread's own pool, of as many threads as it may use."""
    n = n_threads()
    pools: dict[int, ThreadPoolExecutor] = _local.__dict__.setdefault("pools", {})

    def join() -> None:
        _local.pool, _local.n_threads = pools[n], n

    if n not in pools:
        pools[n] = ThreadPoolExecutor(n, initializer=join)
    return pools[n]
