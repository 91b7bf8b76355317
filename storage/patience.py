"""A storage that waits for its database: gone for a while, it is asked again, with growing pauses.

What is asked twice must not be done twice. Attributes may be set again. A trial whose making was
confirmed to nobody has no worker that advances its lease, and is given up like that of a dead one.
Whether a trial was told finished before the connection broke is looked up.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

Result = TypeVar("Result")

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.2, 10.0, 600.0  # seconds
# SQLSTATE classes (PostgreSQL) and error numbers (MySQL) of an operation that failed for good,
# though the driver calls it operational.
LASTING_STATES = ("28", "3D", "42", "53100")  # no access, no such database or table, disk full
LASTING_NUMBERS = (1021, 1044, 1045, 1049, 1114, 1146)  # the same


class PatientStorage:
    """An Optuna storage whose every method waits while its database cannot be reached."""

    def __init__(
        self,
        storage: BaseStorage,
        *,
        on_wait: Callable[[str], None] = lambda reason: None,
        give_up: Callable[[], bool] = lambda: False,
        seconds: float = LONGEST_WAIT,
    ) -> None:
        """Around a storage.

        Args:
            storage: to be asked.
            on_wait: called with the reason when the first thread begins to wait.
            give_up: whether not to wait any longer.
            seconds: to wait for an answer, before the error is raised.
        """
        self._storage = storage
        self._on_wait = on_wait
        self._give_up = give_up
        self._seconds = seconds
        self._waiting = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return partial(self.wait_for, found) if callable(found) else found

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Any | None = None
    ) -> bool:
        """As the storage's own, also if the answer to the first call got lost."""
        asked = []

        def tell() -> bool:
            asked.append(trial_id)
            return self._storage.set_trial_state_values(trial_id, state=state, values=values)

        try:
            return self.wait_for(tell)
        except UpdateFinishedTrialError:
            if len(asked) > 1:
                found = self.wait_for(self._storage.get_trial, trial_id)
                if found.state is state and found.values == (None if values is None else [*values]):
                    return True
            raise

    def wait_for(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """What the function returns, called again while the database cannot be reached."""
        pause, began = FIRST_PAUSE, time.monotonic()
        while True:
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                reason = why_unreachable(error)
                if not reason or self._give_up() or time.monotonic() - began > self._seconds:
                    raise
            else:
                self._waiting = False
                return result
            if not self._waiting:
                self._waiting = True
                self._on_wait(reason)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def why_unreachable(error: BaseException) -> str:
    """Why the database cannot be reached for now, in one line; empty if it is another error."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if type(cause).__module__.startswith("grpc"):
        return _why_no_answer(cause)
    if not isinstance(cause, DBAPIError):
        return ""
    if not (cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)):
        return ""
    said = " ".join(str(cause.orig).split())
    if type(cause.orig).__module__.startswith("sqlite3"):
        return said if "locked" in said else ""  # a full disk stays full
    state = str(getattr(cause.orig, "sqlstate", None) or "")
    number = next(iter(getattr(cause.orig, "args", ())), None)
    lasting = state.startswith(LASTING_STATES) or number in LASTING_NUMBERS
    return "" if lasting else said


def _why_no_answer(error: Any) -> str:
    """The same of an error of gRPC, behind which the proxy's own database may be gone."""
    import grpc

    code, details = error.code(), " ".join(str(error.details()).split())
    gone = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) or (
        code is grpc.StatusCode.UNKNOWN and "during the commit" in details
    )
    return details if gone else ""
