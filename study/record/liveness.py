"""Whether a worker lives, as far as the lease on its trial tells."""

import functools
import hashlib
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from study.record.attributes import Holder, TrialView

START_SECONDS = 2.0  # by which the start of a process may seem to move


def is_running(study: optuna.Study) -> bool:
    """Whether a worker that may be alive runs a trial of the study."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(not is_gone(lease_of(trial)) for trial in running)


def is_gone(lease: Mapping[str, Any]) -> bool:
    """Whether the worker is known to be dead: of one on another machine it is never known."""
    if lease.get("machine") != _machine():
        return False
    try:
        process = psutil.Process(lease["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:  # dead, and not yet waited for
            return True
        return bool(abs(_started(process) - lease["started"]) > START_SECONDS)
    except psutil.NoSuchProcess:
        return True


def this_worker(beat: int) -> Holder:
    """What a lease of this process says: host, machine, process id, start time, and the counter."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": process.pid,
        "started": _started(process),
        "beat": beat,
    }


def lease_of(trial: FrozenTrial) -> Holder:
    """The lease on a trial; an empty one if somebody wrote what is none."""
    lease = TrialView(trial).lease
    kinds = {"host": str, "machine": str, "pid": int, "started": float}
    if not isinstance(lease, dict):
        return {}
    is_whole = all(isinstance(lease.get(name), kind) for name, kind in kinds.items())
    return lease if is_whole and lease["pid"] > 0 else {}


def _started(process: psutil.Process) -> float:
    """When a process started, in seconds after its machine did: a clock that is set moves both."""
    return float(process.create_time() - psutil.boot_time())


@functools.cache
def _machine() -> str:
    """What tells this system's processes from those of another with the same host name.

    Containers that share a name see different processes, and a start anew begins their numbers
    anew.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    with suppress(AttributeError):
        parts.append(str(os.getuid()))  # who may not see the processes of others
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
