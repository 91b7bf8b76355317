"""Leases: how a worker shows that it lives, and how others tell that it does not.

A worker advances a counter in the trial that it runs. Whoever sees a counter stand still for
PATIENCE seconds calls its worker dead; only the watcher's own clock is read, and time in which the
watcher itself could not look does not count, so that a database that was gone kills nobody. Of a
worker on the same machine its process tells at once. The trial of a dead worker is failed and its
setting waits to be tried again. A worker that comes back late finds its trial finished, and lets
go of it.
"""

import functools
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.space import DEATHS, DIED, INTERRUPTED_BY, RETRY_OF, SLOT, TASK, is_whole, slot

LEASE = "lease"  # the system attribute of a running trial
BEAT = 5.0  # seconds from one step of the counter to the next
PATIENCE = 60.0  # seconds of standing still after which a worker is called dead
LONGEST_LOOK = 5.0  # seconds from one look to the next that count at most
START_SECONDS = 2.0  # by which the start of a process may seem to move
MOST_DEATHS = 3  # of the workers of one setting
NEW = object()  # what no counter is


class Lease:
    """What this process holds on the trial that it runs; a context manager around its work."""

    def __init__(self, storage: BaseStorage, *, seconds: float = BEAT) -> None:
        self._storage = storage
        self._seconds = seconds
        self._trial_id: int | None = None
        self._lost = False
        self._beat = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._advance, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether the trial was given to another worker."""
        return self._lost

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(self._seconds)

    @contextmanager
    def on(self, trial_id: int) -> Iterator[None]:
        """Holds a running trial."""
        self._lost, self._trial_id = False, trial_id
        try:
            yield
        finally:
            self._trial_id = None

    def words(self) -> dict[str, Any]:
        """What the lease says: who holds it, and the counter."""
        self._beat += 1
        return {**this_worker(), "beat": self._beat}

    def _advance(self) -> None:
        while not self._ended.wait(self._seconds):
            if (trial_id := self._trial_id) is None:
                continue
            try:
                self._storage.set_trial_system_attr(trial_id, LEASE, self.words())
            except UpdateFinishedTrialError:
                self._lost = self._trial_id == trial_id
            except Exception:
                continue


class Watch:
    """Looks at the leases of others, and gives up trials whose worker is dead."""

    def __init__(self, *, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._seen: dict[int, tuple[object, float]] = {}  # trial id: counter, how long it stood
        self._looked = time.monotonic()

    def look(self, *studies: optuna.Study) -> list[FrozenTrial]:
        """Fails the trials whose workers are dead, and has them tried again: those trials."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        seen, dead = {}, []
        for study in studies:
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                lease = _lease(trial)
                counter = lease.get("beat")
                before, stood = self._seen.get(trial._trial_id, (NEW, 0.0))
                stood = stood + passed if before == counter else 0.0
                seen[trial._trial_id] = counter, stood
                if is_gone(lease):
                    reason = f"process {lease['pid']} on {lease['host']} is gone"
                elif stood >= self._seconds:
                    reason = f"its worker on {lease.get('host', 'an unknown host')} fell silent"
                else:
                    continue
                if give_up(study, trial, reason, died=True):
                    dead.append(trial)
        self._seen = seen
        return dead


def give_up(study: optuna.Study, trial: FrozenTrial, reason: str, *, died: bool = False) -> bool:
    """Fails a running trial through no fault of its setting, which waits to be tried again.

    Whether it was this call that failed it. A setting whose worker has died again and again is
    failed for good. (A run of a finalist does not wait: what is missing is seen by everyone.)
    """
    storage, trial_id = study._storage, trial._trial_id
    deaths = trial.system_attrs.get(DEATHS, 0) + died
    for_good = deaths >= MOST_DEATHS
    try:
        if died:
            storage.set_trial_system_attr(trial_id, DIED, True)
        if for_good:
            reason = f"its worker died {deaths} times, at last: {reason}"
        storage.set_trial_user_attr(trial_id, "failed" if for_good else INTERRUPTED_BY, reason)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    if not for_good and TASK not in trial.system_attrs:
        try_again(study, trial, deaths)
    return True


def try_again(study: optuna.Study, trial: FrozenTrial, deaths: int = 0) -> None:
    """Lets the setting of a trial wait to be tried anew, in the trial's place."""
    again = create_trial(
        state=TrialState.WAITING,
        user_attrs={RETRY_OF: trial.number},
        system_attrs={
            "fixed_params": trial.params if is_whole(trial.params) else {},
            SLOT: slot(study.get_trials(deepcopy=False), trial),
            DEATHS: deaths,
        },
    )
    study._storage.create_new_trial(study._study_id, again)


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


def is_running(study: optuna.Study) -> bool:
    """Whether a worker that may be alive runs a trial of the study."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(not is_gone(_lease(trial)) for trial in running)


def this_worker() -> dict[str, Any]:
    """Host, machine, process id and start time of this process."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": process.pid,
        "started": _started(process),
    }


def _lease(trial: FrozenTrial) -> dict[str, Any]:
    """The lease on a trial; an empty one if somebody wrote what is none."""
    lease = trial.system_attrs.get(LEASE)
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
