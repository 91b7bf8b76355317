"""The registry of solvers: settings, where to look for good ones, defaults and limits of each.

A new solver is a file of its own and, here, its config and its entry. What trains is named, not
imported: whoever only reads about settings needs no PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from model.dataset import Ratings
    from model.solver import Model, ModelClass, Solver


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a solver: a frozen dataclass of numbers and names."""


@dataclass(frozen=True)
class Span:
    """The numbers from `low` to `high`, whole ones if both ends are; by their logarithms if so."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A few values."""

    values: tuple[str, ...]


Space = Mapping[str, Span | Choice]  # by the name of a field of the config


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What belongs to a solver."""

    config: type[Config]
    solver: str  # the `Solver`, as "module:Class", imported when the first is made
    model: str  # the `Model` that it trains, as well
    space: Space  # where to search; to hold on any scale if the solver standardizes ratings
    allowed: Space = field(default_factory=dict)  # wider, where a setting may lie outside of that
    fixed: Mapping[str, str] = field(default_factory=dict)  # what is allowed, and not searched
    default: Config
    first_look: int  # the epoch before which no trial is pruned: a good setting may start slowly
    most_epochs: int  # of a trial
    shares_users: bool = True  # whether several ranks can train it, each with its own users
    uses_context: bool = False  # whether times and descriptions tell it something
    retraining_epochs: int | None = None  # None: as many as the validation found best

    @property
    def names(self) -> list[str]:
        """The fields that a trial has as parameters."""
        return list({**self.space, **self.allowed})


@dataclass(frozen=True, kw_only=True)
class GibbsConfig(Config):
    """The settings of `gibbs.Gibbs`."""

    rank: int
    likelihood: Literal["gaussian", "ordinal", "both"] = "both"
    noise_dof: float  # ν: the lower, the more the noise may differ between users, between items
    n_features: int  # k, of who rated what
    degree_power: float = 0.35  # p
    spectrum_power: float = 1.5  # s


@dataclass(frozen=True, kw_only=True)
class ALSConfig(Config):
    """The settings of `als.ALS`."""

    rank: int
    weight_decay: float  # λ
    bias_decay: float  # λ_b


@dataclass(frozen=True, kw_only=True)
class GradientConfig(Config):
    """The settings of `gradient.Gradient`."""

    rank: int
    learning_rate: float
    learning_rate_decay: float = 1.0  # the factor from an epoch to the next
    weight_decay: float
    bias_decay: float = 1e-3  # λ_b; of no effect in the plain form
    batch_size: int | None = None  # None: a step after every rating, on the CPU
    initial_scale: float  # standard deviation of the normal start of the factors
    optimizer: Literal["sgd", "adam"] = "sgd"
    form: Literal["biased", "plain"] = "biased"
    start: Literal["normal", "svd"] = "normal"


# The setting that this project replaces, the best of a grid.
ORIGINAL = GradientConfig(
    rank=25,
    learning_rate=1e-3,
    weight_decay=1e-5,
    batch_size=1000,
    initial_scale=1.0,
    optimizer="adam",
    form="plain",
)
# Of gibbs beside its default: better where there are many ratings, and slower everywhere.
WIDE = GibbsConfig(rank=48, noise_dof=20.0, n_features=128, degree_power=0.45, spectrum_power=1.0)

SOLVERS: dict[str, Entry] = {
    "gibbs": Entry(
        config=GibbsConfig,
        solver="model.gibbs:Gibbs",
        model="model.posterior:Posterior",
        space={
            "rank": Span(2, 96, log=True),
            "likelihood": Choice(("gaussian", "ordinal", "both")),
            "noise_dof": Span(5.0, 100.0, log=True),
            "n_features": Span(8, 256, log=True),
            "degree_power": Span(0.2, 0.6),
            "spectrum_power": Span(0.5, 2.0),
        },
        default=GibbsConfig(rank=24, noise_dof=20.0, n_features=64),
        first_look=40,
        most_epochs=100,
        uses_context=True,
        retraining_epochs=260,
    ),
    "als": Entry(
        config=ALSConfig,
        solver="model.als:ALS",
        model="model.factorization:Factorization",
        space={
            "rank": Span(2, 128, log=True),
            "weight_decay": Span(1e-2, 1.0, log=True),
            "bias_decay": Span(1e-3, 0.3, log=True),
        },
        default=ALSConfig(rank=16, weight_decay=0.1, bias_decay=0.05),
        first_look=20,
        most_epochs=100,
    ),
    "gradient": Entry(
        config=GradientConfig,
        solver="model.gradient:Gradient",
        model="model.factorization:Factorization",
        space={
            "rank": Span(2, 128, log=True),
            "learning_rate": Span(3e-3, 1e-1, log=True),
            "learning_rate_decay": Span(0.7, 1.0),
            "weight_decay": Span(1e-2, 0.3, log=True),
            "bias_decay": Span(1e-3, 0.1, log=True),
            "initial_scale": Span(1e-3, 0.3, log=True),
        },
        allowed={  # wide enough for ORIGINAL
            "form": Choice(("biased", "plain")),
            "learning_rate": Span(1e-3, 1e-1, log=True),
            "weight_decay": Span(1e-5, 0.3, log=True),
            "initial_scale": Span(1e-3, 1.0, log=True),
        },
        fixed={"form": "biased"},
        default=GradientConfig(
            rank=46,  # with a bias and a one, whole vectors
            learning_rate=0.045,
            learning_rate_decay=0.8,
            weight_decay=0.045,
            bias_decay=0.02,
            initial_scale=0.01,
        ),
        first_look=20,
        most_epochs=500,
        shares_users=False,  # a step of a user's row moves the item's, which the next one needs
    ),
}


def solver_name(config: Config) -> str:
    """The name of the solver that a config is of."""
    return next(name for name, entry in SOLVERS.items() if type(config) is entry.config)


def make_solver(
    config: Config, training: "Ratings", *, device: "torch.device", seed: int
) -> "Solver":
    """The solver of a setting, before its first epoch; of heavy tails that of their logarithms."""
    from model.logarithmic import LogarithmicSolver, has_heavy_tail

    entry = SOLVERS[solver_name(config)]
    if training.world.size > 1 and not entry.shares_users:
        raise ValueError(f"expected a solver that shares users, got {solver_name(config)}")
    kind: Any = resolve_name(entry.solver)

    def of(ratings: "Ratings") -> "Solver":
        solver: Solver = kind(config, ratings, device=device, seed=seed)
        return solver

    is_plain = isinstance(config, GradientConfig) and config.form == "plain"  # of ratings as such
    if is_plain or not has_heavy_tail(training):
        return of(training)
    return LogarithmicSolver(of, training)


def load_state(name: str, state: "Mapping[str, Tensor]") -> "Model":
    """The model that the solver of that name trained, of its `state_dict`, on the CPU."""
    from model.logarithmic import Logarithmic, Smearing

    smearing, rest = Smearing.from_state(state)
    kind: ModelClass = resolve_name(SOLVERS[name].model)
    model = kind.from_state(rest)
    return Logarithmic(model, smearing) if smearing else model
