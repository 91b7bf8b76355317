"""What the tables of a report say: figures of a study as text for people."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from model.solvers import SOLVERS
from study.record.attributes import StudyView, TrialView
from study.record.parameters import is_original, to_params
from study.record.ranking import Setting
from study.report import charts
from study.report.findings import (
    BIASES,
    MEAN,
    Findings,
    epochs,
    for_nothing,
    has_gained,
    rmse,
    seconds,
)


def headline(found: Findings) -> str:
    if not found.best:
        return "No trial has come to a result"
    if not found.held_out:
        return f"RMSE {found.best_rmse:.4f}, on the ratings that chose it"
    ours, (name, theirs) = found.held_out["rmse"][0], for_nothing(found.held_out)
    if not theirs:
        return f"RMSE {ours:.4f}"
    if not has_gained(found.held_out):
        return f"No gain over {name} that can be told"
    later = found.later
    if later and has_gained(later) and (name, for_nothing(later)[0]) == (BIASES, BIASES):
        text = gain(later["biases_rmse"], later["rmse"][0])
        return f"An error {gain(theirs, ours)} than that of biases at random, {text} later"
    return f"An error {gain(theirs, ours)} than that of {name}"


def tiles(found: Findings) -> list[dict[str, str]]:
    """The figures at the top: of what, the figure, what it rests on, whether it is good."""
    if not found.trials:
        return []
    tiles = []
    if found.held_out:
        value, low, high = found.held_out["rmse"]
        note = f"95 % interval {low:.3f} to {high:.3f}, on {found.splits}"
        tiles.append({"name": "RMSE of the best", "figure": f"{value:.4f}", "note": note})
        name, theirs = for_nothing(found.held_out)
        if theirs:
            figure, word = gain(theirs, value).rsplit(" ", 1)
            figure = {"lower": "−", "higher": "+"}[word] + figure
            if not has_gained(found.held_out):
                figure, word = "none told", ""
            note = f"RMSE {theirs:.4f} → {value:.4f}, on {found.splits}"
            tiles.append({"name": f"Over {name}", "figure": figure, "note": note, "kind": word})
    elif found.best:
        note = "on the validation ratings that chose it"
        figure = f"{found.best_rmse:.4f}"
        tiles.append({"name": "RMSE of the best", "figure": figure, "note": note})
    if found.later:
        value, low, high = found.later["rmse"]
        note = f"95 % interval {low:.3f} to {high:.3f}, on the latest ratings of each user"
        tiles.append({"name": "RMSE of what comes later", "figure": f"{value:.4f}", "note": note})
    if found.original_rmse is not None:
        note = f"on the validation ratings; the best {found.best_rmse:.4f} there"
        if found.original_is_worse_than_a_constant:
            note += f", a constant {found.record.mean_rmse:.4f}"
        figure = f"{found.original_rmse:.4f}"
        tiles.append({"name": "RMSE of the original’s setting", "figure": figure, "note": note})
    taken = sum(map(seconds, found.trials))
    note = f"{found.n_pruned} pruned, {len(found.failed)} failed, {duration(taken)}"
    tiles.append({"name": "Trials finished", "figure": f"{found.n_finished:,}", "note": note})
    return [{"kind": ""} | tile for tile in tiles]


def gains(found: Findings) -> list[dict[str, Any]]:
    """What the best setting stands beside, on the same ratings; itself comes last."""
    if not found.best:
        return []
    held_out = found.held_out
    ours = held_out["rmse"][0] if held_out else found.best_rmse
    others = {
        MEAN: held_out.get("mean_rmse") if held_out else found.record.mean_rmse,
        "the original’s setting": None if held_out else found.original_rmse,
        BIASES: held_out["biases_rmse"] if held_out else found.biases_rmse,
    }
    return _beside(others, ours, tells_gain=held_out is not None and has_gained(held_out))


def gains_later(found: Findings) -> list[dict[str, Any]]:
    """What the best setting of later ratings stands beside: what a user would have for nothing."""
    if not (later := found.later):
        return []
    ours = later["rmse"][0]
    others = {
        MEAN: later.get("mean_rmse"),
        "the mean of the last tenth": later.get("recent_mean_rmse"),
        BIASES: later["biases_rmse"],
        "biases of the last year": later.get("recent_biases_rmse"),
    }
    return _beside(others, ours, tells_gain=has_gained(later))


def context(found: Findings) -> list[dict[str, Any]]:
    """The RMSE without times, without descriptions and without either, on each kind of split."""
    if not found.context:
        return []
    names = {
        "either": "ratings alone",
        "descriptions": "with times",
        "times": "with descriptions",
        "nothing": "with all that is known",
    }
    by_kind = found.context["rmse"]
    first = next(iter(by_kind.values()))
    return [
        {
            "name": name,
            "rmse": [f"{one[key]:.4f}" for one in by_kind.values()],
            "gain": [gain(one["either"], one[key]) for one in by_kind.values()],
            "is_base": key == "either",
        }
        for key, name in names.items()
        if key in first
    ]


def kinds(found: Findings) -> list[str]:
    """The kinds of split that `context` tells of, for people."""
    said = {"random": "at random", "latest": "each user’s latest", "time": "the last of all"}
    return [said[kind] for kind in found.context["rmse"]] if found.context else []


def columns(found: Findings) -> list[dict[str, Any]]:
    """The share of each column of the tables in the spread of items or users, largest first."""
    all_columns = found.context.get("columns", ()) if found.context else ()
    most = max((one["share"] for one in all_columns), default=0.0) or 1.0
    return [
        {
            "side": one["side"],
            "name": one["name"],
            "share": f"{100 * one['share']:.1f} %",
            "bar": one["share"] / most,
            "labels": [
                {"label": label, "effect": f"{effect:+.2f}".replace("-", "−")}
                for label, effect in zip(one["labels"], one["effects"], strict=True)
            ],
        }
        for one in sorted(all_columns, key=lambda one: -one["share"])
    ]


def scales(found: Findings) -> list[dict[str, Any]]:
    """How far ratings of one user, or one item, move together at each scale of time."""
    all_scales = found.context.get("scales", ()) if found.context else ()
    most = max((one["std"] for one in all_scales), default=0.0) or 1.0
    return [
        {
            "name": f"{one['side']}s, {span(one['seconds'])}",
            "std": f"{one['std']:.3f}",
            "bar": one["std"] / most,
        }
        for one in all_scales
    ]


def span(seconds: float) -> str:
    """A span of time for people."""
    for size, unit in ((31_557_600, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def finalists(found: Findings) -> list[dict[str, Any]]:
    if not found.ranking:
        return []
    solvers = {trial.number: trial.params["solver"] for trial in found.scored}
    ranking = found.ranking
    columns = ranking["trials"], ranking["rmse"], ranking["rounds"], ranking["best_epochs"]
    return [
        {
            "trial": number,
            "solver": solvers[number],
            "rmse": "diverged" if error is None else f"{error:.4f}",
            "splits": splits,
            "epochs": best_epoch,
        }
        for number, error, splits, best_epoch in zip(*columns, strict=True)
    ]


def importances(found: Findings, shares: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {
            "solver": solver,
            "trials": len(found.of(solver)),
            "shares": [(name.removeprefix(f"{solver}_"), share) for name, share in own.items()],
            "most": max(own.values()) or 1.0,
            "kind": charts.solver_class(solver),
        }
        for solver, own in shares.items()
        if own
    ]


def evaluation(found: Findings) -> list[dict[str, str]]:
    """The figures of the last test that was scored, and their 95 % intervals."""
    if not found.evaluation:
        return []
    names = {
        "rmse": "RMSE",
        "mae": "MAE",
        "mse": "MSE",
        "bias": "bias, predicted less true",
        "coverage": "coverage of 90 % intervals",
        "width": "width of these intervals",
        "precision": "precision of lists of ten",
        "recall": "recall of lists of ten",
        "ndcg": "NDCG of lists of ten",
    }
    return [
        {"name": name, **_with_interval(figures[key], digits=4)}
        for figures in [found.evaluation["figures"]]
        for key, name in names.items()
        if key in figures
    ]


def evaluation_groups(found: Findings) -> list[dict[str, str]]:
    """The same of parts of the test."""
    if not found.evaluation:
        return []
    return [
        {
            "by": one["by"],
            "label": one["label"],
            "ratings": f"{one['ratings']:,}",
            "rmse": f"{one['rmse'][0]:.4f}",
            "between": _with_interval(one["rmse"], digits=3)["between"],
            "bias": f"{one['bias']:+.3f}".replace("-", "−"),
            "coverage": "" if one["coverage"] is None else f"{100 * one['coverage']:.1f} %",
            "ndcg": "" if one["ndcg"] is None else f"{one['ndcg']:.4f}",
        }
        for one in found.evaluation["groups"]
    ]


def spent(found: Findings) -> list[dict[str, Any]]:
    """A row a solver, and one of the finalists' runs."""
    rows = found.spent()
    longest = max((row.seconds for row in rows), default=0.0) or 1.0
    return [
        {
            "name": row.name,
            "kind": charts.solver_class(row.name) if row.name in SOLVERS else "",
            "time": duration(row.seconds),
            "share": row.seconds / longest,
            "trials": f"{row.trials:,}",
            "pruned": f"{row.pruned:,}",
            "epochs": f"{row.epochs:,}",
            "epoch": _epoch_time(row.seconds / row.epochs) if row.epochs else "–",
            "rmse": "–" if row.rmse is None else f"{row.rmse:.4f}",
        }
        for row in rows
    ]


def trials(found: Findings) -> list[dict[str, Any]]:
    """Every trial, in their order."""
    return [_row(trial) for trial in found.trials]


def about(found: Findings) -> list[str]:
    """What the report is of, line by line."""
    lines = []
    begins = [trial.datetime_start for trial in found.trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in found.trials if trial.datetime_complete]
    if begins and ends:
        first, last = (f"{when:%Y-%m-%d %H:%M}" for when in (min(begins), max(ends)))
        lines.append(f"First trial begun {first}, last ended {last}.")
    interrupted = sum(TrialView(trial).was_interrupted for trial in found.trials)
    counts = {
        "complete": found.n_finished - found.n_pruned,
        "pruned": found.n_pruned,
        "failed": len(found.failed),
        "interrupted and done again": interrupted,
    }
    taken = sum(map(seconds, [*found.trials, *found.finalists]))
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    lines.append(f"Trials: {said or 'none'}; {taken:,.0f} seconds of training, finalists included.")
    known = [
        f"{name} {kept}"
        for attribute, name in (
            (StudyView.seed, "seed"),
            (StudyView.ratings_digest, "ratings"),
            (StudyView.split_digest, "split"),
            (StudyView.space_version, "search space"),
        )
        if (kept := found.record.kept(attribute.name)) is not None
    ]
    if known:
        lines.append(f"Identity: {', '.join(known)}.")
    begun = found.record.begins_with
    if begun and begun["study"]:
        lines.append(f"Begun with the best settings of {begun['study']}, of like ratings.")
    packages = [
        f"{name} {found_version}"
        for name in ("rating-study", "torch", "optuna", "numpy")
        if (found_version := _version(name))
    ]
    lines.append(f"Made with {', '.join([*packages, f'Python {platform.python_version()}'])}.")
    return lines


def as_json(setting: Setting) -> str:
    """The parameters of a setting, as Optuna keeps them."""
    return json.dumps(to_params(setting.config), indent=2)


def as_python(setting: Setting) -> str:
    """A setting as an expression, and the import that it needs."""
    kind = type(setting.config)
    fields = ",\n".join(f"    {name}={value!r}" for name, value in vars(setting.config).items())
    return f"from {kind.__module__} import {kind.__name__}\n\n{kind.__name__}(\n{fields},\n)"


def gain(theirs: float, ours: float) -> str:
    """By how much an RMSE is below another, for people."""
    share = 100 * (1 - ours / theirs)
    return f"{abs(share):.1f} % {'lower' if share >= 0 else 'higher'}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _beside(
    others: Mapping[str, float | None], ours: float, *, tells_gain: bool
) -> list[dict[str, Any]]:
    """A row for each error that is known, and one for the best setting, which comes last."""
    shown = [(name, error, False) for name, error in others.items() if error is not None]
    shown.append(("the best setting", ours, True))
    longest = max(error for _, error, _ in shown) or 1.0
    return [
        {
            "name": name,
            "rmse": f"{error:.4f}",
            "share": error / longest,
            "gain": gain(error, ours) if error and tells_gain and not first else "",
            "kind": "s0" if first else "",
            "first": first,
        }
        for name, error, first in shown
    ]


def _with_interval(figure: list[float | None], *, digits: int) -> dict[str, str]:
    """A figure and what it lies between, if that is known."""
    value, low, high = (
        "" if one is None else f"{one:.{digits}f}".replace("-", "−") for one in figure
    )
    return {"figure": value, "between": f"{low} – {high}" if low else ""}


def _row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial in the table of all."""
    solver = str(trial.params.get("solver", "–"))
    setting = ", ".join(
        f"{name.removeprefix(f'{solver}_')} {charts.shown(value)}"
        for name, value in trial.params.items()
        if name != "solver"
    )
    error = rmse(trial)
    return {
        "trial": trial.number,
        "state": _state(trial),
        "solver": "original" if is_original(trial.params) else solver,
        "rmse": "–" if error is None else f"{error:.4f}",
        "best_epoch": TrialView(trial).best_epoch or "–",
        "epochs": epochs(trial),
        "seconds": f"{seconds(trial):.1f}",
        "setting": setting,
    }


def _state(trial: FrozenTrial) -> str:
    """What became of a trial, and why."""
    view = TrialView(trial)
    if view.was_interrupted:
        return "interrupted"
    if trial.state is TrialState.FAIL:
        return f"failed: {view.failed or 'for a reason not told'}"
    if trial.state is TrialState.COMPLETE:
        return "complete"
    return view.stopped or trial.state.name.lower()


def _epoch_time(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return ""
