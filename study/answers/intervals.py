"""Intervals in which nine ratings of ten lie, calibrated on ratings that were held out.

A sampler says how far a rating may be from its prediction, user by user and item by item; of als
and gradient every pair has the same spread. Either is scaled by the errors on a fresh split, which
asks what the queries ask (split conformal prediction: Lei et al. 2018, Distribution-Free Predictive
Inference for Regression, sec. 2 and 5.2): the interval is the prediction ± q spread, with q the
90 % quantile of |error| / spread. Pairs with a user or item without ratings have a scale of their
own, of those that were held out where there are enough, or else of the same ratings predicted once
more as if their users were unknown, or their items, or both; pairs whose user or item has a few
ratings have one of their own where enough were held out (a quantile for each of some groups: Vovk
2012, Conditional Validity of Inductive Conformal Predictors). How well intervals hold is measured
crosswise on the same ratings, calibrated on every other one and counted on the rest.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from model.biases import fit_biases
from model.dataset import UNKNOWN
from model.selection import even_rows, spread_rows
from model.world import World
from study.answers.ensemble import LITTLE, Ensemble, counts_of, kinds_of
from study.record.attributes import Calibrated, StudyView

COVERAGE = 0.9
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FEWEST = 100  # held-out ratings to trust: of these, 90 % are known to about 3 %
N_GROUPS = 10  # by spread
MOST_TOLD = 4_000_000  # held-out ratings that scales are taken from
MOST_UNKNOWN = 10_000  # ratings that are predicted as if their users or items were unknown


class Scale(NamedTuple):
    """By what a spread is to be multiplied."""

    std_factor: float
    quantile: float  # q


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What an uncalibrated spread comes to."""

    std_factor: float
    quantile: float  # q
    lowest: float
    highest: float
    n_ratings: int  # held out, that it rests on
    # Of pairs with an unknown user, item, or both, and of those of which little is known.
    of_others: tuple[Scale, ...] = ()

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """That of which `to_keep` was."""
        return cls(**{**kept, "of_others": tuple(Scale(*scale) for scale in kept["of_others"])})

    def to_keep(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return asdict(self)

    @property
    def doubt(self) -> str:
        """What may be wrong with the intervals, for people; empty if nothing is."""
        if self.n_ratings >= FEWEST:
            return ""
        return (
            f"intervals that rest on {self.n_ratings:,} held-out rating"
            f"{'s' if self.n_ratings > 1 else ''} may be far too wide or too narrow; "
            f"{FEWEST} are enough"
        )

    def intervals(
        self,
        predictions: NDArray[np.float64],
        spread: NDArray[np.float64],
        kinds: NDArray[np.int64] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """The columns prediction, std, lower and upper, within the range of the ratings.

        Args:
            predictions: (n,) of pairs.
            spread: (n,), uncalibrated.
            kinds: (n,) of the pairs, as of `Ensemble.kinds`; all known if not told.
        """
        scales = [Scale(self.std_factor, self.quantile), *self.of_others]
        kinds = np.zeros(len(spread), dtype=np.int64) if kinds is None else kinds
        std_factor = np.array([scale.std_factor for scale in scales])[kinds]
        reach = np.array([scale.quantile for scale in scales])[kinds] * spread
        return {
            "prediction": predictions,
            "std": std_factor * spread,
            "lower": np.maximum(predictions - reach, self.lowest),
            "upper": np.minimum(predictions + reach, self.highest),
        }


def calibrate(ensemble: Ensemble) -> Calibration:
    """The calibration of an ensemble, trained once more without a tenth of the ratings.

    How well it held on them is stored with the study.
    """
    ratings = ensemble.data.ratings
    training, held_out = ensemble.without.of(ratings)
    world = ratings.world
    own = len(held_out)
    n, rows = sum(world.everyones(own)), even_rows(own, MOST_UNKNOWN, world)
    all_rows, nobody = torch.arange(own), torch.full_like(rows, UNKNOWN)
    users, items = held_out.user_index, held_out.item_index
    as_if = replace(
        held_out[torch.cat([all_rows, rows, rows, rows])],
        user_index=torch.cat([users, nobody, users[rows], nobody]),
        item_index=torch.cat([items, items[rows], nobody, nobody]),
    )
    predicted, spreads = ensemble.predict(as_if, without=ensemble.without)
    own_truth = held_out.values.numpy()
    levelled = ensemble.levelled(predicted[:own], held_out, training)
    blended = ensemble.levels.blended(predicted, as_if, lambda: fit_biases(training))[own:]
    far = np.abs(blended.reshape(3, -1) - own_truth[rows]) / spreads[own:].reshape(3, -1)
    simulated = gathered(world, far.T).T
    counts, some = counts_of(held_out, training), spread_rows(own, MOST_TOLD, world)
    predictions, spread, truth, kinds = (
        gathered(world, one[some])
        for one in (levelled, spreads[:own], own_truth, kinds_of(*counts))
    )
    score = np.abs(predictions - truth) / spread
    found = kinds.copy()
    if (found == LITTLE).sum() < FEWEST:
        found[found == LITTLE] = 0
    known = _scale(score[found == 0] if (found == 0).sum() >= FEWEST else score)
    others = [
        _scale(score[found == kind] if (found == kind).sum() >= FEWEST else simulated[kind - 1])
        for kind in (1, 2, 3)
    ]
    others.append(_scale(score[found == LITTLE]) if (found == LITTLE).any() else known)
    calibration = Calibration(
        std_factor=known.std_factor,
        quantile=known.quantile,
        lowest=ensemble.data.known.range[0],
        highest=ensemble.data.known.range[1],
        n_ratings=n,
        of_others=tuple(others),
    )
    columns = calibration.intervals(predictions, spread, kinds)
    held: Calibrated = {
        "trials": [setting.trial.number for setting in ensemble.settings],
        "ratings": n,
        "width": round(float((columns["upper"] - columns["lower"]).mean()), 6),
        "levels": [[level, round(_inside(score, level), 6)] for level in LEVELS],
        "by_std": _by_std(columns["std"], predictions - truth),
    }
    if not world.rank:
        ensemble.record.keep(StudyView.calibration, held)
    return calibration


def gathered(world: World, rows: NDArray[Any]) -> NDArray[Any]:
    """The rows of all ranks, one rank's below the other's."""
    found: NDArray[Any] = world.gathered(torch.from_numpy(np.ascontiguousarray(rows))).numpy()
    return found


def _scale(score: NDArray[np.float64]) -> Scale:
    return Scale(float(np.sqrt(np.square(score).mean())), _quantile(score, COVERAGE))


def _quantile(score: NDArray[np.float64], level: float) -> float:
    """The quantile of n scores below which one more lies with that chance, or a higher one."""
    level = min(1.0, math.ceil((len(score) + 1) * level) / len(score))
    return float(np.quantile(score, level, method="inverted_cdf"))


def _inside(score: NDArray[np.float64], level: float) -> float:
    """The share of ratings inside of intervals of that level, calibrated on the others."""
    halves = score[::2], score[1::2] if len(score) > 1 else score
    pairs = (halves, halves[::-1])
    return float(np.mean([(mine <= _quantile(others, level)).mean() for mine, others in pairs]))


def _by_std(std: NDArray[np.float64], errors: NDArray[np.float64]) -> list[dict[str, float]]:
    """Groups of like standard deviations, from the least: what was predicted, and what was so."""
    groups = []
    n_groups = N_GROUPS if np.ptp(std) > 0 else 1
    for rows in np.array_split(np.argsort(std, kind="stable"), min(n_groups, len(std))):
        predicted, found = (math.sqrt(np.square(a[rows]).mean()) for a in (std, errors))
        groups.append({"std": round(predicted, 6), "rmse": round(found, 6), "ratings": len(rows)})
    return groups
