"""What a study came to: a summary for people and a CSV of all trials."""

import csv
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from storage.files import replacing
from study.record.attributes import HeldOut, TrialView
from study.record.parameters import names, to_params
from study.record.ranking import is_decided
from study.record.record import Record
from study.report.findings import BIASES, findings, for_nothing, has_gained


def summary(record: Record) -> str:
    """What was gained, on ratings that chose nothing, and the best setting."""
    found = findings(record)
    if not found.best:
        return "No trial has come to a result."
    best, ranking, held_out = found.best, found.ranking, found.held_out
    lines = []
    if held_out:
        lines.append(f"{_compared(held_out)}, on {found.splits}")
        levels = held_out.get("levels", {})
        if (weight := levels.get("weight", 1.0)) < 1:
            lines.append(f"Answers keep {100 * weight:.0f} % of what is found beyond biases alone")
        if (slope := levels.get("slope", 1.0)) < 1:
            lines.append(f"Answers keep {100 * slope:.0f} % of what lies above or below the mean")
    if found.later:
        lines.append(f"{_compared(found.later)}, on what came later")
    lines.append(f"Finished: {found.n_finished} trials, {found.n_pruned} of them pruned")
    if ranking:
        so_far = "" if is_decided(record.study) else ", so far: they are not done"
        first, n = best.trial.number, len(ranking["trials"])
        place = f"is first of {n}" if n > 1 else "had no other to meet"
        lines.append(f"Finalists: trial {first} {place}{so_far}")
        if ranking["average"] > 1:
            gain = 100 * ranking["average_gain"][ranking["average"] - 1]
            said = f" gains {gain:.2f} %" if gain > 0 else ", which cannot be told apart"
            lines.append(f"Averaging the first {ranking['average']}{said}")
    epochs = "1 epoch" if best.best_epoch == 1 else f"{best.best_epoch} epochs"
    lines.append(
        f"Best by {'the finalists' if ranking else 'validation'}: trial {best.trial.number}, "
        f"after {epochs}{_cut(best.trial)}:"
    )
    for name, value in to_params(best.config).items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"    {name:<20} {shown}")
    beside = {"it": f"{best.rmse:.4f}{_cut(best.trial)}"}
    if found.original and found.original_rmse is not None:
        note, cut = "", _cut(found.original)
        if found.original_is_worse_than_a_constant:
            note = f", worse than a constant, {record.mean_rmse:.4f}"
        beside["original's setting"] = f"{found.original_rmse:.4f}{cut}{note}"
    if not held_out and found.biases_rmse is not None:
        beside[BIASES] = f"{found.biases_rmse:.4f}"
    lines.append("RMSE on the validation ratings, which chose it:")
    lines += [f"    {name:<20} {said}" for name, said in beside.items()]
    return "\n".join(lines)


def write_csv(study: optuna.Study, path: Path) -> None:
    """Writes a row a trial: number, state, best epoch's errors, seconds, parameters."""
    view, parameters = TrialView, names()
    columns = [
        view.validation_rmse.name,
        view.validation_mse.name,
        view.best_epoch.name,
        view.seconds.name,
    ]
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "state", *columns, "stopped", *parameters])
        for trial in study.get_trials(deepcopy=False):
            writer.writerow(
                [trial.number, trial.state.name.lower()]
                + [trial.user_attrs.get(name, "") for name in columns]
                + [_ended_by(trial)]
                + [trial.params.get(name, "") for name in parameters]
            )


def _cut(trial: FrozenTrial) -> str:
    return ", cut by the timeout" if TrialView(trial).was_cut else ""


def _ended_by(trial: FrozenTrial) -> str:
    """What ended the trial: its training, an interruption, or a failure."""
    view = TrialView(trial)
    return next(filter(None, (view.stopped, view.interrupted, view.failed)), "")


def _compared(held_out: HeldOut) -> str:
    ours, (name, theirs) = held_out["rmse"][0], for_nothing(held_out)
    errors = f"RMSE {theirs:.4f} -> {ours:.4f}"
    if not theirs:
        return f"Beside {name}: {errors}"
    if not has_gained(held_out):
        return f"No gain over {name} that can be told: {errors}"
    share = 100 * (1 - ours / theirs)
    word, change = ("Gain", "lower") if share >= 0 else ("Loss", "higher")
    return f"{word} over {name}: {errors}, {abs(share):.1f} % {change}"
