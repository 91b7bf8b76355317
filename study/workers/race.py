"""What a race of finalists has come to, from the runs that are done: the same for whoever looks.

In each round the finalists that are left are compared rating by rating on the same new split. Who
is clearly worse than the first is out. It is over when one is left, when the others are clearly so
close that it does not matter, or when enough was compared; of few ratings not before 1,500 were, or
three rounds: what answers are off on average is read off them as well.

A few hundred ratings do not tell settings apart that are trained on few, and the mean of those that
cannot be told apart is better than any pick: of few ratings more settings meet, in more rounds, as
long as these are no more runs than there were trials, and all that are left are averaged.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model.solvers import Config
from model.splits import Split
from study.record.attributes import Ranking
from study.record.ranking import Setting

N_FINALISTS, N_FINALISTS_OF_FEW = 5, 10
FEW = 50_000  # ratings in all that are not many
N_ROUNDS, MOST_ROUNDS = 3, 6  # of many ratings at most, and of few
ENOUGH_OF_FEW = 1_500  # ratings compared; from then on no more than N_ROUNDS
ENOUGH = 50_000  # ratings that all were compared on: more rounds would not tell more
CLEAR = 3.0  # standard errors of the mean difference of squared errors
WORTH = 3e-4  # the share of the RMSE that is worth another model in the average, or a round

Errors = NDArray[np.float64]  # predicted less true, of the ratings that a round compares


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a finalist came to in a round."""

    predictions: NDArray[np.float64] | None  # (n_compared,); None if it came to nothing
    best_epoch: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round that is done."""

    number: int  # from 0
    kind: Split  # of the split
    n_settings: int
    leader: Setting
    rmse: float  # of the leader, in all rounds so far


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known so far, and what is to be run next."""

    rounds: list[Round]
    ranking: Ranking | None  # None before the first round is done
    decided: bool
    number: int  # of the round that goes on
    n_racing: int  # settings that are in it
    missing: list[Setting]  # those whose run in it is not done
    most_rounds: int = N_ROUNDS
    kind: Split = Split.RANDOM  # of its split

    @property
    def hopeless(self) -> bool:
        """Whether none of the finalists came to a result in a round."""
        return not self.decided and not self.missing


def n_finalists(n_ratings: int) -> int:
    """How many settings meet, of so many ratings."""
    return N_FINALISTS_OF_FEW if n_ratings < FEW else N_FINALISTS


def standing(
    finalists: list[Setting],
    runs: Mapping[tuple[Config, int], Run],
    truth: Callable[[int], NDArray[np.float64]],
    *,
    kind: Split = Split.RANDOM,
    n_ratings: int,
    n_trials: int,
) -> Standing:
    """The standing after these runs, by setting and number of the round.

    Args:
        finalists: the settings that race, best first by their trials.
        runs: what is done.
        truth: the (n_compared,) true ratings of a round.
        kind: of the splits.
        n_ratings: how many there are in all.
        n_trials: how many trials the study has finished.
    """
    if not finalists:
        nobody = _ranking([], {}, {}, average=1, of=n_trials, decided=True)
        return Standing(rounds=[], ranking=nobody, decided=True, number=0, n_racing=0, missing=[])
    best_epochs: dict[Config, list[int]] = {setting.config: [] for setting in finalists}
    errors: dict[Config, list[Errors]] = {setting.config: [] for setting in finalists}
    order, running = finalists, finalists
    rounds: list[Round] = []
    ranking: Ranking | None = None
    decided, n_runs = False, 0
    for number in range(MOST_ROUNDS):
        missing = [setting for setting in running if (setting.config, number) not in runs]
        if missing:
            break
        true = truth(number)
        for setting in running:
            run = runs[setting.config, number]
            nothing = np.full(len(true), math.inf)
            predictions = nothing if run.predictions is None else run.predictions
            errors[setting.config].append(predictions - true)
            best_epochs[setting.config].append(run.best_epoch)
        running = sorted(running, key=lambda setting: _mse(errors[setting.config]))
        first = running[0]
        if not math.isfinite(_mse(errors[first.config])):
            if ranking:  # who was left came to nothing: what was known before it counts
                ranking, decided = {**ranking, "decided": True}, True
            break
        order = running + [setting for setting in order if setting not in running]
        order = sorted(order, key=lambda setting: math.isinf(_mse(errors[setting.config])))
        rmse = _mse(errors[first.config]) ** 0.5
        rounds.append(
            Round(number=number, kind=kind, n_settings=len(running), leader=first, rmse=rmse)
        )
        excess = {one.config: _excess(errors[one.config], errors[first.config]) for one in running}
        n_runs += len(running)
        running = [one for one in running if one is first or not excess[one.config].clear]
        order = running + [setting for setting in order if setting not in running]
        matters = any(excess[one.config].matters for one in running if one is not first)
        compared, is_few = (number + 1) * len(true), n_ratings < FEW
        may_go_on = number + 1 < N_ROUNDS or (
            is_few and compared < ENOUGH_OF_FEW and n_runs + len(running) <= n_trials
        )
        last = not may_go_on or number + 1 == MOST_ROUNDS or compared >= ENOUGH
        tells = not is_few or compared >= ENOUGH_OF_FEW  # what the answers are off on average
        decided = last or (tells and not matters)
        ranking = _ranking(
            order,
            errors,
            best_epochs,
            average=len(running) if is_few else None,
            of=n_trials,
            decided=decided,
        )
        if decided:
            break
    return Standing(
        rounds=rounds,
        ranking=ranking,
        decided=decided,
        number=number,
        n_racing=len(running),
        missing=missing,
        most_rounds=MOST_ROUNDS if n_ratings < FEW else N_ROUNDS,
        kind=kind,
    )


def _ranking(
    order: list[Setting],
    errors: dict[Config, list[Errors]],
    best_epochs: dict[Config, list[int]],
    *,
    average: int | None,
    of: int,
    decided: bool,
) -> Ranking:
    """The order, and how many of the first to average: as many as are worth it if not told."""
    lists = [errors[setting.config] for setting in order]
    rmse = [_mse(rounds) ** 0.5 for rounds in lists]
    finite = sum(map(math.isfinite, rmse))  # they come first
    gains = [_gain(lists[: n + 1]) for n in range(finite)]
    return {
        "of": of,
        "decided": decided,
        "trials": [setting.trial.number for setting in order],
        "rmse": [round(figure, 6) if math.isfinite(figure) else None for figure in rmse],
        "rounds": [len(rounds) for rounds in lists],
        "best_epochs": [round(median(best_epochs[setting.config])) for setting in order],
        "average": average
        or next(n + 1 for n, gain in enumerate(gains) if gain >= max(gains) - WORTH),
        "average_gain": [round(gain, 6) for gain in gains],
    }


def _mse(rounds: list[Errors]) -> float:
    return float(np.mean([np.square(errors).mean() for errors in rounds]))


def _gain(lists: list[list[Errors]]) -> float:
    """The share by which the RMSE of the mean prediction is below the first's, in shared rounds."""
    rounds = [np.stack(errors) for errors in zip(*lists, strict=False)]
    first = _mse([errors[0] for errors in rounds])
    average = _mse([errors.mean(0) for errors in rounds])
    return 1 - math.sqrt(average / first) if 0 < first < math.inf else 0.0


@dataclass(frozen=True)
class _Excess:
    """By how much more a setting errs than the first, over the rounds that it was in."""

    share: float  # of the first's mean squared error
    standard_error: float

    @property
    def clear(self) -> bool:
        return self.share > CLEAR * self.standard_error

    @property
    def matters(self) -> bool:
        """Whether it may be more than is worth a round."""
        return self.share + CLEAR * self.standard_error > 2 * WORTH


def _excess(rounds: list[Errors], first: list[Errors]) -> _Excess:
    mine, theirs = np.square(np.concatenate(rounds)), np.square(np.concatenate(first))
    if not np.isfinite(mine).all():
        return _Excess(math.inf, 0.0)
    scale = float(theirs.mean()) or 1.0
    excess = (mine - theirs) / scale
    return _Excess(float(excess.mean()), float(excess.std()) / math.sqrt(len(excess)))
