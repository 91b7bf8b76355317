"""What a study came to: a summary for people and a CSV of all trials."""

import csv
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from storage.files import replacing
from study.record.attributes import FINISHED, TrialView
from study.record.parameters import is_original, names, to_params
from study.record.ranking import best_settings, final_ranking, is_decided
from study.report.findings import original_trial, rmse


def summary(study: optuna.Study, *, biases_rmse: float) -> str:
    """The best setting, and what it gained over the original's setting and over biases alone."""
    settings = best_settings(study)
    if not settings:
        return "No trial has come to a result."
    best = settings[0].trial
    ranking = final_ranking(study)
    ours = settings[0].rmse
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    pruned = sum(trial.state is TrialState.PRUNED for trial in finished)
    lines = [f"Finished: {len(finished)} trials, {pruned} of them pruned"]
    if ranking:
        lines.append(
            f"Finalists: trial {best.number} is first of {len(ranking['trials'])}, "
            f"RMSE {ranking['rmse'][0]:.4f} on {_splits(ranking['rounds'][0])}"
            + ("" if is_decided(study) else ", so far: they are not done")
        )
        if ranking["average"] > 1:
            gain = 100 * ranking["average_gain"][ranking["average"] - 1]
            lines.append(f"Averaging the first {ranking['average']} gains {gain:.2f} %")
    epoch = settings[0].best_epoch if settings[0].was_cut else TrialView(best).best_epoch
    epochs = "1 epoch" if epoch == 1 else f"{epoch} epochs"
    lines.append(
        f"Best by {'the finalists' if ranking else 'validation'}: trial {best.number}, "
        f"validation RMSE {ours:.4f} after {epochs}{_cut(best)}:"
    )
    for name, value in to_params(settings[0].config).items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"    {name:<20} {shown}")
    first = original_trial(finished)
    if first and not is_original(best.params):
        theirs = rmse(first) or 0.0
        lines.append(_compared(f"the original's setting{_cut(first)}", theirs, ours))
    lines.append(_compared("biases alone", biases_rmse, ours))
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


def _splits(n: int) -> str:
    return "a fresh split" if n == 1 else f"{n} fresh splits"


def _ended_by(trial: FrozenTrial) -> str:
    """What ended the trial: its training, an interruption, or a failure."""
    view = TrialView(trial)
    return next(filter(None, (view.stopped, view.interrupted, view.failed)), "")


def _compared(name: str, theirs: float, ours: float) -> str:
    if not theirs:
        return f"Beside {name}: RMSE {theirs:.4f} -> {ours:.4f}"
    share = 100 * (1 - ours / theirs)
    word, change = ("Gain", "lower") if share >= 0 else ("Loss", "higher")
    return f"{word} over {name}: RMSE {theirs:.4f} -> {ours:.4f}, {abs(share):.1f} % {change}"
