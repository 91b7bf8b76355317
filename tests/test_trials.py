"""The loop over trials: exact totals, the same trials again, and what may happen to a trial."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial
from records import GivenSampler, ask, new_record, run_trials

from model.dataset import index_ratings
from model.solvers import ORIGINAL, SOLVERS, WIDE, Config, GradientConfig
from model.splits import split
from study.record.attributes import NOT_NEEDED, TrialView
from study.record.parameters import SOLVER, searched, space, to_config, to_params
from study.record.ranking import best_settings, ranked_trials
from study.record.record import Record, n_finished, text_of
from study.search.objective import Context, Objective, Trained
from study.search.sampler import FIRST_SETTINGS, SlotSampler
from study.workers.claims import StudyFailedError
from study.workers.leases import give_up
from study.workers.trials import Trials

GRADIENT = SOLVERS["gradient"].default
assert isinstance(GRADIENT, GradientConfig)


pytestmark = pytest.mark.usefixtures("few_epochs")


@pytest.fixture(scope="module")
def objective() -> Objective:
    draw = np.random.default_rng(3)
    users, items = draw.integers(0, 60, 1500), draw.integers(0, 40, 1500)
    signal = draw.normal(size=(60, 2)) @ draw.normal(size=(2, 40))
    ratings, _, _ = index_ratings(users, items, signal[users, items] + draw.normal(0, 0.3, 1500))
    training, validation = split(ratings, seed=0)
    return Objective(
        context=Context(device=torch.device("cpu"), study_seed=0),
        training=training,
        validation=validation,
    )


def told(record: Record) -> list[tuple[object, ...]]:
    """What a study came to, without times, in the order in which trials finished."""
    return [
        (trial.params, trial.value, trial.intermediate_values, trial.user_attrs["stopped"])
        for trial in record.study.get_trials()
        if trial.state is not TrialState.FAIL
    ]


def test_the_first_settings_come_first(objective: Objective) -> None:
    record = new_record()
    study = record.study
    run_trials(record, objective, total=len(FIRST_SETTINGS))
    tried = [to_config(trial.params) for trial in study.get_trials()]
    assert tried == FIRST_SETTINGS == [ORIGINAL, *(one.default for one in SOLVERS.values()), WIDE]
    assert {trial.params["solver"] for trial in study.get_trials()} == set(SOLVERS)


def test_of_those_that_begin_at_once_each_takes_its_own_whoever_dies() -> None:
    record = new_record()
    sampler, first = SlotSampler(0), [to_params(one) for one in FIRST_SETTINGS]
    for _ in range(4):
        record.study.ask()

    def proposed(number: int) -> dict[str, object]:
        return sampler.propose(record.study, record.trial(number))

    assert [proposed(number) for number in range(4)] == first[:4]
    assert give_up(record, record.trial(1), "gone", died=True)
    assert [proposed(number) for number in (2, 3)] == first[2:4]
    assert proposed(record.study.ask().number) == first[1]


def test_parameters_stand_for_settings_and_back() -> None:
    for config in FIRST_SETTINGS:
        params = to_params(config)
        assert to_config(params) == config
        allowed = {"solver": SOLVER, **space(params["solver"])}
        assert allowed.keys() == params.keys()
        for name, value in params.items():
            assert allowed[name]._contains(allowed[name].to_internal_repr(value))


def finish(study: optuna.Study, value: float) -> None:
    trial = ask(study)
    trial.set_user_attr("validation_mse", value)
    study.tell(trial, value)


def test_in_a_hurry_the_quickest_settings_come_first_and_none_twice(objective: Objective) -> None:
    record = new_record()
    study = record.study
    study.sampler = SlotSampler(0, hurry=True)
    run_trials(record, objective, total=2)
    study.sampler = SlotSampler(0)  # no longer in a hurry
    run_trials(record, objective, total=len(FIRST_SETTINGS))
    tried = [to_config(trial.params) for trial in study.get_trials()]
    quick = [SOLVERS["gradient"].default, SOLVERS["gibbs"].default]
    # Each takes its own place among the first, or what is left where that was tried before.
    left = [one for one in FIRST_SETTINGS[:2] if one not in quick]
    own = [one if one not in quick else left.pop(0) for one in FIRST_SETTINGS[2:]]
    assert tried == [*quick, *own]


def test_only_the_first_trial_has_the_plain_form() -> None:
    record = new_record()
    study = record.study
    for _ in range(30):
        finish(study, 1.0)
    forms = [trial.params.get("gradient_form", "none") for trial in study.get_trials()]
    assert forms[0] == "plain"
    assert "plain" not in forms[1:]


def far_from_20(ranks: list[int]) -> float:
    """How far ranks are from 20, as a share of what it would be by chance."""
    ranged = searched("als")["als_rank"]
    assert isinstance(ranged, IntDistribution)
    by_chance = np.abs(np.log(np.geomspace(ranged.low, ranged.high, 1000) / 20)).mean()
    return float(np.abs(np.log(np.array(ranks) / 20)).mean() / by_chance)


def test_the_search_learns_which_solver_is_good_and_with_which_setting() -> None:
    record = new_record()
    study = record.study
    for _ in range(60):
        trial = ask(study)
        rank = trial.params.get("als_rank")
        value = 2.0 if rank is None else 1.0 + abs(math.log(rank / 20))
        trial.set_user_attr("validation_mse", value)
        study.tell(trial, value)
    late = [trial.params for trial in study.get_trials()[40:]]
    ranks = [params["als_rank"] for params in late if params["solver"] == "als"]
    assert len(ranks) >= 12
    assert far_from_20(ranks) < 0.6


def test_every_solver_keeps_being_tried() -> None:
    record = new_record()
    study = record.study
    for _ in range(80):
        trial = ask(study)
        value = 1.0 if trial.params["solver"] == "gibbs" else 2.0
        trial.set_user_attr("validation_mse", value)
        study.tell(trial, value)
    solvers = [trial.params["solver"] for trial in study.get_trials()]
    assert solvers.count("gibbs") > 50
    assert min(solvers.count("als"), solvers.count("gradient")) >= 5


def test_the_same_seed_gives_the_same_trials(objective: Objective) -> None:
    records = [new_record(seed=0), new_record(seed=0), new_record(seed=1)]
    for record in records:
        run_trials(record, objective, total=14)
    assert told(records[0]) == told(records[1])
    assert told(records[0]) != told(records[2])


@pytest.mark.parametrize(("n_workers", "total"), [(2, 1), (3, 2)])
def test_workers_that_begin_at_the_same_instant_finish_no_more_than_the_total(
    objective: Objective, monkeypatch: pytest.MonkeyPatch, n_workers: int, total: int
) -> None:
    record, ask_it = new_record(), optuna.Study.ask
    meet = threading.Barrier(n_workers, timeout=10)  # all have seen that a trial is wanted

    def ask_with_all(study: optuna.Study) -> optuna.Trial:
        meet.wait()
        return ask_it(study)

    def work(_: int) -> None:
        study = optuna.load_study(
            study_name=record.name, storage=record.storage, sampler=SlotSampler(0)
        )
        run_trials(Record(study, record.storage), objective, total=total)

    monkeypatch.setattr(optuna.Study, "ask", ask_with_all)
    with ThreadPoolExecutor(n_workers) as workers:
        list(workers.map(work, range(n_workers)))
    assert n_finished(record.study) == total
    (withdrawn,) = record.trials(TrialState.FAIL)
    assert withdrawn.number == total  # the last to begin
    assert TrialView(withdrawn).interrupted == NOT_NEEDED


def test_of_trials_that_were_claimed_at_once_the_first_are_needed(objective: Objective) -> None:
    record = new_record()
    for _ in range(4):
        record.study.ask()
    record.finish(1, TrialState.FAIL)
    trials = Trials(record, objective, total=2)
    assert [trials.is_needed(trial) for trial in record.trials()] == [True, True, True, False]


def test_an_interruption_changes_nothing_that_comes_after(objective: Objective) -> None:
    whole, broken = new_record(), new_record()
    run_trials(whole, objective, total=14)

    epochs: list[None] = []

    def interrupted() -> bool:
        epochs.append(None)
        return len(epochs) >= 100

    context = replace(objective.context, interrupted=interrupted)
    run_trials(broken, replace(objective, context=context), total=14)
    assert 0 < n_finished(broken.study) < 14
    left_by_a_dead_process = ask(broken.study)
    left = broken.trials()[left_by_a_dead_process.number]
    assert give_up(broken, left, "gone", died=True)
    broken.study.sampler = SlotSampler(0)  # as after a restart
    run_trials(broken, objective, total=14)

    assert len(broken.trials(TrialState.FAIL)) == 2
    assert told(broken) == told(whole)


def test_a_failed_setting_is_not_tried_again(objective: Objective) -> None:
    class FailsOnce(Objective):
        failed: list[int] = []  # noqa: RUF012

        def __call__(self, trial: optuna.Trial, **named: Any) -> Trained:
            if trial.number == 3:
                raise MemoryError("out of memory")
            return super().__call__(trial, **named)

    record = new_record()
    study = record.study
    run_trials(record, FailsOnce(**vars(objective)), total=6)
    failed = study.get_trials()[3]
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["failed"] == "out of memory"
    assert n_finished(study) == 6
    assert all(trial.params != failed.params for trial in study.get_trials()[4:])


def test_trials_that_keep_failing_end_the_study(objective: Objective) -> None:
    class Fails(Objective):
        def __call__(self, trial: optuna.Trial, **named: Any) -> Trained:
            raise RuntimeError(f"no memory left\n for {trial.number + 1}00 bytes")

    record = new_record()
    study = record.study
    with pytest.raises(
        StudyFailedError, match="3 trials in a row failed: no memory left for 300 bytes"
    ):
        run_trials(record, Fails(**vars(objective)), total=6)
    assert len(study.get_trials()) == 3


@pytest.mark.parametrize("when", ["at its start", "while it trains", "when it is done"])
def test_a_trial_that_was_given_to_another_worker_is_let_go(
    objective: Objective, when: str
) -> None:
    record, asleep = new_record(), []
    study, epochs = record.study, []

    def others_take_it() -> None:
        if not asleep:
            asleep.append(study.get_trials()[-1])
            assert give_up(record, asleep[0], "fell silent", died=True)

    class Slow(Objective):
        def __call__(self, trial: optuna.Trial, **named: Any) -> Trained:
            if when == "at its start":
                others_take_it()
            trained = super().__call__(trial, **named)
            if when == "when it is done":
                others_take_it()
            return trained

    def looked_at_every_epoch() -> bool:
        epochs.append(None)
        if when == "while it trains" and len(epochs) == 4:
            others_take_it()
        return False

    context = replace(objective.context, interrupted=looked_at_every_epoch)
    run_trials(record, Slow(**vars(replace(objective, context=context))), total=3)
    late, again, *_ = study.get_trials()
    assert late.state is TrialState.FAIL
    assert "validation_mse" not in late.user_attrs or when == "when it is done"
    assert again.params == late.params
    assert n_finished(study) == 3
    assert len(study.get_trials()) == 4


def test_a_trials_value_is_its_best_epoch(objective: Objective) -> None:
    record = new_record()
    study = record.study
    run_trials(record, objective, total=5)
    overfitting = replace(GRADIENT, learning_rate=0.1, learning_rate_decay=1.0, weight_decay=0.01)
    study.sampler = GivenSampler(overfitting)
    run_trials(record, objective, total=6)
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        best = min(trial.intermediate_values, key=trial.intermediate_values.__getitem__)
        assert trial.value == trial.intermediate_values[best] == trial.user_attrs["validation_mse"]
        assert trial.user_attrs["best_epoch"] == best
    assert study.trials[-1].value != list(trial.intermediate_values.values())[-1]


def test_a_trial_that_diverges_is_pruned_with_the_reason(objective: Objective) -> None:
    record = new_record()
    study = record.study
    study.sampler = GivenSampler(
        replace(GRADIENT, learning_rate=0.1, learning_rate_decay=1.0, initial_scale=1.0, rank=128)
    )
    run_trials(record, objective, total=1)
    (trial,) = study.get_trials()
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs["stopped"].startswith("diverged in epoch ")
    assert all(math.isfinite(value) for value in trial.intermediate_values.values())


def test_time_is_looked_at_every_epoch_and_the_best_epoch_kept(objective: Objective) -> None:
    record = new_record()
    study = record.study
    for _ in range(2):  # once there is something, no trial begins when time is up
        run_trials(record, objective, total=5, deadline=time.monotonic())
    (trial,) = study.get_trials()
    assert trial.state is TrialState.PRUNED
    assert list(trial.intermediate_values) == [1]
    assert trial.user_attrs["stopped"] == "timeout"
    (best,) = best_settings(study, 5)
    assert best.trial.number == 0
    assert best.epochs == 1


def completed(study: optuna.Study, config: Config, value: float, epochs: int) -> None:
    trial = ask(study, config)
    for epoch in range(1, epochs + 1):
        trial.report(value, epoch)
    trial.set_user_attr("validation_mse", value)
    trial.set_user_attr("best_epoch", 1)
    study.tell(trial, value)


def test_hopeless_trials_are_pruned_and_good_ones_are_not(objective: Objective) -> None:
    record = new_record()
    study = record.study
    for _ in range(6):
        completed(study, GRADIENT, 1.5, 30)
    slow = replace(GRADIENT, learning_rate=3e-3, learning_rate_decay=0.7, initial_scale=0.3)
    for total, config in ((7, slow), (8, replace(GRADIENT, learning_rate_decay=0.97))):
        study.sampler = GivenSampler(config)
        run_trials(record, objective, total=total)
    hopeless, good = study.get_trials()[6:]
    assert hopeless.state is TrialState.PRUNED
    assert hopeless.user_attrs["stopped"] == "pruned"
    assert len(hopeless.intermediate_values) == 20
    assert good.state is TrialState.COMPLETE
    assert good.value < 1.5


def test_a_trial_is_compared_with_those_of_its_own_solver_alone() -> None:
    record = new_record()
    study = record.study
    for _ in range(6):
        completed(study, SOLVERS["als"].default, 0.5, 50)
        completed(study, SOLVERS["gibbs"].default, 1.0, 30)  # none went as far as epoch 40
    sampler = ask(study, SOLVERS["gibbs"].default)
    for epoch in range(1, 41):
        sampler.report(0.9, epoch)
        assert not sampler.should_prune()
    worse = ask(study, SOLVERS["gibbs"].default)
    for epoch in range(1, 41):
        worse.report(1.1, epoch)
        assert worse.should_prune() == (epoch == 40)


def test_a_trial_that_is_better_than_half_of_the_others_goes_on() -> None:
    record = new_record()
    study = record.study

    def is_pruned(value: float) -> bool:
        trial = ask(study, GRADIENT)
        trial.report(value, 20)
        return trial.should_prune()

    for value in (0.5, 0.8, 1.0, 1.2):
        completed(study, GRADIENT, value, 30)
    assert not is_pruned(2.0)  # four are too few to tell
    completed(study, GRADIENT, 1.5, 30)
    assert [is_pruned(value) for value in (0.9, 1.0, 1.1)] == [False, False, True]


def test_ranking_goes_by_the_best_epoch_and_ignores_repeated_settings() -> None:
    record = new_record()
    study = record.study
    for rank, value in ((4, 0.9), (8, 0.7), (8, 0.6), (16, 0.8)):
        completed(study, replace(GRADIENT, rank=rank), value, 3)
    for rank, stopped, value in ((2, "pruned", 0.1), (3, "timeout", 0.65)):
        trial = ask(study, replace(GRADIENT, rank=rank))
        trial.set_user_attr("validation_mse", value)
        trial.set_user_attr("best_epoch", 1)
        trial.set_user_attr("stopped", stopped)
        study.tell(trial, state=TrialState.PRUNED)
    ranked = [trial.user_attrs["validation_mse"] for trial in ranked_trials(study)]
    assert ranked == [0.6, 0.65, 0.7, 0.8, 0.9]
    assert [setting.config.rank for setting in best_settings(study, 9)] == [8, 3, 16, 4]
    assert [setting.config.rank for setting in best_settings(study)] == [8]


def test_of_trials_that_are_as_good_those_that_were_not_cut_come_first() -> None:
    study = new_record().study
    cut = ask(study, GRADIENT)
    for name, value in {"validation_mse": 0.0, "best_epoch": 1, "stopped": "timeout"}.items():
        cut.set_user_attr(name, value)
    study.tell(cut, state=TrialState.PRUNED)
    completed(study, replace(GRADIENT, rank=3), 0.0, 3)
    assert [trial.number for trial in ranked_trials(study)] == [1, 0]
    assert [setting.rmse for setting in best_settings(study, 9)] == [0.0, 0.0]


def test_pruned_trials_answer_only_where_nothing_else_does() -> None:
    record = new_record()
    study = record.study
    trial = ask(study)
    trial.set_user_attr("validation_mse", 0.1)  # and then it was lost to another worker
    assert ranked_trials(study) == []
    study.tell(trial, state=TrialState.FAIL)
    assert ranked_trials(study) == []
    trial = ask(study)
    trial.set_user_attr("validation_mse", 0.5)
    trial.set_user_attr("stopped", "pruned")
    study.tell(trial, state=TrialState.PRUNED)
    assert [trial.number for trial in ranked_trials(study)] == [1]


def test_a_long_text_is_put_together_in_the_order_of_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.record.record.PART", 2)
    record, text = new_record(), "abcdefghijklmnopqrstuvwxyz"
    record.keep_text(record.study.ask().number, text)
    kept = record.trial(0)
    assert text_of(kept) == text
    parts = dict(sorted(kept.system_attrs.items()))  # part 10 before part 2
    assert text_of(create_trial(value=1.0, system_attrs=parts)) == text
