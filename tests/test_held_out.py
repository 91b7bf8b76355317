"""Errors on held-out ratings: those of the finalists' splits, summed up and kept with the study."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from planted_studies import finals, plant, some_trials

from model.biases import fit_biases
from model.dataset import Ratings
from model.splits import Split, Without, split
from study.answers.levels import Levels, Residuals
from study.answers.scores import score
from study.record.attributes import StudyView
from study.record.ranking import Setting
from study.record.record import Record
from study.record.seeds import stable_seed
from study.workers.crew import Crew
from study.workers.held_out import Round, gain_interval, record_held_out, rmse_interval


class Met:
    """Finalists that have met, as far as they are asked for what they predicted."""

    def __init__(self, record: Record, ratings: Ratings) -> None:
        self.record = record
        self.crew = Crew(ratings)
        self.predictions: dict[tuple[int, int], NDArray[np.float64]] = {}  # by trial and round

    def without(self, number: int, *, kind: Split) -> Without:
        """What Finalists.without returns."""
        return Without(kind, stable_seed("finalists", 0, number))

    def predicted(
        self, setting: Setting, number: int, *, kind: Split
    ) -> NDArray[np.float64] | None:
        """What Finalists.predicted returns."""
        return self.predictions.get((setting.trial.number, number))


def test_held_out_errors_are_kept_with_the_study(planted: tuple[Ratings, Ratings, float]) -> None:
    ratings: Ratings = planted[0]
    draw = torch.from_numpy(np.random.default_rng(0).random(len(ratings)))
    ratings = ratings[(draw > 0.8) | (ratings.user_index < 75)]  # half of the users rate less
    record = plant(None, "mine", some_trials(10))
    study = record.study
    study.set_user_attr(StudyView.ranking.name, ranking := finals(study.get_trials()))
    winner = study.get_trials()[ranking["trials"][0]]
    met: Any = Met(record, ratings)
    errors, users, biases, constant, counts = [], [], [], [], []
    for number in range(2):
        seed = stable_seed("finalists", 0, number)
        training, validation = split(ratings, seed=seed)
        error = np.random.default_rng(number).normal(0, 0.6, len(validation))
        if number:  # the second is not there at first
            record_held_out(met, biases_rmse=0.9, mean_rmse=1.1)
            assert record.held_out is None
        met.predictions[winner.number, number] = validation.values.numpy() + error
        of_biases = fit_biases(training).predict(validation) - validation.values
        errors.append((error, of_biases.numpy()))
        users.append(validation.user_index.numpy())
        biases.append(of_biases.square().mean().item())
        constant.append((validation.values - training.values.mean()).square().mean().item())
        counts.append(np.bincount(training.user_index, minlength=ratings.n_users)[users[-1]])
    record_held_out(met, biases_rmse=0.9, mean_rmse=1.1)
    found, count = study.user_attrs["held_out"], np.concatenate(counts)
    weight = found["levels"]["weight"]  # noise in predictions, which biases have not
    assert 0.3 < weight < 0.9
    assert "slope" not in found["levels"]
    error = np.concatenate([weight * mine + (1 - weight) * theirs for mine, theirs in errors])
    assert (record.biases_rmse, record.mean_rmse) == (0.9, 1.1)
    assert found["mean_rmse"] == pytest.approx(np.sqrt(np.mean(constant)), abs=1e-6)
    assert found["trial"] == winner.number
    assert found["ratings"] == len(error)
    assert found["rmse"][0] == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-6)
    assert found["biases_rmse"] == pytest.approx(np.sqrt(np.mean(biases)), abs=1e-6)
    for side in ("by_user", "by_item"):
        assert sum(group["ratings"] for group in found[side]) == len(error)
    assert found["average"] == 2  # of which the second came to nothing
    low, high = found["gain"][1:]
    for_nothing = min(found["biases_rmse"], found["mean_rmse"])
    assert found["gain"][0] == pytest.approx(1 - found["rmse"][0] / for_nothing, abs=1e-5)
    assert low < found["gain"][0] < high
    assert len(found["by_user"]) > 1
    for group in found["by_user"]:
        here = (count >= group["from"]) & (count <= group["to"])
        assert group["ratings"] == here.sum() >= 100
        assert group["rmse"][0] == pytest.approx(np.sqrt(np.mean(error[here] ** 2)), abs=1e-6)


def test_errors_are_those_of_what_answers() -> None:
    """Of the best beside biases alone, and that beside the mean."""
    nothing = np.full(2, np.nan)
    one = Round(
        residuals=Residuals(**dict.fromkeys((f.name for f in fields(Residuals)), nothing)),
        best=np.array([1.0, 2.0]),
        biases=np.array([0.0, 1.0]),
        mean=np.array([-1.0, 0.5]),
        recent_mean=nothing,
        recent_biases=nothing,
        ahead=nothing,
        labels={},
        std=1.0,
    )
    assert one.best_values(Levels.none()) is one.best
    weighted = replace(Levels.none(), weight=0.25)
    assert one.best_values(weighted).tolist() == [0.25, 1.25]
    assert one.best_values(replace(weighted, slope=0.5)).tolist() == [-0.375, 0.875]


def test_the_interval_of_an_rmse_is_that_of_resampled_users() -> None:
    draw = np.random.default_rng(0)
    users = draw.integers(0, 200, 4000)
    errors = draw.normal(0, draw.uniform(0.5, 1.5, 200)[users])
    value, low, high = rmse_interval(errors, users)
    figure = score(errors, np.zeros(4000), users).rmse
    assert value == pytest.approx(figure.value, abs=1e-6)
    assert (low, high) == pytest.approx((figure.low, figure.high), abs=0.006)
    assert high - low > 1.3 * np.ptp(rmse_interval(errors, np.arange(4000))[1:])


def test_a_gain_is_told_where_it_is_one() -> None:
    """Of errors that are alike but for noise its interval holds zero, else what was planted."""
    draw = np.random.default_rng(1)
    users, theirs = draw.integers(0, 100, 2000), draw.normal(0, 1.0, 2000)
    held = []
    for seed in range(40):
        ours = np.random.default_rng(seed).normal(0, 1.0, 2000)
        low, high = gain_interval(ours, theirs, users)[1:]
        held.append(low < 1 - np.sqrt(np.mean(ours**2) / np.mean(theirs**2)) < high)
    assert all(held)
    gain, low, high = gain_interval(0.9 * theirs, theirs, users)
    assert gain == pytest.approx(0.1, abs=1e-6)
    assert 0.05 < low < gain < high
    alike = gain_interval(theirs + draw.normal(0, 0.1, 2000), theirs, users)
    assert alike[1] < 0
    assert gain_interval(theirs, 0 * theirs, users) == [0.0, 0.0, 0.0]
