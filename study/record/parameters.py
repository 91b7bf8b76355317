"""The parameters that stand for a setting in Optuna's tables, and the distributions they have."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from model.solvers import ORIGINAL, SOLVERS, Choice, Config, Space, Span, solver_name

SOLVER = CategoricalDistribution(tuple(SOLVERS))
# Changes with what a trial may be, which a study keeps: Optuna lets no choices change within one.
SPACE_VERSION = hashlib.sha256(
    repr([(name, one.space, one.allowed, one.fixed) for name, one in SOLVERS.items()]).encode()
).hexdigest()[:8]

SAME_SPACES = {3: "85fbb2b2"}  # what studies kept in its place before, and the digest that it had


def is_same_space(version: object) -> bool:
    """Whether what a study keeps as its search space is that of now."""
    known = SAME_SPACES.get(version) if isinstance(version, int) else version
    return known == SPACE_VERSION


def searched(solver: str) -> dict[str, BaseDistribution]:
    """Where the sampler looks for a solver's parameters."""
    return _distributions(solver, SOLVERS[solver].space)


def space(solver: str) -> dict[str, BaseDistribution]:
    """What a solver's parameters may be: the same, wide enough for settings that are given."""
    return _distributions(solver, {**SOLVERS[solver].space, **SOLVERS[solver].allowed})


def fixed(solver: str) -> dict[str, str]:
    """The parameters that a solver always has in the search."""
    return {f"{solver}_{name}": value for name, value in SOLVERS[solver].fixed.items()}


def names() -> list[str]:
    """The names of all parameters."""
    return ["solver", *(name for solver in SOLVERS for name in space(solver))]


def to_params(config: Config) -> dict[str, Any]:
    """The parameters that stand for a setting: `solver`, and its own under its name."""
    solver, fields = solver_name(config), asdict(config)
    return {"solver": solver} | {f"{solver}_{n}": fields[n] for n in SOLVERS[solver].names}


def to_config(params: Mapping[str, Any]) -> Config:
    """The setting that parameters stand for."""
    solver = params["solver"]
    fields = {name: params[f"{solver}_{name}"] for name in SOLVERS[solver].names}
    if fields.get("form") == ORIGINAL.form:
        fields |= {"optimizer": ORIGINAL.optimizer, "batch_size": ORIGINAL.batch_size}
    return SOLVERS[solver].config(**fields)


def is_whole(params: Mapping[str, Any]) -> bool:
    """Whether they are all parameters of a setting."""
    return "solver" in params and not missing(params)


def missing(params: Mapping[str, Any]) -> set[str]:
    """The parameters that a setting of their solver lacks."""
    solver = params.get("solver")
    if solver not in SOLVERS:
        return {"solver" if solver is None else "a known solver"}
    return {f"{solver}_{name}" for name in SOLVERS[solver].names} - set(params)


def is_original(params: Mapping[str, Any]) -> bool:
    """Whether they are of the setting that this project replaces."""
    return params.get("gradient_form") == ORIGINAL.form


def _distributions(solver: str, space: Space) -> dict[str, BaseDistribution]:
    return {f"{solver}_{name}": _distribution(of) for name, of in space.items()}


def _distribution(of: Span | Choice) -> BaseDistribution:
    if isinstance(of, Choice):
        return CategoricalDistribution(of.values)
    if isinstance(of.low, int) and isinstance(of.high, int):
        return IntDistribution(of.low, of.high, log=of.log)
    return FloatDistribution(of.low, of.high, log=of.log)
