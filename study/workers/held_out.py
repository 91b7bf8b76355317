"""How far predictions are from ratings that their model did not know, kept with the study.

On the fresh splits of the finalists, which no setting was tuned on: the RMSE of the winner and of
biases alone, in all and by how many ratings the user or the item had to learn from. The 95 %
interval takes whole users as drawn, not single ratings: with residuals e, and m the mean of e²,

    SE(m)² = G / (G − 1) · Σ_users (Σ_ratings of the user (e² − m))² / n²

over G users and n ratings (a cluster-robust variance: Cameron & Miller 2015, A Practitioner's Guide
to Cluster-Robust Inference, eq. 11), at the cost of one pass. The gain is that over the better of
biases and the mean rating, by the differences of squared errors, whose interval is the same.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from model.biases import fit_biases
from model.dataset import Ratings
from model.selection import first_rows, latest_first
from model.splits import Split, Without
from storage.errors import InputError
from study.answers.groups import (
    Column,
    Counts,
    Key,
    Mask,
    by_ahead,
    by_count,
    by_label,
    labels_of,
    seconds_ahead,
)
from study.answers.intervals import gathered
from study.answers.levels import LATER, Levels, Residuals
from study.answers.retraining import train
from study.record.attributes import Errors, GroupErrors, HeldOut, LabelErrors, StudyView
from study.record.ranking import Setting, best_settings, final_ranking, ranked_settings
from study.record.seeds import setting_seed
from study.workers.crew import Crew, compared, own_compared
from study.workers.finalists import Finalists
from study.workers.race import N_ROUNDS

RECENT_SHARE, RECENT_SECONDS = 0.1, 365.25 * 86_400  # of what comes for nothing
MOST_ALONE = 10_000  # ratings that a setting without others is trained on once more
Z = 1.959964  # standard deviations of a 95 % interval

Others = tuple[Column, Column]  # of biases alone, and of the mean rating


def record_held_out(finalists: Finalists, *, biases_rmse: float, mean_rmse: float) -> None:
    """Stores with the study how its best setting did on the splits that its finalists met on.

    That is left as it is if it is stored already, or if the finalists have not met; a setting that
    has no other to meet, as of one trial alone, is trained on such splits here, if they are few.
    What biases alone, and the mean rating, reach on the study's own validation ratings is kept
    beside it.
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
    ranked = ranked_settings(record.study)
    is_alone = not ranking and len(ranked) == 1 and finalists.crew.can_train(ranked[0].solver)
    if ranking is None and not (is_alone and finalists.n_ratings <= MOST_ALONE):
        return
    settings = best_settings(record.study, kind=kind)
    n_rounds = ranking["rounds"][0] if ranking else N_ROUNDS
    best, average = settings[0], len(settings)
    known = record.held_out_on(kind)
    if known and (known["trial"], known["splits"], known.get("average")) == (
        best.trial.number,
        n_rounds,
        average,
    ):
        return
    rounds: list[Round] = []
    for number in range(n_rounds):
        without = finalists.without(number, kind=kind)
        of_each = [
            _alone(finalists, one, without)
            if is_alone
            else finalists.predicted(one, number, kind=kind)
            for one in settings
        ]
        met = [one for one in of_each if one is not None and np.isfinite(one).all()]
        if of_each[0] is None or not np.isfinite(of_each[0]).all():
            return
        answer = np.mean(met, axis=0)
        rounds.append(finalists.crew.all(round_of, without, of_each[0], answer=answer))
    residuals = [one.residuals for one in rounds]
    levels = Levels.fitted(residuals, kind=kind, std=rounds[-1].std)
    users = np.concatenate([one.users for one in residuals])
    ours = _joined([one.best_values(levels) for one in rounds])
    others = _joined([one.biases for one in rounds]), _joined([one.mean for one in rounds])
    per_user = np.concatenate([one.user_counts for one in residuals])
    per_item = np.concatenate([one.item_counts for one in residuals])
    errors = _errors(ours, others, users)
    found: HeldOut = {
        "trial": best.trial.number,
        "splits": n_rounds,
        "average": average,
        "gain": gain_interval(ours, min(others, key=_rmse), users),
        "ratings": errors["ratings"],
        "rmse": errors["rmse"],
        "biases_rmse": errors["biases_rmse"],
        "mean_rmse": errors["mean_rmse"],
        "by_user": _by_count(per_user, ours, others, users),
        "by_item": _by_count(per_item, ours, others, users),
        "by_label": _by_label(rounds, ours, others, users),
        "levels": levels.to_keep(),
    }
    if kind in LATER:
        found["recent_mean_rmse"] = _rmse(_joined([one.recent_mean for one in rounds]))
        found["recent_biases_rmse"] = _rmse(_joined([one.recent_biases for one in rounds]))
        ahead = _joined([one.ahead for one in rounds])
        found["by_ahead"] = [
            _of_label(("", "", label), here, ours, others, users)
            for label, here in by_ahead(ahead, users)
        ]
    record.keep(record.held_out_of(kind), found)


def _alone(finalists: Finalists, setting: Setting, without: Without) -> Column | None:
    """What `Finalists.predicted` returns, of a setting that is trained for it."""
    context = finalists.context
    seed = setting_seed(context.study_seed, setting.config)
    try:
        return finalists.crew.all(_trained_alone, setting, without, context.device, seed)
    except InputError:  # it diverged
        return None


def _trained_alone(
    crew: Crew, setting: Setting, without: Without, device: torch.device, seed: int
) -> Column:
    training, validation = without.of_new(crew.ratings)
    model = train(setting, training, seed=seed, device=device)
    return compared(model.predict(validation.to(device)), crew)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one split of n held-out ratings came to; errors are predicted less true."""

    residuals: Residuals  # of the mean prediction of all settings that answer
    best: Column  # (n,) errors of the best
    biases: Column  # (n,) errors of biases alone
    mean: Column  # (n,) of the mean rating
    recent_mean: Column  # (n,) of the mean of the last tenth of the training ratings
    recent_biases: Column  # (n,) of biases of its last year
    ahead: Column  # (n,) seconds since the user's last training rating; NaN if not known
    labels: dict[Key, Mask]  # by side, column and label: who has it
    std: float  # of the training ratings

    def best_values(self, levels: Levels) -> Column:
        """The (n,) errors of the best, shrunk towards biases alone and the mean."""
        weight, slope = levels.weight, levels.slope
        blended = self.best if weight == 1 else weight * self.best + (1 - weight) * self.biases
        return blended if slope == 1 else slope * blended + (1 - slope) * self.mean


def round_of(crew: Crew, without: Without, predicted: Column, *, answer: Column) -> Round:
    """What a split came to, of the (n_compared,) predictions of the best and of all that answer."""
    training, validation = without.of(crew.ratings)
    validation, own = own_compared(validation, crew)
    truth = validation.values.numpy()
    recent_mean, recent_biases = _recent(training, validation)
    of_biases = fit_biases(training).predict(validation).numpy()
    errors = (
        predicted[own] - truth,
        of_biases - truth,
        training.moments.mean.item() - truth,
        recent_mean - truth,
        recent_biases - truth,
        seconds_ahead(training, validation),
    )
    of_all = [gathered(crew.world, one) for one in errors]
    best, biases, mean, recent_mean, recent_biases, ahead = of_all
    labels = labels_of(training, validation)
    return Round(
        residuals=Residuals.of(training, validation, answer[own], biases=of_biases),
        best=best,
        biases=biases,
        mean=mean,
        recent_mean=recent_mean,
        recent_biases=recent_biases,
        ahead=ahead,
        labels={key: gathered(crew.world, here) for key, here in labels.items()},
        std=training.moments.std.item(),
    )


def _recent(training: Ratings, validation: Ratings) -> tuple[Column, Column]:
    """What comes for nothing, of (n,) ratings: the mean of the last tenth of what there is to learn
    from, and biases of its last year; NaN where there are no times.
    """
    if training.times is None or validation.times is None:
        nothing = np.full(len(validation), np.nan)
        return nothing, nothing
    times, world = np.nan_to_num(training.times.numpy(), nan=-np.inf), training.world
    latest = first_rows([latest_first(times)], RECENT_SHARE * training.moments.n, world)
    ends = [times.max(initial=-np.inf), -times[latest].min(initial=np.inf)]
    newest, oldest = (world.most(torch.tensor(ends)) * torch.tensor([1, -1])).tolist()
    mean = training[torch.from_numpy(times >= oldest)].moments.mean.item()
    year = training[torch.from_numpy(times >= newest - RECENT_SECONDS)]
    return np.full(len(validation), mean), fit_biases(year).predict(validation).numpy()


def _by_label(
    rounds: list[Round], ours: Column, others: Others, users: Counts
) -> list[LabelErrors]:
    """The errors by what tables say of items and users, of each column's most frequent labels."""
    keys = rounds[0].labels
    labels = {key: np.concatenate([one.labels[key] for one in rounds]) for key in keys}
    return [_of_label(key, here, ours, others, users) for key, here in by_label(labels, users)]


def _of_label(key: Key, here: Mask, ours: Column, others: Others, users: Counts) -> LabelErrors:
    side, column, label = key
    errors = _errors_at(here, ours, others, users)
    return {"side": side, "column": column, "label": label, **errors}


def _joined(columns: list[Column]) -> Column:
    return np.concatenate(columns)


def rmse_interval(errors: Column, users: Counts) -> list[float]:
    """The RMSE of (n,) errors and its 95 % interval, by the (n,) users of the errors."""
    squared = np.square(errors)
    mse, reach = float(squared.mean()), _reach(squared, users)
    return [round(math.sqrt(max(one, 0.0)), 6) for one in (mse, mse - reach, mse + reach)]


def gain_interval(errors: Column, theirs: Column, users: Counts) -> list[float]:
    """The share by which the RMSE of (n,) errors is below that of others, and its 95 % interval."""
    lower, mse = np.square(theirs) - np.square(errors), float(np.square(theirs).mean())
    if not mse:
        return [0.0, 0.0, 0.0]
    fall, reach = float(lower.mean()), _reach(lower, users)
    ends = (fall, fall - reach, fall + reach)
    return [round(1 - math.sqrt(max(1 - one / mse, 0.0)), 6) for one in ends]


def _reach(values: Column, users: Counts) -> float:
    """Half the width of the 95 % interval of the mean of (n,) values, by their (n,) users."""
    mean, n_users = float(values.mean()), len(np.unique(users))
    sums = np.bincount(users, weights=values - mean)
    variance = float(np.square(sums).sum()) / len(values) ** 2
    return Z * math.sqrt(variance * n_users / (n_users - 1)) if n_users > 1 else abs(mean)


def _by_count(counts: Counts, ours: Column, others: Others, users: Counts) -> list[GroupErrors]:
    """The errors in groups by count, each with the least and greatest count that it holds."""
    return [
        {
            "from": int(counts[here].min()),
            "to": int(counts[here].max()),
            **_errors_at(here, ours, others, users),
        }
        for here in by_count(counts, users)
    ]


def _errors_at(here: Mask, ours: Column, others: Others, users: Counts) -> Errors:
    return _errors(ours[here], (others[0][here], others[1][here]), users[here])


def _errors(ours: Column, others: Others, users: Counts) -> Errors:
    return {
        "ratings": len(ours),
        "rmse": rmse_interval(ours, users),
        "biases_rmse": _rmse(others[0]),
        "mean_rmse": _rmse(others[1]),
    }


def _rmse(errors: Column) -> float:
    return round(float(np.sqrt(np.square(errors).mean())), 6)
