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
    """What the work gives of each item, in their order; threads left over are theirs to use."""
    items = list(items)
    n = min(n_threads(), len(items))
    if n <= 1:
        return [work(item) for item in items]
    results: dict[int, Result] = {}
    left = iter(enumerate(items))

    def go_on() -> None:
        for number, item in left:
            results[number] = work(item)

    pool = _pool(n, n_threads() // n)
    for thread in [pool.submit(go_on) for _ in range(n)]:
        thread.result()
    return [results[number] for number in range(len(items))]


def _pool(n: int, share: int) -> ThreadPoolExecutor:
    """The calling thread's own pool of n threads: what shares out its own work needs another."""
    pools: dict[tuple[int, int], ThreadPoolExecutor] = _local.__dict__.setdefault("pools", {})
    if (n, share) not in pools:
        pools[n, share] = ThreadPoolExecutor(n, initializer=set_n_threads, initargs=(share,))
    return pools[n, share]
