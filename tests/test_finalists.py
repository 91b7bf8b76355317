"""The finalists: the best settings once more on fresh splits, whatever happens on the way."""

import itertools
import math
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from numpy.typing import NDArray
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from records import ask, new_record, set_lease

from model.dataset import Ratings, index_ratings
from model.solver import Epoch, Solver, measured
from model.solvers import SOLVERS, ALSConfig, Config, make_solver
from model.splits import Split, split
from storage.database import open_storage, parse_storage_url
from study import best_predict, run
from study.inputs import load_data
from study.record.attributes import TrialView
from study.record.liveness import this_worker
from study.record.ranking import Setting, best_settings, final_ranking, is_decided
from study.record.record import Record, n_finished
from study.record.studies import default_name, identity, open_study
from study.report.summary import summary
from study.search import objective
from study.search.objective import Context, Trained
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler
from study.workers.clock import ROUND_SECONDS, ROUND_SLACK, Clock
from study.workers.crew import Crew
from study.workers.finalists import Finalists
from study.workers.leases import MOST_DEATHS, Watch, give_up
from study.workers.race import Run, standing

N_ROUNDS = 3
N_EPOCHS = 5  # of a trial of als here

Training = tuple[Config, Ratings]
ErrorOf = Callable[[int, int, int], NDArray[np.float64]]


@pytest.fixture(autouse=True)
def few_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "als", replace(SOLVERS["als"], most_epochs=N_EPOCHS))


@pytest.fixture(autouse=True)
def many_ratings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the ratings of a test for many, unless it is marked to be of few."""
    if "of_few" not in request.fixturenames:
        monkeypatch.setattr("study.workers.race.FEW", 0)


@pytest.fixture
def of_few() -> None:
    """Marks a test whose ratings are few."""


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """1600 ratings: 160 of a round's validation."""
    draw = np.random.default_rng(4)
    users, items = np.divmod(draw.permutation(60 * 40)[:1600], 40)
    signal = draw.normal(size=(60, 2)) @ draw.normal(size=(2, 40))
    return index_ratings(users, items, signal[users, items] + draw.normal(0, 0.5, 1600))[0]


@dataclass(frozen=True)
class Race:
    """A study and what its finalists are run with."""

    record: Record
    ratings: Ratings

    @property
    def study(self) -> optuna.Study:
        return self.record.study

    @property
    def storage(self) -> BaseStorage:
        return self.record.storage

    def run(self, *, end: float = math.inf, **changes: Any) -> bool:
        """Runs the finalists, with changes of the context: whether the race is decided."""
        self.finalists(end=end, **changes).run()
        return is_decided(self.study)

    def finalists(self, *, end: float = math.inf, **changes: Any) -> Finalists:
        """The finalists, with changes of the context."""
        context = replace(Context(device=torch.device("cpu"), study_seed=0), **changes)
        clock = Clock(end=end)
        return Finalists(self.record, crew=Crew(self.ratings), context=context, clock=clock)

    def bury(self) -> None:
        """What is seen once the process that ran the finalists is dead."""
        (name,) = (
            name for name in optuna.get_all_study_names(self.storage) if name.endswith("-finalists")
        )
        study = optuna.load_study(study_name=name, storage=self.storage)
        record = Record(study, self.storage)
        for trial in self.runs(TrialState.RUNNING):
            holder = TrialView(trial).lease or this_worker(1)  # it may have died before it signed
            set_lease(record, trial.number, holder | {"pid": 2**22 - 1})
        Watch().look(record)
        assert not self.runs(TrialState.RUNNING)

    @property
    def rounds(self) -> list[tuple[int, int, int, float]]:
        """The rounds that are done: number, settings, who leads, RMSE."""
        return [
            (done.number, done.n_settings, done.leader.trial.number, done.rmse)
            for done in self.finalists().look().rounds
        ]

    def runs(self, *states: TrialState) -> list[FrozenTrial]:
        """The finalists' single runs that ended in these states."""
        name = f"{self.study.study_name}-finalists"
        study = optuna.load_study(study_name=name, storage=self.storage)
        return [trial for trial in study.get_trials() if trial.state in states]

    def completed(self) -> Counter[tuple[int, int]]:
        """How often each (trial of the study, round) was completed."""
        return Counter(
            (trial.user_attrs["of_trial"], trial.user_attrs["round"])
            for trial in self.runs(TrialState.COMPLETE)
        )

    @property
    def ranking(self) -> dict[str, Any]:
        """What was stored."""
        return dict(self.study.user_attrs["finalists"])


@pytest.fixture
def new_race(ratings: Ratings) -> Callable[..., Race]:
    """Makes a study with a completed trial of als of each rank, the first the best."""

    def make(*ranks: int) -> Race:
        record = new_record()
        record.study.set_user_attr("ratings_digest", "of these")
        for place, rank in enumerate(ranks):
            tried(record.study, als(rank), 0.5 + place / 100)
        return Race(record, ratings)

    return make


NewRace = Callable[..., Race]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """The finalists' trainings that were begun, as they come."""
    begun: list[Training] = []

    def make_and_count(
        config: Config, training: Ratings, *, device: torch.device, seed: int
    ) -> Solver:
        begun.append((config, training))
        return make_solver(config, training, device=device, seed=seed)

    monkeypatch.setattr("study.workers.crew.make_solver", make_and_count)
    return begun


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[ErrorOf], None]:
    """Puts a solver in the place of als that errs as it is told: by rank, round, and how many."""

    def put(error_of: ErrorOf) -> None:
        rounds: Counter[int] = Counter()

        class Planted:
            model = None

            def __init__(self, config: ALSConfig, training: Ratings, **_: object) -> None:
                self._rank = config.rank
                rounds[config.rank] += 1

            def epochs(self, validation: Ratings) -> Iterator[Epoch]:
                for number in itertools.count(1):
                    error = error_of(self._rank, rounds[self._rank], len(validation))
                    if number != N_EPOCHS:  # which is the best, here and in the trial
                        error = error * 1.5
                    predictions = validation.values + torch.from_numpy(error)
                    yield measured(number, 1.0, predictions, validation)

        monkeypatch.setattr("model.als.ALS", Planted)

    return put


Plant = Callable[[ErrorOf], None]


def als(rank: int) -> ALSConfig:
    return ALSConfig(rank=rank, weight_decay=0.1, bias_decay=0.05)


def tried(study: optuna.Study, config: Config, mse: float) -> int:
    """Adds a completed trial of a setting: its number."""
    trial = ask(study, config)
    attributes = {
        "stopped": "last epoch",
        "best_epoch": N_EPOCHS,
        "validation_mse": mse,
        "validation_rmse": math.sqrt(mse),
        "seconds": 0.5,
    }
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    study.tell(trial, mse)
    return trial.number


def noise(deviations: dict[int, float]) -> ErrorOf:
    """Independent errors of these standard deviations by rank."""

    def error_of(rank: int, number: int, n: int) -> NDArray[np.float64]:
        return np.random.default_rng([rank, number]).normal(0, deviations[rank], n)

    return error_of


def pattern(rank: int, n: int) -> NDArray[np.float64]:
    """Ones with signs such that the patterns of the ranks 2, 3, … are orthogonal."""
    return np.asarray(1.0 - 2.0 * (np.arange(n) >> (rank - 2) & 1))


def pairs(ratings: Ratings) -> set[tuple[int, int]]:
    return set(zip(ratings.user_index.tolist(), ratings.item_index.tolist(), strict=True))


def ranks(study: optuna.Study, n: int | None = 9) -> list[int]:
    """The ranks of the best settings, which tell them apart here."""
    return [setting.config.rank for setting in best_settings(study, n)]


def test_finalists_share_a_fresh_split_in_each_round(
    new_race: NewRace, trained: list[Training]
) -> None:
    race = new_race(2, 3)
    assert race.run()
    assert Counter(config for config, _ in trained) == {als(2): N_ROUNDS, als(3): N_ROUNDS}
    splits = [pairs(training) for _, training in trained]
    for number in range(N_ROUNDS):
        assert splits[2 * number] == splits[2 * number + 1]
    of_rounds = [frozenset(pairs(split(race.ratings, seed=0)[0])), *map(frozenset, splits)]
    assert len(set(of_rounds)) == 1 + N_ROUNDS
    assert {len(of_round) for of_round in of_rounds} == {1440}

    again = new_race(2, 3)
    assert again.run(study_seed=1)
    assert {frozenset(pairs(training)) for _, training in trained[6:]}.isdisjoint(of_rounds)


def test_errors_are_those_of_the_rounds_validation_at_the_epoch_of_the_trial(
    new_race: NewRace, plant: Plant
) -> None:
    plant(lambda rank, number, n: np.full(n, rank * number / 10.0))
    race = new_race(2, 3)
    assert race.run()
    assert race.ranking["trials"] == [0, 1]
    assert race.ranking["rounds"] == [1, 1]  # the second is worse at every rating
    assert race.ranking["rmse"] == [0.2, 0.3]

    def error_of(rank: int, number: int, n: int) -> NDArray[np.float64]:
        return number / 10.0 * (1 + pattern(rank, n))

    plant(error_of)
    race = new_race(2, 3)
    assert race.run()
    assert race.ranking["rounds"] == [3, 3]
    together = math.sqrt(2 * (0.1**2 + 0.2**2 + 0.3**2) / 3)
    assert race.ranking["rmse"] == pytest.approx([together, together], abs=1e-6)


def test_runs_are_trials_of_a_study_beside(new_race: NewRace) -> None:
    race = new_race(2, 3)
    assert race.run()
    assert optuna.get_all_study_names(race.storage) == ["ratings", "ratings-finalists"]
    assert n_finished(race.study) == len(race.study.trials) == 2
    expected = {(trial, number): 1 for trial in (0, 1) for number in (1, 2, 3)}
    assert race.completed() == expected
    for trial in race.runs(TrialState.COMPLETE):
        of = race.study.trials[trial.user_attrs["of_trial"]]
        assert trial.params == of.params
        assert (
            trial.value
            == trial.user_attrs["validation_mse"]
            == min(trial.intermediate_values.values())
        )


def test_the_five_best_distinct_settings_meet(new_race: NewRace, trained: list[Training]) -> None:
    race = new_race(8, 8, 2, 3, 4, 5, 6)
    assert race.run()
    assert {config for config, _ in trained[:5]} == {als(rank) for rank in (8, 2, 3, 4, 5)}
    assert als(6) not in [config for config, _ in trained]
    assert sorted(race.ranking["trials"]) == [0, 2, 3, 4, 5]
    assert ranks(race.study)[5:] == [6]


@pytest.mark.usefixtures("of_few")
def test_of_few_ratings_ten_meet_as_often_as_there_were_trials(
    new_race: NewRace, plant: Plant
) -> None:
    """Eleven settings have a trial each: no more than three rounds of ten have more runs."""
    plant(noise(dict.fromkeys(range(2, 13), 1.0)))
    race = new_race(*range(2, 13))
    assert race.run()
    assert len(race.ranking["trials"]) == 10
    assert race.ranking["rounds"][:8] == [3] * 8  # of ten that are alike one may be out by chance

    race = new_race(2, 3, *[4] * 13)  # 15 trials of three settings
    assert race.run()
    assert race.ranking["rounds"] == [5] * 3
    assert race.rounds[-1][:2] == (4, 3)
    race = new_race(2, 3, *[4] * 40)
    assert race.run()
    assert race.ranking["rounds"] == [6] * 3  # of 160 ratings each


@pytest.mark.usefixtures("of_few")
def test_of_few_ratings_all_that_cannot_be_told_apart_are_averaged(
    new_race: NewRace, plant: Plant
) -> None:
    """Who is clearly worse is not, and stands behind those who are, whatever their errors."""
    plant(noise({2: 1.0, 3: 1.02, 4: 0.98, 5: 3.0}))
    race = new_race(2, 3, 4, 5)
    assert race.run()
    assert race.ranking["average"] == 3
    assert sorted(ranks(race.study, None)) == [2, 3, 4]
    assert ranks(race.study)[3] == 5
    assert race.ranking["average_gain"][2] > 0.3  # of independent errors


def test_settings_that_are_alike_go_all_rounds_and_the_best_of_them_wins(
    new_race: NewRace, plant: Plant
) -> None:
    plant(noise({2: 1.0, 3: 0.95, 4: 1.05}))
    race = new_race(2, 3, 4)
    assert race.run()
    assert race.ranking["rounds"] == [3, 3, 3]
    assert race.ranking["rmse"] == sorted(race.ranking["rmse"])
    assert race.ranking["decided"] is True
    assert ranks(race.study) == [3, 2, 4]
    assert [done[:2] for done in race.rounds] == [(0, 3), (1, 3), (2, 3)]
    assert race.rounds[-1][2] == 1
    assert round(race.rounds[-1][3], 6) == race.ranking["rmse"][0]


@pytest.mark.parametrize(("apart", "rounds"), [(0.0, 1), (1e-3, 1), (1.5e-3, 2), (1e-2, 3)])
def test_a_race_is_over_when_its_outcome_does_not_matter(
    new_race: NewRace, plant: Plant, apart: float, rounds: int
) -> None:
    """Three standard errors of the difference are 0.47 `apart` of the MSE after a round."""

    def error_of(rank: int, _: int, n: int) -> NDArray[np.float64]:
        return 10.0 + (10.0 * apart * pattern(3, n) if rank == 3 else np.zeros(n))

    plant(error_of)
    race = new_race(3, 2)
    assert race.run()
    assert race.ranking["rounds"] == [rounds, rounds]
    assert race.ranking["decided"] is True
    assert ranks(race.study) == ([3, 2] if apart == 0 else [2, 3])


def test_who_is_clearly_worse_is_out_and_stays_behind(new_race: NewRace, plant: Plant) -> None:
    # Later rounds are harder, and 5 is out in the second: 2, which was out before, is last.
    hard = {1: 1.0, 2: 4.0, 3: 4.0}
    deviations = {2: 2.0, 3: 1.0, 4: 1.0, 5: 1.0}

    def error_of(rank: int, number: int, n: int) -> NDArray[np.float64]:
        worse = 2.0 if (rank, number) == (5, 2) else 1.0
        deviation = deviations[rank] * hard[number] * worse
        return np.random.default_rng([rank, number]).normal(0, deviation, n)

    plant(error_of)
    race = new_race(2, 3, 4, 5)
    assert race.run()
    assert race.ranking["rounds"] == [3, 3, 2, 1]
    assert ranks(race.study)[2:] == [5, 2]
    assert race.ranking["rmse"][0] > race.ranking["rmse"][3]
    assert len(race.runs(TrialState.COMPLETE)) == 9


def test_a_race_is_over_when_one_is_left(new_race: NewRace, plant: Plant) -> None:
    plant(noise({2: 2.0, 3: 1.0}))
    race = new_race(2, 3)
    assert race.run()
    assert len(race.rounds) == 1
    assert race.ranking["decided"] is True
    assert ranks(race.study) == [3, 2]


@pytest.mark.usefixtures("of_few")
def test_of_few_ratings_one_that_is_left_goes_on(new_race: NewRace, plant: Plant) -> None:
    """What answers are off on average is to be read off more than a hundred ratings."""
    plant(noise({2: 2.0, 3: 1.0}))
    race = new_race(2, 3)
    assert race.run()
    assert ranks(race.study) == [3, 2]
    assert race.ranking["rounds"] == [3, 1]


@pytest.mark.usefixtures("of_few")
def test_one_that_is_left_and_fails_has_what_it_came_to_before(
    new_race: NewRace, plant: Plant
) -> None:
    found = noise({2: 2.0, 3: 1.0})
    plant(lambda rank, number, n: found(rank, number, n) * (1.0 if number == 1 else np.nan))
    race = new_race(2, 3)
    assert race.run()
    assert race.ranking["decided"] is True
    assert ranks(race.study) == [3, 2]
    assert race.ranking["rounds"] == [1, 1]


def test_who_errs_in_the_same_way_as_the_first_stays_in(new_race: NewRace, plant: Plant) -> None:
    same = noise({2: 1.0, 4: 1.1})
    plant(lambda rank, number, n: same(max(rank - rank % 2, 2), number, n))
    race = new_race(2, 3, 4)
    assert race.run()
    assert race.ranking["rounds"] == [3, 3, 3]
    assert race.ranking["rmse"][0] == race.ranking["rmse"][1] < race.ranking["rmse"][2]


def test_what_a_finalist_predicted_of_a_round_can_be_looked_up(
    new_race: NewRace, plant: Plant
) -> None:
    error_of = noise({2: 2.0, 3: 1.0})
    plant(error_of)
    race = new_race(2, 3)
    assert race.run()
    for setting in best_settings(race.study, 2):
        finalists = race.finalists()
        predicted = finalists.predicted(setting, 0)
        training, validation = finalists.without(0).of(race.ratings)
        assert (len(training), len(validation)) == (1440, 160)
        assert pairs(training).isdisjoint(pairs(validation))
        assert predicted is not None
        expected = validation.values.numpy() + error_of(setting.config.rank, 1, 160)
        np.testing.assert_allclose(predicted, expected, rtol=1e-6)
        assert finalists.predicted(setting, 1) is None


def test_one_setting_alone_needs_no_race(new_race: NewRace, trained: list[Training]) -> None:
    race = new_race(2, 2)
    assert race.run()
    assert not trained
    assert optuna.get_all_study_names(race.storage) == ["ratings"]
    assert ranks(race.study, None) == [2]
    now = race.finalists().look()
    assert (now.decided, now.rounds, now.ranking) == (True, [], None)


def test_without_any_setting_nothing_is_decided_and_nothing_fails(new_race: NewRace) -> None:
    race = new_race()
    assert race.run()
    assert ranks(race.study) == []


def test_what_is_decided_is_not_run_again(new_race: NewRace, trained: list[Training]) -> None:
    race = new_race(2, 3)
    assert race.run()
    assert race.run(interrupted=lambda: True)
    assert len(trained) == 2 * N_ROUNDS
    assert len(race.rounds) == N_ROUNDS
    assert len(race.runs(*TrialState)) == 2 * N_ROUNDS


def test_trials_end_early_enough_for_a_round(
    new_race: NewRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    durations = [timedelta(seconds=seconds) for seconds in (4, 6, 2)]
    monkeypatch.setattr(FrozenTrial, "duration", property(lambda trial: durations[trial.number]))
    study = new_race(2, 3, 4).study
    clock = Clock(seconds=50, end=100)
    assert clock.trials_end(study) == 100 - ROUND_SECONDS - ROUND_SLACK * (4 + 6 + 2) == 81
    assert replace(clock, n_workers=2).trials_end(study) == 90
    assert replace(clock, n_workers=9).trials_end(study) == 90
    assert replace(clock, n_workers=2, times_ratings=2).trials_end(study) == 81
    assert replace(clock, seconds=38).trials_end(study) == 81
    assert replace(clock, seconds=37).trials_end(study) == 100  # too short for both
    assert clock.trials_end(new_race(2).study) == 100  # one alone needs no round
    assert Clock().trials_end(study) == math.inf

    def is_for_finalists(at: float, total: int) -> bool:
        monkeypatch.setattr("study.workers.clock.time", SimpleNamespace(monotonic=lambda: at))
        return clock.is_for_finalists(study, total=total)

    assert not is_for_finalists(80.9, total=4)
    assert is_for_finalists(81.0, total=4)
    assert not is_for_finalists(100.0, total=4)  # it is over
    assert is_for_finalists(0.0, total=3)  # the trials are done


def cut_by_hand(race: Race, epochs: int) -> bool:
    """Runs the finalists, with an interrupt after so many epochs of all."""
    with pytest.MonkeyPatch.context() as patch:
        seen: list[None] = []
        patch.setattr(optuna.Trial, "report", lambda *_: seen.append(None))
        return race.run(interrupted=lambda: len(seen) >= epochs)


def cut_by_the_clock(race: Race, epochs: int) -> bool:
    """Runs the finalists, with a clock that says that time is up after so many epochs."""
    with pytest.MonkeyPatch.context() as patch:
        seen: list[None] = []

        def report(*_: object) -> None:
            seen.append(None)

        patch.setattr(optuna.Trial, "report", report)
        clock = SimpleNamespace(monotonic=lambda: float(len(seen)))
        patch.setattr("study.search.objective.time", clock)
        patch.setattr("study.workers.clock.time", clock)
        return race.run(end=epochs)


@pytest.mark.parametrize("cut", [cut_by_hand, cut_by_the_clock])
@pytest.mark.parametrize("epochs", [1, 2 * N_EPOCHS - 1, 3 * N_EPOCHS + 1, 8 * N_EPOCHS + 2])
def test_a_race_that_was_cut_goes_on_to_the_same_end(
    new_race: NewRace, cut: Callable[[Race, int], bool], epochs: int
) -> None:
    whole, broken = new_race(2, 3, 4), new_race(2, 3, 4)
    assert whole.run()
    assert not cut(broken, epochs)
    assert broken.runs(TrialState.RUNNING) == []
    assert len(broken.runs(TrialState.COMPLETE)) == (epochs - 1) // N_EPOCHS
    if epochs <= 3 * N_EPOCHS:  # no round is over
        assert final_ranking(broken.study) is None
        assert ranks(broken.study) == [2, 3, 4]
    else:
        assert broken.ranking["decided"] is False
        assert set(broken.ranking["rounds"]) == {(epochs - 1) // (3 * N_EPOCHS)}
        assert ranks(broken.study) == [2 + number for number in broken.ranking["trials"]]
    assert len(broken.rounds) == (epochs - 1) // (3 * N_EPOCHS)

    assert broken.run()
    assert broken.ranking == whole.ranking
    assert broken.completed() == whole.completed()
    assert broken.rounds == whole.rounds
    (cut_trial,) = broken.runs(TrialState.FAIL)
    assert cut_trial.user_attrs["interrupted"]


@pytest.mark.parametrize(
    ("where", "nth"),
    [
        ("optuna.Trial.report", 12),
        ("optuna.Trial.report", 3 * N_EPOCHS),
        ("optuna.Trial.set_user_attr", 30),
        ("study.workers.finalists._packed", 4),
        ("study.record.record.Record.finish", 1),
        ("study.record.record.Record.finish", 6),
        ("optuna.Study.ask", 2),
        ("optuna.Study.enqueue_trial", 2),
        ("study.workers.leases.Lease.sign", 3),
        ("study.workers.claims.suggest", 3),
        ("optuna.Study.set_user_attr", 1),
        ("optuna.Study.set_user_attr", 3),
    ],
)
def test_a_race_whose_process_died_goes_on_to_the_same_end(
    new_race: NewRace, monkeypatch: pytest.MonkeyPatch, where: str, nth: int
) -> None:
    whole, broken = new_race(2, 3, 4), new_race(2, 3, 4)
    assert whole.run()
    left = itertools.count(nth - 1, -1)
    with monkeypatch.context() as patch:
        before = pkgutil.resolve_name(where)

        def die(*arguments: object, **named: object) -> object:
            if next(left) == 0:
                raise KeyboardInterrupt
            return before(*arguments, **named)

        patch.setattr(where, die)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    assert broken.study.user_attrs.get("finalists", {}).get("decided") is not True

    broken.bury()
    assert broken.run()
    assert broken.ranking == whole.ranking
    assert broken.completed() == whole.completed()
    assert len(broken.runs(TrialState.FAIL)) <= 1


def test_predictions_of_another_seed_or_of_other_ratings_are_not_taken(
    new_race: NewRace, trained: list[Training]
) -> None:
    race = new_race(2, 3)
    assert race.run()
    before = race.ranking
    race.study.set_user_attr("finalists", {})
    n_runs = len(trained)
    assert race.run()
    assert len(trained) == n_runs
    assert race.ranking == before
    for attributes, seed in (({"ratings_digest": "of others"}, 0), ({}, 1)):
        race.study.set_user_attr("finalists", {})
        for name, value in attributes.items():
            race.study.set_user_attr(name, value)
        n_runs, n_done = len(trained), len(race.runs(TrialState.COMPLETE))
        assert race.run(study_seed=seed)
        assert len(trained) - n_runs == len(race.runs(TrialState.COMPLETE)) - n_done >= 2


def test_of_many_ratings_a_sample_is_compared_and_kept_in_parts(
    new_race: NewRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.workers.crew.MOST_COMPARED", 100)
    monkeypatch.setattr("study.record.record.PART", 64)
    race = new_race(2, 3)
    assert race.run()
    for trial in race.runs(TrialState.COMPLETE):
        parts = [n for n in trial.system_attrs if n.startswith("predictions_")]
        assert len(parts) == 9  # 100 floats are 536 characters
    rmse = race.runs(TrialState.COMPLETE)[0].user_attrs["validation_rmse"]
    assert race.ranking["rmse"][0] == pytest.approx(rmse, rel=0.15)
    assert race.ranking["rmse"][0] != rmse


def test_two_workers_never_do_the_same_run(new_race: NewRace, plant: Plant) -> None:
    whole, shared = new_race(2, 3, 4, 5), new_race(2, 3, 4, 5)
    plant(lambda rank, _, n: np.random.default_rng(rank).normal(0, 1.0, n))
    assert whole.run()
    with ThreadPoolExecutor(3) as workers:
        assert all(list(workers.map(lambda _: shared.run(), range(3))))
    assert shared.ranking == whole.ranking
    assert shared.completed() == whole.completed()
    assert not shared.runs(TrialState.RUNNING)


def test_what_another_worker_does_is_not_offered_and_the_same_run_not_needed(
    new_race: NewRace,
) -> None:
    runs = new_race(2, 3).finalists().runs
    record = runs.record
    for number in range(2):
        assert runs.offer()
        assert record.study.ask().number == number
    assert not runs.offer()  # both that are missing are done by others
    first = record.trial(0)
    record.study.enqueue_trial(TrialView(first).given or {}, user_attrs=first.user_attrs)
    assert record.study.ask().number == 2
    assert [runs.is_needed(trial) for trial in record.trials()] == [True, True, False]


def test_a_finalist_whose_worker_dies_again_and_again_is_out(new_race: NewRace) -> None:
    race = new_race(2, 3, 4)
    killer = race.study.trials[0].params
    dying = race.finalists()
    with pytest.MonkeyPatch.context() as patch:

        def die(trial: optuna.Trial, *arguments: Any, **named: Any) -> Trained:
            if trial.params == killer:
                raise KeyboardInterrupt
            return before(trial, *arguments, **named)

        before = objective.trained
        patch.setattr("study.workers.finalists.trained", die)
        for _ in range(MOST_DEATHS):
            with pytest.raises(KeyboardInterrupt):
                dying.run()
            race.bury()
        dying.run()
    assert is_decided(race.study)
    assert race.ranking["trials"][2] == 0
    assert race.ranking["rmse"][2] is None


def test_new_settings_race_against_the_runs_of_the_old_ones(
    new_race: NewRace, trained: list[Training]
) -> None:
    race = new_race(2, 3, 4, 5, 6)
    assert race.run()
    before, n_runs = race.completed(), len(trained)

    new = tried(race.study, als(7), 0.505)
    assert race.run()
    assert {config for config, _ in trained[n_runs:]} == {als(7)}
    assert sorted(race.ranking["trials"]) == [0, 1, 2, 3, new]  # the fifth has to go
    assert race.ranking["of"] == 6
    assert race.completed() - before == {
        (new, number): 1 for number in range(1, len(trained) - n_runs + 1)
    }


@pytest.mark.parametrize("fault", ["diverges", "diverges late", "fails", "has no memory"])
def test_a_finalist_that_comes_to_nothing_does_not_win(
    new_race: NewRace, plant: Plant, fault: str
) -> None:
    good, epochs = noise({2: 0.01, 3: 1.0, 4: 1.0}), itertools.count(1)

    def error_of(rank: int, number: int, n: int) -> NDArray[np.float64]:
        if rank != 2:
            return good(rank, number, n)
        if fault == "fails":
            raise RuntimeError("no such\nkernel")
        if fault == "has no memory":
            raise MemoryError
        if fault == "diverges late" and next(epochs) == 1:
            return good(rank, number, n)
        return np.full(n, np.nan)

    plant(error_of)
    race = new_race(2, 3, 4)
    assert race.run()
    assert ranks(race.study)[2:] == [2]
    assert race.ranking["rounds"] == [3, 3, 1]
    assert race.ranking["best_epochs"] == [N_EPOCHS, N_EPOCHS, 1]
    assert race.ranking["decided"] is True
    assert race.ranking["average"] == 2
    (bad,) = race.runs(TrialState.PRUNED, TrialState.FAIL)
    assert bad.user_attrs["of_trial"] == 0
    expected = {"fails": "no such kernel", "has no memory": "MemoryError"}
    if fault in expected:
        assert bad.user_attrs["failed"] == expected[fault]
    else:
        assert bad.user_attrs["stopped"].startswith("diverged")


def test_one_that_diverges_in_a_later_round_does_not_win_either(
    new_race: NewRace, plant: Plant
) -> None:
    good = noise({2: 0.95, 3: 1.0, 4: 1.0})

    def error_of(rank: int, number: int, n: int) -> NDArray[np.float64]:
        return np.full(n, np.nan) if (rank, number) == (2, 2) else good(rank, number, n)

    plant(error_of)
    race = new_race(2, 3, 4)
    assert race.run()
    assert ranks(race.study)[2:] == [2]
    assert race.ranking["rounds"] == [3, 3, 2]


@pytest.mark.parametrize(
    ("part", "average"), [(0.0007, 1), (0.0008, 2), (0.003, 3), (0.008, 4), (3.0, 5)]
)
def test_an_average_is_as_long_as_it_is_worth(
    new_race: NewRace, plant: Plant, part: float, average: int
) -> None:
    """Errors of 1 + a·(an orthogonal pattern): the mean of n has the MSE 1 + a²/n."""

    def error_of(rank: int, _: int, n: int) -> NDArray[np.float64]:
        return 1.0 + math.sqrt(part) * pattern(rank, n)

    plant(error_of)
    race = new_race(2, 3, 4, 5, 6)
    assert race.run()
    assert race.ranking["rounds"] == [3] * 5
    gains = [1 - math.sqrt((1 + part / n) / (1 + part)) for n in range(1, 6)]
    assert race.ranking["average_gain"] == pytest.approx(gains, abs=1e-6)
    assert race.ranking["average"] == average
    assert len(ranks(race.study, None)) == average
    assert len(ranks(race.study, 4)) == 4


def test_an_average_that_gets_worse_again_is_cut_where_it_is_best(
    new_race: NewRace, plant: Plant
) -> None:
    sides = {2: 1.0, 3: -1.0, 4: 1.0}
    plant(lambda rank, _, n: np.full(n, sides[rank] * (1 + rank * 1e-6)))
    race = new_race(2, 3, 4)
    assert race.run()
    assert race.ranking["average"] == 2
    assert race.ranking["average_gain"] == pytest.approx([0, 1, 2 / 3], abs=1e-5)


def test_who_is_out_can_still_help_in_an_average(new_race: NewRace, plant: Plant) -> None:
    plant(lambda rank, number, n: np.full(n, {2: 1.0, 3: -1.2}[rank] * number))
    race = new_race(2, 3)
    assert race.run()
    assert race.ranking["rounds"] == [1, 1]
    assert race.ranking["average"] == 2


def test_a_later_trial_that_beats_all_finalists_comes_first(
    new_race: NewRace, plant: Plant
) -> None:
    plant(noise({2: 1.0, 3: 0.9, 4: 0.99, 5: 1.0}))
    race = new_race(2, 3)
    assert race.run()
    assert ranks(race.study) == [3, 2]
    tried(race.study, als(4), 0.505)  # better than one of them only
    assert ranks(race.study) == [3, 2, 4]
    tried(race.study, als(5), 0.4)
    assert final_ranking(race.study) is None
    assert ranks(race.study) == [5, 2, 4, 3]
    assert ranks(race.study, None) == [5]
    assert race.run()
    assert ranks(race.study)[0] == 3


GOOD = "3 4 9\n1 1 5\n1 2 3\n1 3 4\n2 1 4\n2 2 2\n2 4 5\n3 1 1\n3 3 2\n3 4 3\n1\n3 2\n"


def test_the_commands_run_the_finalists_and_answer_with_as_many_as_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome_of: Callable[..., tuple[int, str, str]]
) -> None:
    def call(*command: object) -> str:
        code, out, _ = outcome_of(*command)
        assert code == 0
        return out

    monkeypatch.chdir(tmp_path)
    Path("mat_comp").write_text(GOOD)
    storage = open_storage(parse_storage_url("sqlite:///runs/study.db"))
    data = load_data(None, runs=Path("runs"))
    wanted = identity(data.table.digest, split(data.ratings, seed=0)[1], seed=0)
    study = open_study(
        storage,
        default_name(data.table),
        wanted,
        about="a test",
        sampler=SlotSampler(0),
        pruner=SolverMedianPruner(),
    ).study
    for rank in (2, 3):
        tried(study, als(rank), 0.5)

    out = call(run.main, "--trials", "2", "--timeout", "0")
    assert "Time is up before the finalists were done: the same command goes on with them" in out
    assert final_ranking(study) is None
    out = call(run.main, "--trials", "2")
    assert "2 of 2 trials finished" in out
    assert "Finalists, round 1: 2 settings" in out
    ranking = final_ranking(study)
    assert ranking is not None
    assert ranking["decided"] is True
    assert f"trial {ranking['trials'][0]} is first of 2" in out
    assert "they are not done" not in out
    assert f"Best by the finalists: trial {ranking['trials'][0]}, " in out
    study.set_user_attr("finalists", ranking | {"of": 1})  # before another trial
    out = call(run.main, "--trials", "3", "--timeout", "0")
    assert ", so far: they are not done\n" in out
    study.set_user_attr("finalists", ranking)

    for average in (1, 2):
        study.set_user_attr("finalists", ranking | {"average": average, "trials": [1, 0]})
        out = call(best_predict.main)
        lines = [line for line in out.splitlines() if line.startswith("Trial ")]
        assert [line[:12] for line in lines] == ["Trial 1, als", "Trial 0, als"][:average]


def test_where_ratings_are_many_one_round_is_enough(
    new_race: NewRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = new_race(2, 3)
    monkeypatch.setattr("study.workers.race.ENOUGH", len(split(race.ratings, seed=0)[1]))
    assert race.run()
    assert race.ranking["decided"]
    assert race.ranking["rounds"] == [1, 1]


def test_a_run_that_is_given_up_is_done_again_on_its_own_split(new_race: NewRace) -> None:
    runs = new_race(2, 3).finalists().runs
    assert runs.offer()
    number = runs.record.study.ask().number
    runs.record.keep_with(number, TrialView.split, Split.LATEST)
    given_up = TrialView(runs.record.trial(number))
    assert give_up(runs.record, runs.record.trial(number), "stopped")
    again = TrialView(runs.record.trial(runs.record.study.ask().number))
    for name in ("task", "split", "round", "of_trial"):
        assert getattr(again, name) == getattr(given_up, name) is not None


def test_a_solver_that_ranks_cannot_train_does_not_meet(
    new_race: NewRace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Crew, "can_train", lambda _, solver: solver != "gradient")
    race = new_race(2, 3)
    first = tried(race.study, SOLVERS["gradient"].default, 0.1)
    assert race.run()
    assert first not in race.ranking["trials"]
    assert race.ranking["left_out"] == ["gradient"]
    assert [one.solver for one in best_settings(race.study, 3)] == ["als", "als", "gradient"]
    one = new_race(2)
    tried(one.study, SOLVERS["gradient"].default, 0.1)
    assert one.run()
    assert "\nFinalists: trial 0 had no other to meet\n" in summary(one.finalists().record)
    monkeypatch.setattr(Crew, "can_train", lambda *_: False)
    alone = new_race(2, 3)
    assert alone.run()
    assert alone.finalists().look().rounds == []
    assert final_ranking(alone.study) is None


@pytest.mark.usefixtures("of_few")
@pytest.mark.parametrize(("n_ratings", "most"), [(49_999, 6), (50_000, 3)])
def test_one_round_of_enough_ratings_decides(n_ratings: int, most: int) -> None:
    settings = [
        Setting(
            trial=create_trial(value=1.0),
            config=replace(SOLVERS["als"].default, rank=rank),
            best_epoch=4,
            rmse=1.0,
        )
        for rank in (2, 3)
    ]
    draw = np.random.default_rng(0)
    runs = {
        (one.config, 0): Run(predictions=draw.normal(size=60_000), best_epoch=4) for one in settings
    }
    found = standing(settings, runs, lambda _: np.zeros(60_000), n_ratings=n_ratings, n_trials=100)
    assert (found.decided, len(found.rounds), found.most_rounds) == (True, 1, most)
