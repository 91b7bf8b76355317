"""The charts of a report, each drawn from what a study has found."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from model.solvers import SOLVERS
from study.record.attributes import (
    Calibrated,
    ContextFound,
    GroupErrors,
    HeldOut,
    LabelErrors,
    TrialView,
)
from study.record.parameters import is_original, searched
from study.report.findings import Findings, best_epoch, epochs, rmse, seconds
from study.report.plot import (
    Axis,
    Plot,
    Point,
    bounds,
    categories,
    dates,
    linear,
    logarithmic,
    rows,
    stretched,
)

RMSE_LABEL = "validation RMSE"
MOST_POINTS = 48  # of a learning curve: more are not seen
LONGEST_LABEL = 18  # characters
ROW = 26  # pixels
NUMBER = r"(?:about )?([+-]?\d+(?:\.\d+)?)"  # of a label
SPREAD = 0.2  # how far dots of one category may lie from its middle


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A plot under a heading of its own."""

    heading: str
    plot: Plot
    note: str = ""


def history(found: Findings) -> Chart:
    """Every trial's RMSE in their order, and the best until then."""
    y = _rmse_axis(found.scored, found.biases_rmse)
    x = linear("trial", -0.5, max(len(found.trials) - 0.5, 9.5), n_ticks=6)
    plot = Plot(
        title="Search history",
        description=f"The validation RMSE of every trial ({len(found.scored)}) in their order, and "
        "the best until each of them. The table of all trials holds the figures.",
        x=x,
        y=y,
        height=300,
    )
    if found.biases_rmse is not None and y.low < found.biases_rmse < y.high:
        plot.line([(x.low, found.biases_rmse), (x.high, found.biases_rmse)], "level")
    plot.line(_best_so_far(found.scored, until=x.high), "running")
    for trial in found.scored:
        plot.mark(trial.number, _rmse(trial), classes(trial), tip=tip(trial), trial=trial.number)
    for trial in found.failed:
        reason = TrialView(trial).failed or ""
        plot.mark(trial.number, y.low, "cross", tip=f"Trial {trial.number} failed: {reason}")
    if found.best:
        plot.ring(found.best.trial.number, found.best_rmse)
    return Chart(heading="Search history", plot=plot)


def learning_curves(found: Findings) -> list[Chart]:
    """The RMSE by epoch: a chart for each solver, on the same scale."""
    reported = [trial for trial in found.scored if epochs(trial)]
    if not reported:
        return []
    y = _rmse_axis(reported, *map(_on_the_way, reported))
    charts = []
    for solver in found.solvers():
        # The best is drawn last, above the others.
        own = [trial for trial in reported if trial.params["solver"] == solver]
        trials = sorted(own, key=_rmse, reverse=True)
        trials = sorted(trials, key=lambda trial: trial.state is TrialState.COMPLETE)
        if not trials:
            continue
        plot = Plot(
            title=f"Learning curves of {solver}",
            description=f"The validation RMSE by epoch, trial by trial ({len(trials)}); those that "
            "were pruned are grey.",
            x=logarithmic("epoch", 1, max(*map(epochs, trials), 2)),
            y=y,
            height=250,
        )
        for trial in trials:
            kind = classes(trial)
            kind += " best" if trial is trials[-1] else ""
            plot.line(_curve(trial), kind, tip=tip(trial), trial=trial.number)
        for trial in trials:
            place = best_epoch(trial), _rmse(trial)
            plot.mark(*place, classes(trial), tip=tip(trial), trial=trial.number)
        pruned = sum(trial.state is TrialState.PRUNED for trial in trials)
        note = f"trials: {len(trials)}, of them pruned: {pruned}"
        charts.append(Chart(heading=solver, plot=plot, note=note))
    return charts


def slices(found: Findings, names: Sequence[str]) -> list[Chart]:
    """The RMSE of the best solver's trials by single parameters."""
    if not found.best or not names:
        return []
    solver = found.best.solver
    trials = found.of(solver)
    y = _rmse_axis(trials)
    charts = []
    for name in names:
        label = name.removeprefix(f"{solver}_")
        x, places = _parameter(solver, name, trials)
        plot = Plot(
            title=f"Validation RMSE by {label}",
            description=f"The trials of {solver} ({len(trials)}) by the value of {label}.",
            x=x,
            y=y,
        )
        for trial, place in zip(trials, places, strict=True):
            value = shown(trial.params[name])
            said = f"{tip(trial)}\n{label} {value}"
            plot.mark(place, _rmse(trial), classes(trial), tip=said, trial=trial.number)
            if trial.number == found.best.trial.number:
                plot.ring(place, _rmse(trial))
        charts.append(Chart(heading=label, plot=plot))
    return charts


def errors_by_count(held_out: HeldOut) -> list[Chart]:
    """The RMSE on held-out ratings by how many ratings the user, or the item, had."""
    both = [("user", held_out["by_user"]), ("item", held_out["by_item"])]
    groups = [group for _, some in both for group in some]
    ends = [end for one in groups for end in (*one["rmse"][1:], one["biases_rmse"])]
    y = linear("RMSE on held-out ratings", *bounds(ends))
    charts = []
    for whose, some in both:
        names = [_span(group) for group in some]
        begins = [f"{group['from']:,}" for group in some]
        plot = Plot(
            title=f"Errors by the number of ratings of the {whose}",
            description="The RMSE of the best setting with 95 % intervals, and of biases alone.",
            x=categories(f"training ratings of the {whose}, at least", begins),
            y=y,
        )
        plot.line([(place, one["biases_rmse"]) for place, one in enumerate(some)], "plain")
        plot.line([(place, one["rmse"][0]) for place, one in enumerate(some)], "ours")
        for place, (name, one) in enumerate(zip(names, some, strict=True)):
            _mark_errors(plot, place, f"{name} ratings", one)
        charts.append(Chart(heading=f"By ratings of the {whose}", plot=plot))
    return charts


def level(found: ContextFound) -> Chart | None:
    """How the level of all ratings moved over time; None if it is not known."""
    times, values = found.get("times", ()), found.get("level", ())
    if len(values) < 2:
        return None
    low, high = bounds(list(values), margin=0.1)
    plot = Plot(
        title="The level over time",
        description="By how much all ratings were above or below their average level.",
        x=dates("", min(times), max(times)),
        y=linear("rating units", low, high),
        height=220,
    )
    plot.line([(min(times), 0.0), (max(times), 0.0)], "level")
    plot.line(list(zip(times, values, strict=True)), "ours")
    return Chart(heading="The level of all over time", plot=plot)


def errors_by_label(found: Findings) -> list[Chart]:
    """The RMSE of held-out ratings by time ahead, and by what tables say of items and users."""
    groups: dict[str, list[LabelErrors]] = {}
    if found.later and (ahead := found.later.get("by_ahead")):
        groups["By time since the user rated last"] = ahead
    for one in found.held_out.get("by_label", []) if found.held_out else []:
        groups.setdefault(f"By {one['column']} of the {one['side']}", []).append(one)
    charts = []
    for heading, some in groups.items():
        if len(some) < 2:
            continue
        errors = _in_order(some)
        ends = [end for one in errors for end in (*one["rmse"][1:], one["biases_rmse"])]
        plot = Plot(
            title=heading,
            description="The RMSE of the best setting with 95 % intervals, and of biases alone.",
            x=linear("RMSE on held-out ratings", *bounds(ends), n_ticks=3),
            y=rows("", [_short(one["label"]) for one in errors]),
            height=ROW * len(errors),
            classes="plot named",
        )
        for place, one in enumerate(errors):
            _mark_errors(plot, -place, one["label"], one, in_rows=True)
        charts.append(Chart(heading=heading, plot=plot))
    return charts


def _mark_errors(
    plot: Plot,
    place: int,
    of: str,
    errors: GroupErrors | LabelErrors,
    *,
    in_rows: bool = False,
) -> None:
    """Marks the RMSE of the best setting, its interval, and that of biases, of some ratings."""

    def at(error: float) -> Point:
        return (error, place) if in_rows else (place, error)

    value, low, high = errors["rmse"]
    plot.segment(at(low), at(high), "ours interval")
    said = f"{of}: biases alone {errors['biases_rmse']:.4f}"
    plot.mark(*at(errors["biases_rmse"]), "s1 plain", tip=said)
    said = f"{of}: RMSE {value:.4f}\n95 % interval {low:.4f} to {high:.4f}\n"
    said += f"of {errors['ratings']:,} held-out ratings"
    plot.mark(*at(value), "s0 ours", tip=said)


def _in_order(errors: list[LabelErrors]) -> list[LabelErrors]:
    """Numbers from the least on, all else as it was."""
    numbers = [re.fullmatch(NUMBER, one["label"]) for one in errors]
    if sum(one is None for one in numbers) > 1:  # whose value is missing may be a group
        return errors
    values = [float(one[1]) if one else math.inf for one in numbers]
    return [errors[place] for place in sorted(range(len(errors)), key=values.__getitem__)]


def _short(label: str) -> str:
    """A label that has room beside its row, a number without digits that tell nothing."""
    if (found := re.fullmatch(NUMBER, label)) and "." in found[1]:
        number = float(found[1])
        return label.replace(found[1], f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}")
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def calibration(found: Calibrated) -> list[Chart]:
    """Whether errors are as large, and intervals as wide, as they are said to be."""
    stds, errors = ([one[key] for one in found["by_std"]] for key in ("std", "rmse"))
    low, high = bounds(stds + errors, margin=0.1)
    sizes = Plot(
        title="Errors by predicted standard deviation",
        description=f"{len(stds)} groups of held-out ratings: the RMSE that was predicted, and "
        "the one that was found. On the diagonal they are equal.",
        x=linear("predicted standard deviation", low, high),
        y=linear("RMSE", low, high),
    )
    sizes.line([(low, low), (high, high)], "level")
    for one in found["by_std"]:
        said = f"predicted {one['std']:.3f}, found {one['rmse']:.3f}\nof {one['ratings']:,} ratings"
        sizes.mark(one["std"], one["rmse"], "s0 ours", tip=said)
    shares = Plot(
        title="Coverage of intervals",
        description="The share of held-out ratings that lie inside of intervals, by the share "
        "that should. On the diagonal they are equal.",
        x=linear("wanted, %", 45, 100),
        y=linear("inside, %", 45, 100),
    )
    shares.line([(45, 45), (100, 100)], "level")
    for wanted, inside in found["levels"]:
        said = f"{100 * wanted:.0f} % intervals hold {100 * inside:.1f} %"
        shares.mark(100 * wanted, 100 * inside, "s0 ours", tip=said)
    return [
        Chart(heading="Errors by predicted standard deviation", plot=sizes),
        Chart(heading="Ratings inside of intervals", plot=shares),
    ]


def classes(trial: FrozenTrial) -> str:
    """The symbol and style of a trial: by its solver, hollow if it was pruned."""
    pruned = " pruned" if trial.state is TrialState.PRUNED else ""
    return solver_class(trial.params["solver"]) + pruned


def solver_class(solver: str) -> str:
    """The symbol of a solver, by its place in the registry: the page has four, in turn."""
    return f"s{list(SOLVERS).index(solver) % 4}"


def tip(trial: FrozenTrial) -> str:
    """What is told of a trial where it is pointed at."""
    best = best_epoch(trial)
    how = "the original's setting" if is_original(trial.params) else trial.params["solver"]
    lines = [
        f"Trial {trial.number}, {how}",
        f"RMSE {_rmse(trial):.4f} at epoch {best} of {epochs(trial)}",
        f"{seconds(trial):.1f} s" + (", pruned" if trial.state is TrialState.PRUNED else ""),
    ]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A value of a parameter, for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rmse_axis(trials: Sequence[FrozenTrial], *levels: float | None) -> Axis:
    errors = [_rmse(trial) for trial in trials]
    best = min(errors)
    return stretched(RMSE_LABEL, errors + [one for one in levels if one and one > best])


def _best_so_far(trials: Sequence[FrozenTrial], *, until: float) -> list[tuple[float, float]]:
    """The corners of the line that falls at every trial that is better than those before."""
    corners: list[tuple[float, float]] = []
    for trial in trials:
        if trial.state is TrialState.PRUNED:
            continue
        if not corners or _rmse(trial) < corners[-1][1]:
            corners += [(trial.number, corners[-1][1])] if corners else []
            corners.append((trial.number, _rmse(trial)))
    return [*corners, (until, corners[-1][1])] if corners else []


def _on_the_way(trial: FrozenTrial) -> float:
    """The RMSE that a trial had after a quarter of the epochs that its best took."""
    step = max(1, best_epoch(trial) // 4)
    return math.sqrt(trial.intermediate_values.get(step, 0.0))


def _curve(trial: FrozenTrial) -> list[tuple[float, float]]:
    """The (epoch, RMSE) of a trial, thinned out where a logarithmic axis shows no more."""
    steps = sorted(trial.intermediate_values)
    kept = {round(float(place)) for place in np.geomspace(1, len(steps), MOST_POINTS)}
    kept.add(best_epoch(trial))
    values = trial.intermediate_values
    points = [(float(step), math.sqrt(values[step])) for step in steps if step in kept]
    return points if len(points) > 1 else [*points, *points]


def _parameter(
    solver: str, name: str, trials: Sequence[FrozenTrial]
) -> tuple[Axis, Sequence[float]]:
    """The axis of a parameter, and where on it the trials lie."""
    distribution = searched(solver)[name]
    label = name.removeprefix(f"{solver}_")
    values = [trial.params[name] for trial in trials]
    if isinstance(distribution, CategoricalDistribution):
        names = [str(choice) for choice in distribution.choices]
        sides = (SPREAD * ((0.618034 * trial.number) % 1 - 0.5) for trial in trials)
        places = [names.index(str(v)) + 2 * side for v, side in zip(values, sides, strict=True)]
        return categories(label, names), places
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        room = (high / low) ** 0.03
        return logarithmic(label, low / room, high * room), values
    return linear(label, *bounds([low, high], margin=0.03)), values


def _span(group: GroupErrors) -> str:
    low, high = group["from"], group["to"]
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _rmse(trial: FrozenTrial) -> float:
    value = rmse(trial)
    assert value is not None
    return value
