"""Leases: how a worker shows that it lives, and how others tell that it does not.

A worker advances a counter in the trial that it runs. Whoever sees a counter stand still for
PATIENCE seconds calls its worker dead; only the watcher's own clock is read, and time in which the
watcher itself could not look does not count, so that a database that was gone kills nobody. Of a
worker on the same machine its process tells at once. The trial of a dead worker is failed and its
setting waits to be tried again. A worker that comes back late finds its trial finished, and lets
go of it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from study.record.attributes import TrialView
from study.record.liveness import is_gone, lease_of, this_worker
from study.record.parameters import is_whole
from study.record.record import Record

BEAT = 5.0  # seconds from one step of the counter to the next
PATIENCE = 60.0  # seconds of standing still after which a worker is called dead
LONGEST_LOOK = 5.0  # seconds from one look to the next that count at most
MOST_DEATHS = 3  # of the workers of one setting
NEW = object()  # what no counter is


class Lease:
    """What this process holds on the trial of a study that it runs; a context around its work."""

    def __init__(self, record: Record, *, seconds: float = BEAT) -> None:
        self._record = record
        self._seconds = seconds
        self._number: int | None = None
        self._lost = False
        self._beat = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._advance, name="lease", daemon=True)

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
    def on(self, number: int) -> Iterator[None]:
        """Holds a running trial."""
        self._lost, self._number = False, number
        try:
            yield
        finally:
            self._number = None

    def sign(self, number: int) -> None:
        """Writes into a trial who holds it, and the counter.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: it was given to another worker.
        """
        self._beat += 1
        self._record.keep_with(number, TrialView.lease, this_worker(self._beat))

    def _advance(self) -> None:
        while not self._ended.wait(self._seconds):
            if (number := self._number) is None:
                continue
            try:
                self.sign(number)
            except UpdateFinishedTrialError:
                self._lost = self._number == number
            except Exception:
                continue


class Watch:
    """Looks at the leases of others, and gives up trials whose worker is dead."""

    def __init__(self, *, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        # Counter, and how long it stood, by study and trial.
        self._seen: dict[tuple[str, int], tuple[object, float]] = {}
        self._looked = time.monotonic()

    def look(self, *records: Record) -> list[FrozenTrial]:
        """Fails the trials whose workers are dead, and has them tried again: those trials."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        seen: dict[tuple[str, int], tuple[object, float]] = {}
        dead = []
        for record in records:
            for trial in record.trials(TrialState.RUNNING):
                lease, key = lease_of(trial), (record.name, trial.number)
                counter = lease.get("beat")
                before, stood = self._seen.get(key, (NEW, 0.0))
                stood = stood + passed if before == counter else 0.0
                seen[key] = counter, stood
                if is_gone(lease):
                    reason = f"process {lease['pid']} on {lease['host']} is gone"
                elif stood >= self._seconds:
                    reason = f"its worker on {lease.get('host', 'an unknown host')} fell silent"
                else:
                    continue
                if give_up(record, trial, reason, died=True):
                    dead.append(trial)
        self._seen = seen
        return dead


def give_up(record: Record, trial: FrozenTrial, reason: str, *, died: bool = False) -> bool:
    """Fails a running trial through no fault of its setting, which waits to be tried again.

    Whether it was this call that failed it. A setting whose worker has died again and again is
    failed for good.
    """
    deaths = n_deaths(record.trials(), trial) + died
    for_good = deaths >= MOST_DEATHS
    if for_good:
        reason = f"its worker died {deaths} times, at last: {reason}"
    try:
        if died:
            record.keep_with(trial.number, TrialView.died, True)
        why = TrialView.failed if for_good else TrialView.interrupted
        record.keep_with(trial.number, why, reason)
        record.finish(trial.number, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    if not for_good:
        try_again(record, record.trial(trial.number))  # as it is now that nobody can add to it
    return True


def try_again(record: Record, trial: FrozenTrial) -> None:
    """Lets the setting of a trial wait to be tried anew, in the trial's place."""
    view = TrialView(trial)
    params = next(filter(is_whole, (trial.params, view.given)), {})
    of_a_run = (TrialView.task, TrialView.split, TrialView.round, TrialView.of_trial)
    kept = {one.name: view.kept(one.name) for one in of_a_run if view.task}
    kept[TrialView.retry_of.name] = trial.number
    record.study.enqueue_trial(dict(params), user_attrs=kept)


def n_deaths(trials: list[FrozenTrial], trial: FrozenTrial) -> int:
    """How many workers have died of the trials that this one does again."""
    deaths = 0
    while (again := TrialView(trial).retry_of) is not None:
        trial = trials[again]
        deaths += bool(TrialView(trial).died)
    return deaths
