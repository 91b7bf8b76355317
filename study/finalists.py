"""The finalists: the best settings once more, on fresh splits that all of them share.

One validation split chose them, and the best of many trials on it was partly lucky. `study.race`
says who is compared with whom, and when it is over. A run of a finalist in a round is a trial of
the study `<name>-finalists`, which keeps what it predicted: whatever worker does it, on whatever
machine, and however often one is stopped, the race comes to the same end.
"""

import base64
import random
import time
from collections import defaultdict
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cached_property

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from model.dataset import Ratings, split
from storage.errors import InputError
from study.best import RANKING, Setting, ranked_settings
from study.leases import LEASE, MOST_DEATHS, Lease, give_up
from study.objective import Interrupted, Objective, Stop
from study.race import N_ROUNDS, Run, Standing, standing
from study.space import (
    DIED,
    SOLVER,
    SPACE,
    TASK,
    stable_digest,
    stable_seed,
    to_params,
)
from study.studies import finalists_name, n_finished
from study.trials import (
    WAIT_SECONDS,
    Lock,
    StudyFailedError,
    create_running,
    failure_reason,
    finish,
    withdraw,
)

N_FINALISTS = 5
MOST_COMPARED = 100_000  # ratings of a round: what is predicted for them fits a database
FORMAT = 1  # of what is kept of a run: raise it when a solver gives another answer
PREDICTIONS = "predictions"  # the system attributes of a run that hold them in parts
PART = 60_000  # characters, which every database takes in one attribute


def is_decided(study: optuna.Study) -> bool:
    """Whether there is nothing left to find out: no race is needed, or it is over."""
    ranking = study.user_attrs.get(RANKING, {})
    if ranking.get("of") == n_finished(study):
        return bool(ranking["decided"])
    return len(ranked_settings(study)) < 2


class Finalists:
    """The race of the finalists of a study."""

    def __init__(
        self, study: optuna.Study, *, storage: BaseStorage, ratings: Ratings, objective: Objective
    ) -> None:
        """A race among the best settings of a study.

        Args:
            study: whose trials are done, or have had their time.
            storage: of the study.
            ratings: all of them, to be split anew.
            objective: of the study: its device, seed, deadline and interrupts.
        """
        self._study = study
        self._storage = storage
        self._ratings = ratings
        self._objective = objective
        self._done: dict[int, Run] = {}  # by id of the trial
        self._truths: dict[int, NDArray[np.float64]] = {}

    def run(self, *, lock: Lock = nullcontext) -> bool:
        """Does runs that nobody else does until the race is decided: whether it is.

        It is not when the deadline passes or an interrupt arrives before. The order is then that of
        the rounds that were finished.

        Raises:
            StudyFailedError: none of the finalists came to a result in a round.
        """
        if is_decided(self._study):
            return True
        with Lease(self._storage) as lease:
            while not (now := self.look()).decided:
                if now.hopeless:
                    what = f"finalists, round {now.number + 1}: none came to a result"
                    raise StudyFailedError(what)
                if self._objective.interrupted() or time.monotonic() >= self._objective.deadline:
                    return False
                with lock():
                    trial = self._begin(lease)
                if trial is None:
                    time.sleep(random.uniform(0.5, 1.5) * WAIT_SECONDS)
                    continue
                with lease.on(trial._trial_id):
                    self._run(trial, lease)
        return True

    def look(self) -> Standing:
        """The standing by now. What it says of the order is stored with the study."""
        finalists = ranked_settings(self._study)[:N_FINALISTS]
        if len(finalists) < 2:
            return Standing(rounds=[], ranking=None, decided=True, number=0, n_racing=0, missing=[])
        by_task = defaultdict(list)
        for trial in self.runs.get_trials(deepcopy=False):
            by_task[trial.system_attrs.get(TASK)].append(trial)
        runs = {}
        for setting in finalists:
            for number in range(N_ROUNDS):
                done = self._outcome(by_task[self._task(setting, number)])
                if done is not None:
                    runs[setting.config, number] = done
        now = standing(finalists, runs, self._truth)
        if now.ranking:
            ranking = {"of": n_finished(self._study), **now.ranking}
            if self._study.user_attrs.get(RANKING) != ranking:
                self._study.set_user_attr(RANKING, ranking)
        return now

    def held_out(
        self, setting: Setting, number: int
    ) -> tuple[Ratings, Ratings, NDArray[np.float64] | None]:
        """A round: what was trained on, the ratings compared, and what the setting predicted.

        The last is None if the setting was not in the round, or came to nothing in it.
        """
        training, validation = self._split(number)
        rows = torch.from_numpy(_compared(len(validation)))
        task = self._task(setting, number)
        trials = self.runs.get_trials(deepcopy=False)
        run = self._outcome([one for one in trials if one.system_attrs.get(TASK) == task])
        return training, validation[rows], run.predictions if run else None

    @cached_property
    def runs(self) -> optuna.Study:
        """The study of the single runs, made if there is none.

        Raises:
            InputError: somebody's own study has its name.
        """
        study = optuna.create_study(
            study_name=finalists_name(self._study),
            storage=self._storage,
            pruner=NopPruner(),
            load_if_exists=True,
        )
        if study.get_trials(deepcopy=False) and "finalists_of" not in study.user_attrs:
            name = study.study_name
            raise InputError(f"study '{name}': was not made by study.run; rename it")
        study.set_user_attr("finalists_of", self._study.study_name)
        return study

    def _begin(self, lease: Lease) -> optuna.Trial | None:
        """A run that is not done and that nobody does; None if there is none now."""
        running = self.runs.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        taken = {trial.system_attrs.get(TASK) for trial in running}
        now = self.look()  # after that: what is done by now is not missing
        free = [one for one in now.missing if self._task(one, now.number) not in taken]
        if not free:
            return None
        setting = random.choice(free)  # others choose in the same instant
        task = self._task(setting, now.number)
        trial_id = create_running(
            self.runs,
            params=to_params(setting.config),
            distributions={"solver": SOLVER, **SPACE[setting.solver]},
            user_attrs={"round": now.number + 1, "of_trial": setting.trial.number},
            system_attrs={TASK: task, LEASE: lease.words()},
        )
        number = self._storage.get_trial(trial_id).number
        if any(  # somebody began the same in the same instant
            trial.number < number
            and trial.state is not TrialState.FAIL
            and trial.system_attrs.get(TASK) == task
            for trial in self.runs.get_trials(deepcopy=False)
        ):
            withdraw(self.runs, trial_id)
            return None
        return optuna.Trial(self.runs, trial_id)

    def _run(self, trial: optuna.Trial, lease: Lease) -> None:
        """Does a run; what it predicted is stored before it is told complete."""
        training, validation = self._split(trial.user_attrs["round"] - 1)
        best: list[Tensor] = []
        stopped = self._objective.interrupted
        objective = replace(
            self._objective,
            training=training.to(self._objective.device),
            validation=validation.to(self._objective.device),
            interrupted=lambda: lease.lost or stopped(),
            on_best=lambda predictions: best.__setitem__(slice(None), [predictions]),
        )
        with suppress(UpdateFinishedTrialError):  # others took this worker for dead
            try:
                value = objective(trial)
            except optuna.TrialPruned:
                if trial.user_attrs["stopped"] == Stop.TIMEOUT:
                    give_up(self.runs, self._storage.get_trial(trial._trial_id), "time was up")
                else:  # it diverged: worse than any
                    finish(self.runs, trial, TrialState.PRUNED)
            except Interrupted:
                reason = "stopped by hand"
                give_up(self.runs, self._storage.get_trial(trial._trial_id), reason)
            except UpdateFinishedTrialError:
                raise
            except (MemoryError, RuntimeError) as error:
                trial.set_user_attr("failed", failure_reason(error))
                finish(self.runs, trial, TrialState.FAIL)
            else:
                compared = best[0].cpu().numpy()[_compared(len(validation))]
                for name, part in _packed(compared).items():
                    self._storage.set_trial_system_attr(trial._trial_id, name, part)
                finish(self.runs, trial, TrialState.COMPLETE, value)

    def _outcome(self, trials: list[FrozenTrial]) -> Run | None:
        """What the trials of a run came to; None if it is to be done yet."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE:
                if trial._trial_id not in self._done:
                    self._done[trial._trial_id] = Run(
                        predictions=_unpacked(trial.system_attrs),
                        best_epoch=trial.user_attrs["best_epoch"],
                    )
                return self._done[trial._trial_id]
        nothing = any(
            trial.state is TrialState.PRUNED or "failed" in trial.user_attrs for trial in trials
        )
        deaths = sum(DIED in trial.system_attrs for trial in trials)
        if nothing or deaths >= MOST_DEATHS:
            return Run(predictions=None, best_epoch=1)
        return None

    def _task(self, setting: Setting, number: int) -> str:
        """What a run is known by: everything that its result follows from."""
        return stable_digest(
            FORMAT,
            to_params(setting.config),
            number,
            self._objective.study_seed,
            self._study.user_attrs["ratings_digest"],
        )

    def _split(self, number: int) -> tuple[Ratings, Ratings]:
        seed = stable_seed("finalists", self._objective.study_seed, number)
        return split(self._ratings, seed=seed)

    def _truth(self, number: int) -> NDArray[np.float64]:
        """The (n_compared,) true ratings of a round."""
        if number not in self._truths:
            true = self._split(number)[1].values.cpu().numpy()
            self._truths[number] = true[_compared(len(true))]
        return self._truths[number]


def _compared(n: int) -> NDArray[np.int64]:
    """The rows of a round's validation that finalists are compared on."""
    return np.linspace(0, n - 1, min(n, MOST_COMPARED)).astype(np.int64)


def _packed(predictions: NDArray[np.floating]) -> dict[str, str]:
    text = base64.b64encode(predictions.astype("<f4").tobytes()).decode()
    starts = range(0, len(text), PART)
    return {f"{PREDICTIONS}_{n}": text[start : start + PART] for n, start in enumerate(starts)}


def _unpacked(attributes: dict[str, str]) -> NDArray[np.float64]:
    names = [name for name in attributes if name.startswith(f"{PREDICTIONS}_")]
    names.sort(key=lambda name: int(name.removeprefix(f"{PREDICTIONS}_")))
    text = "".join(attributes[name] for name in names)
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
