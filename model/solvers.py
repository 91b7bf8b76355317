"""The solvers by name: a new one is a file, an entry here, and a branch of the search space."""

from dataclasses import dataclass
from typing import Any

import torch

from model.als import ALS, ALSConfig
from model.dataset import Ratings
from model.factorization import Factorization
from model.gibbs import Gibbs, GibbsConfig
from model.gradient import Gradient, GradientConfig
from model.posterior import Posterior
from model.solver import Model, Solver

Config = GradientConfig | ALSConfig | GibbsConfig


@dataclass(frozen=True)
class Entry:
    """What belongs to a solver."""

    config: type[Any]
    solver: type[Any]
    model: type[Model]
    most_epochs: int  # of a trial
    retraining_epochs: int | None  # None: as many as the validation found best


SOLVERS = {
    "gibbs": Entry(GibbsConfig, Gibbs, Posterior, 100, 260),
    "als": Entry(ALSConfig, ALS, Factorization, 100, None),
    "gradient": Entry(GradientConfig, Gradient, Factorization, 500, None),
}


def solver_name(config: Config) -> str:
    """The name of the solver that a config is of."""
    return next(name for name, entry in SOLVERS.items() if isinstance(config, entry.config))


def make_solver(config: Config, training: Ratings, *, device: torch.device, seed: int) -> Solver:
    """The solver of a setting, before its first epoch."""
    solver: Solver = SOLVERS[solver_name(config)].solver(config, training, device=device, seed=seed)
    return solver
