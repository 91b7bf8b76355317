"""How worker processes start: from a server that has imported everything, where there is one."""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType

LONGEST_FOLDER = 64  # bytes of the path of temporary files: that of a socket holds 104 in all


def start_method() -> str:
    """How workers are started: from a server that has imported everything, where there is one."""
    is_there = "forkserver" in multiprocessing.get_all_start_methods()
    has_room = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER
    return "forkserver" if is_there and has_room else "spawn"


def may_start() -> bool:
    """Whether this process may start others; a daemonic one, as of a Pool or Celery, may not."""
    return not multiprocessing.current_process().daemon


def prepare() -> None:
    """Lets the imports of the workers begin, beside those of this process."""
    if start_method() == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(["study.workers.team"])
        with _our_path(), _no_ctrl_c():
            forkserver.ensure_running()


@contextmanager
def starting() -> Iterator[None]:
    """Around the start of a process: it finds our modules alone, and leaves Ctrl-C to this one."""
    with _our_path(), _no_ctrl_c(), _without_main():
        yield


@contextmanager
def _without_main() -> Iterator[None]:
    """Starts a process that does not import the caller's script, which would run it once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _our_path() -> Iterator[None]:
    """Lets a Python that starts look for modules where this one does, and nowhere else first.

    It would look into the working folder, where a `study.py` of the user's may lie.
    """
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    ours = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Lets a process that starts take no notice of Ctrl-C: the one that started it says when.

    It inherits what is blocked here. For this process, Ctrl-C waits until the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # or else it starts in the block, and lifts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
