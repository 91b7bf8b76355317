"""The finalists: the best settings once more, on fresh splits that all of them share.

One validation split chose them, and the best of many trials on it was partly lucky. `race` says
who is compared with whom, and when it is over. A run of a finalist in a round is a trial of the
study `<name>-finalists`, which keeps what it predicted: whatever worker does it, on whatever
machine, and however often one is stopped, the race comes to the same end.
"""

import base64
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, TrialState

from model.solvers import SOLVERS
from model.splits import Split, Without
from storage.errors import InputError
from study.record.attributes import StudyView, TrialView
from study.record.parameters import to_config, to_params
from study.record.ranking import Setting, is_decided, ranked_settings
from study.record.record import Record, finalists_name, n_finished, text_of
from study.record.seeds import setting_seed, stable_digest, stable_seed
from study.search.objective import Context, Interrupted, Trained, trained
from study.workers.claims import Lock, StudyFailedError, Work
from study.workers.clock import Clock
from study.workers.crew import Crew, compared
from study.workers.race import MOST_ROUNDS, Round, Run, Standing, n_finalists, standing

FORMAT = 4  # of what is kept of a run: raise it when a solver gives another answer


class Finalists:
    """The race of the finalists of a study."""

    def __init__(
        self, record: Record, *, crew: Crew, context: Context, clock: Clock | None = None
    ) -> None:
        """A race among the best settings of a study.

        Args:
            record: of the study, whose trials are done, or have had their time.
            crew: of all ratings, to be split anew.
            context: of the study's training.
            clock: when to end; never if not told.
        """
        self.record = record
        self.context = context
        self.clock = clock or Clock()
        self.crew = crew
        self._done: dict[int, Run] = {}  # by number of the trial
        self._truths: dict[tuple[Split, int], NDArray[np.float64]] = {}

    @property
    def n_ratings(self) -> int:
        """How many there are in all."""
        return self.crew.n_ratings

    @cached_property
    def ratings_digest(self) -> str | None:
        """That of the study, which does not change; read once, for it is asked for each run."""
        return self.record.ratings_digest

    @cached_property
    def runs(self) -> "Runs":
        """The single runs, whose study is made if there is none.

        Raises:
            InputError: somebody's own study has its name.
        """
        study = optuna.create_study(
            study_name=finalists_name(self.record.name),
            storage=self.record.storage,
            pruner=NopPruner(),
            load_if_exists=True,
        )
        record = Record(study, self.record.storage)
        if record.trials() and record.finalists_of is None:
            raise InputError(f"study '{record.name}': was not made by study.run; rename it")
        record.keep(StudyView.finalists_of, self.record.name)
        return Runs(record, self)

    def run(self, *, lock: Lock = nullcontext) -> None:
        """Does runs that nobody else does until the race is decided, if it is not, or it is time.

        Raises:
            StudyFailedError: none of the finalists came to a result in a round.
        """
        if not is_decided(self.record.study):
            self.runs.run(lock=lock)

    def look(self) -> Standing:
        """The standing by now. What it says of the order is stored with the study."""
        study = self.record.study
        ranked = ranked_settings(study)
        finalists = [one for one in ranked if self.crew.can_train(one.solver)]
        left_out = sorted({one.solver for one in ranked} - {one.solver for one in finalists})
        finalists = finalists[: n_finalists(self.n_ratings)]
        if len(ranked) < 2:
            return Standing(rounds=[], ranking=None, decided=True, number=0, n_racing=0, missing=[])
        by_task = defaultdict(list)
        for trial in self.runs.record.trials():
            by_task[TrialView(trial).task].append(trial)
        rounds: list[Round] = []
        for kind in self.record.kinds:
            runs = {}
            for setting in finalists:
                for number in range(MOST_ROUNDS):
                    done = self._outcome(by_task[self.task(setting, number, kind=kind)])
                    if done is not None:
                        runs[setting.config, number] = done
            truth = partial(self._truth, kind)
            now = standing(
                finalists,
                runs,
                truth,
                kind=kind,
                n_ratings=self.n_ratings,
                n_trials=n_finished(study),
            )
            ranking = now.ranking
            if ranking and left_out:
                ranking = {**ranking, "left_out": left_out}
            if ranking and self.record.ranking_on(kind) != ranking:
                self.record.keep(self.record.ranking_of(kind), ranking)
            rounds += now.rounds
            if not now.decided:
                break
        return replace(now, rounds=rounds)

    def predicted(
        self, setting: Setting, number: int, *, kind: Split = Split.RANDOM
    ) -> NDArray[np.float64] | None:
        """What a setting predicted of the (n_compared,) ratings of a round; None if it was not in
        it, or came to nothing in it.
        """
        task = self.task(setting, number, kind=kind)
        run = self._outcome([t for t in self.runs.record.trials() if TrialView(t).task == task])
        return run.predictions if run else None

    def task(self, setting: Setting, number: int, *, kind: Split = Split.RANDOM) -> str:
        """What a run is known by: everything that its result follows from."""
        return stable_digest(
            *([] if kind is Split.RANDOM else [kind]),
            FORMAT,
            to_params(setting.config),
            number,
            self.context.study_seed,
            self.ratings_digest,
        )

    def without(self, number: int, *, kind: Split = Split.RANDOM) -> Without:
        """The split of a round, which counts from 0."""
        seed = stable_seed("finalists", self.context.study_seed, number)
        # Where the trials' split is not drawn, it is the first of all.
        window = number + (kind is self.record.kinds[0])
        return Without(kind, seed, window if kind in (Split.LATEST, Split.TIME) else 0)

    def _outcome(self, trials: list[FrozenTrial]) -> Run | None:
        """What the trials of a run came to; None if it is to be done yet."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE:
                if trial.number not in self._done:
                    self._done[trial.number] = Run(
                        predictions=_unpacked(text_of(trial)),
                        best_epoch=TrialView(trial).best_epoch or 1,
                    )
                return self._done[trial.number]
        if any(t.state is TrialState.PRUNED or TrialView(t).failed is not None for t in trials):
            return Run(predictions=None, best_epoch=1)
        return None

    def _truth(self, kind: Split, number: int) -> NDArray[np.float64]:
        """The (n_compared,) true ratings of a round."""
        if (kind, number) not in self._truths:
            self._truths[kind, number] = self.crew.all(_true, self.without(number, kind=kind))
        return self._truths[kind, number]


class Runs(Work):
    """Does runs that nobody else does until the race is decided, the clock says so, or an interrupt
    arrives. The order is then that of the rounds that were finished.
    """

    def __init__(self, record: Record, finalists: Finalists) -> None:
        super().__init__(record)
        self._finalists = finalists
        self._now: Standing | None = None  # as it was when this worker last looked

    def is_over(self) -> bool:
        """Whether the race is decided, or it is time.

        Raises:
            StudyFailedError: none of the finalists came to a result in a round.
        """
        race = self._finalists
        if is_decided(race.record.study):
            return True
        now = race.look()
        if now.hopeless:
            raise StudyFailedError(f"finalists, round {now.number + 1}: none came to a result")
        return now.decided or race.context.interrupted() or race.clock.is_over

    def offer(self) -> bool:
        """Whether a run waits, or one is missing that nobody does, which then waits."""
        race, trials = self._finalists, self.record.trials()
        if any(trial.state is TrialState.WAITING for trial in trials):
            return True
        taken = {TrialView(t).task for t in trials if t.state is TrialState.RUNNING}
        now = race.look()  # after that: what is done by now is not missing
        missing = {race.task(one, now.number, kind=now.kind): one for one in now.missing}
        free = [task for task in missing if task not in taken]
        if not free:
            return False
        task = random.choice(free)  # others choose in the same instant
        setting = missing[task]
        self.record.study.enqueue_trial(
            to_params(setting.config),
            user_attrs={
                TrialView.task.name: task,
                TrialView.split.name: now.kind,
                TrialView.round.name: now.number + 1,
                TrialView.of_trial.name: setting.trial.number,
            },
        )
        return True

    def is_needed(self, trial: FrozenTrial) -> bool:
        """Whether it is missing, and nobody began the same before."""
        race, task = self._finalists, TrialView(trial).task
        if any(
            other.number < trial.number
            and other.state is not TrialState.FAIL
            and TrialView(other).task == task
            for other in self.record.trials()
        ):
            return False
        now = race.look()
        return task in {race.task(one, now.number, kind=now.kind) for one in now.missing}

    def train(self, trial: optuna.Trial, lost: Callable[[], bool]) -> Trained:
        """Runs the objective on the split of the round; one that the clock cut is done again.

        What it predicts is of as many epochs as its trial found best, or as many as there are where
        more only help: the ratings that are compared choose nothing.
        """
        race = self._finalists
        kept = TrialView(self.record.trial(trial.number))
        kind = Split(kept.split or Split.RANDOM)
        entry = SOLVERS[trial.params["solver"]]
        n_epochs = entry.most_epochs
        if entry.retraining_epochs is None:
            of_trial = race.record.trial(kept.of_trial or 0)
            n_epochs = min(TrialView(of_trial).best_epoch or 1, n_epochs)
        config = to_config(trial.params)
        epochs = race.crew.epochs(
            config,
            race.without((kept.round or 1) - 1, kind=kind),
            device=race.context.device,
            seed=setting_seed(race.context.study_seed, config),
        )
        try:
            return trained(
                trial,
                epochs,
                context=race.context,
                epochs_of_answer=n_epochs,
                deadline=race.clock.end,
                lost=lost,
            )
        except optuna.TrialPruned:
            if TrialView(self.record.trial(trial.number)).was_cut:
                raise Interrupted("time was up") from None
            raise  # it diverged: worse than any

    def keep(self, number: int, trained: Trained) -> None:
        """Keeps what the run predicted."""
        assert trained.predictions is not None
        self.record.keep_text(number, _packed(trained.predictions.cpu().numpy()))


def _true(crew: Crew, without: Without) -> NDArray[np.float64]:
    """The (n_compared,) true ratings that a split holds out."""
    return compared(without.of(crew.ratings)[1].values, crew)


def _packed(predictions: NDArray[np.floating]) -> str:
    return base64.b64encode(predictions.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
