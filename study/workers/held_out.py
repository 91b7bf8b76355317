"""How far predictions are from ratings that their model did not know, kept with the study.

On the fresh splits of the finalists, which no setting was tuned on: the RMSE of the winner and of
biases alone, in all and by how many ratings the user or the item had to learn from. The 95 %
interval takes whole users as drawn, not single ratings: with residuals e, and m the mean of e²,

    SE(m)² = G / (G − 1) · Σ_users (Σ_ratings of the user (e² − m))² / n²

over G users and n ratings (a cluster-robust variance: Cameron & Miller 2015, A Practitioner's Guide
to Cluster-Robust Inference, eq. 11), at the cost of one pass.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.biases import fit_biases
from model.splits import Split
from study.answers.levels import Levels, Residuals
from study.record.attributes import Errors, GroupErrors, HeldOut, StudyView
from study.record.ranking import best_settings, final_ranking
from study.workers.finalists import Finalists

EDGES = (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # where a group by count begins
FEWEST = 100  # ratings of a group; fewer join their neighbours
FEWEST_USERS = 10
FEWEST_GROUPS = 4
Z = 1.959964  # standard deviations of a 95 % interval

Column = NDArray[np.float64]
Others = tuple[Column, Column]  # of biases alone, and of the mean rating


def record_held_out(finalists: Finalists, *, biases_rmse: float, mean_rmse: float) -> None:
    """Stores with the study how its best setting did on the splits that its finalists met on.

    That is left as it is if it is stored already, or if the finalists have not met. What biases
    alone, and the mean rating, reach on the study's own validation ratings is kept beside it.
    """
    record = finalists.record
    record.keep(StudyView.biases_rmse, biases_rmse)
    record.keep(StudyView.mean_rmse, mean_rmse)
    for kind in record.kinds:
        _record_held_out(finalists, kind)


def _record_held_out(finalists: Finalists, kind: Split) -> None:
    """The same of splits of one kind."""
    record = finalists.record
    ranking = final_ranking(record.study, kind=kind)
    if ranking is None:
        return
    best, n_rounds = best_settings(record.study, 1, kind=kind)[0], ranking["rounds"][0]
    known = record.held_out_on(kind)
    if known and (known["trial"], known["splits"]) == (best.trial.number, n_rounds):
        return
    rounds, residuals, std = [], [], 1.0
    for number in range(n_rounds):
        training, validation, predicted = finalists.held_out(best, number, kind=kind)
        if predicted is None or not np.isfinite(predicted).all():
            return
        users, items = validation.user_index.numpy(), validation.item_index.numpy()
        truth = validation.values.numpy()
        biases = fit_biases(training).predict(validation)
        per_user = np.bincount(training.user_index.numpy(), minlength=training.n_users)
        per_item = np.bincount(training.item_index.numpy(), minlength=training.n_items)
        mean = float(training.values.mean())
        errors = predicted - truth, biases.numpy() - truth, mean - truth
        rounds.append((users, *errors, per_user[users], per_item[items]))
        residuals.append(
            Residuals(
                values=truth - predicted,
                users=users,
                items=items,
                user_counts=per_user[users],
                item_counts=per_item[items],
            )
        )
        std = float(training.values.std(correction=0))
    users, ours, biased, constant, per_user, per_item = map(
        np.concatenate, zip(*rounds, strict=True)
    )
    others = biased, constant
    found: HeldOut = {
        "trial": best.trial.number,
        "splits": n_rounds,
        **_errors(ours, others, users),
        "by_user": _by_count(per_user, ours, others, users),
        "by_item": _by_count(per_item, ours, others, users),
        "levels": Levels.fitted(residuals, kind=kind, std=std).to_keep(),
    }
    is_further = kind in record.kinds[1:]
    record.keep(StudyView.later_held_out if is_further else StudyView.held_out, found)


def rmse_interval(errors: Column, users: NDArray[np.int64]) -> list[float]:
    """The RMSE of (n,) errors and its 95 % interval, by the (n,) users of the errors."""
    squared = np.square(errors)
    mse = float(squared.mean())
    sums = np.bincount(users, weights=squared - mse)
    n_users = len(np.unique(users))
    variance = float(np.square(sums).sum()) / len(errors) ** 2
    reach = Z * math.sqrt(variance * n_users / (n_users - 1)) if n_users > 1 else mse
    return [round(math.sqrt(max(one, 0.0)), 6) for one in (mse, mse - reach, mse + reach)]


def _by_count(
    counts: NDArray[np.int64], ours: Column, others: Others, users: NDArray[np.int64]
) -> list[GroupErrors]:
    """The errors in groups by count, each with the least and greatest count that it holds."""
    groups = _groups(EDGES, counts, ours, others, users)
    if len(groups) < FEWEST_GROUPS:  # nearly all have as many
        edges = np.unique(np.quantile(counts, np.linspace(0, 1, FEWEST_GROUPS + 2)[1:-1]))
        groups = max(groups, _groups(edges, counts, ours, others, users), key=len)
    return groups


def _groups(
    edges: Sequence[int] | Column,
    counts: NDArray[np.int64],
    ours: Column,
    others: Others,
    users: NDArray[np.int64],
) -> list[GroupErrors]:
    """The groups that begin at the edges, those that are too small joined with their neighbours."""
    groups: list[GroupErrors] = []
    bins = np.digitize(counts, edges)
    here = np.zeros(len(counts), dtype=bool)
    for number in np.unique(bins):
        here |= bins == number
        later = bins > number
        if not later.any() or (_is_enough(users[here]) and _is_enough(users[later])):
            found = _errors(ours[here], (others[0][here], others[1][here]), users[here])
            lowest, highest = int(counts[here].min()), int(counts[here].max())
            groups.append({"from": lowest, "to": highest, **found})
            here = np.zeros(len(counts), dtype=bool)
    return groups


def _is_enough(users: NDArray[np.int64]) -> bool:
    """Whether ratings of these users make a group of their own."""
    return len(users) >= FEWEST and len(np.unique(users)) >= FEWEST_USERS


def _errors(ours: Column, others: Others, users: NDArray[np.int64]) -> Errors:
    return {
        "ratings": len(ours),
        "rmse": rmse_interval(ours, users),
        "biases_rmse": _rmse(others[0]),
        "mean_rmse": _rmse(others[1]),
    }


def _rmse(errors: Column) -> float:
    return round(float(np.sqrt(np.square(errors).mean())), 6)
