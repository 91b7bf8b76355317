"""One Markov chain: Gibbs sweeps over a factorization with side features and uneven noise.

    y_ui ~ N(p_u · q_i + b_u + c_i, 1 / w_ui),   w_ui = α a_u b_i   for standardized ratings y
    rows [p_u, b_u] and [q_i, c_i]: see `hyperprior`;   α ~ Gamma(½, rate ½)
    a_u, b_i ~ Gamma(ν/2, rate ν/2): how predictable a user, how divisive an item

Salakhutdinov & Mnih 2008 for the sampler; Lakshminarayanan, Bouchard & Archambeau 2011 (Robust
Bayesian Matrix Factorisation) for a and b. A side's rows and noise are drawn given the other's: all
rows at once, then a, which is conjugate given the residuals.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.dataset import Ratings
from model.effects import Effects
from model.hyperprior import GAMMA_RATE, GAMMA_SHAPE, Hyperprior
from model.kernels.normal_equations import Parts, Regressions
from model.ordinal import Levels, OrdinalLikelihood
from model.posterior import Draw, Unknown
from model.regressions import summed
from model.side_features import SideFeatures
from model.variates import Stream, gamma, normal
from model.world import ALONE, World

# Standard deviation of the first rows. Biases that start at zero stay small for a hundred sweeps
# where ratings are few: Λ is drawn from the rows, and the rows from Λ.
INITIAL_SCALE = 0.3


USERS, ITEMS = 0, 1
NOISE, LATENT = 2, 4  # what a stream is of, beside the rows of USERS or ITEMS, and effects


@dataclass
class Side:
    """The users' unknowns, or the items'."""

    which: int  # USERS or ITEMS
    world: World  # of ranks that have the rows between them
    regressions: Regressions
    counts: Tensor  # (n_rows,) float64, numbers of ratings
    rated: Tensor  # (n,) int64, the rows that have any
    n_rated: int  # of all ranks
    n_rated_before: int  # of the ranks before
    prior: Hyperprior
    rows: Tensor  # (n_rows, D) float32, the present draw, the bias last
    means: Tensor  # (n_rows, D) float32, the mean that the draw was around
    row_means: Tensor  # (n_rows, D) float32, of the rows' priors
    noise: Tensor  # (n_rows,) float64, a


class Chain:
    """Draws all unknowns in turn, a sweep at a time."""

    def __init__(
        self,
        training: Ratings,
        sides: tuple[Parts, Parts],
        features: tuple[Sequence[SideFeatures], Sequence[SideFeatures]],
        *,
        rank: int,
        noise_dof: float,
        levels: Levels | None,
        generator: torch.Generator,
    ) -> None:
        """A chain before its first sweep.

        Args:
            training: the ratings, on the device to work on.
            sides: their regressions on this rank, of users and of items.
            features: groups of them, of users and of items.
            rank: of the factors.
            noise_dof: ν; infinite where all ratings are equally certain.
            levels: of the ratings, for the ordinal likelihood; None for the Gaussian one.
            generator: of what there is once, which all ranks draw alike; what there is for each
                row, or rating, comes from streams that begin with a number of it.
        """
        values, moments = training.values, training.moments
        mean, scale = moments.mean, moments.scale
        users, items = training.user_index, training.item_index
        self._world, self._n_ratings = training.world, moments.n
        self._generator = generator
        device = values.device
        whole = torch.iinfo(torch.int64).max
        seed = torch.randint(whole, (), generator=generator, device=generator.device)
        self._stream = Stream(int(seed))
        self._numbers = training.users, torch.arange(training.n_items, device=device)
        # What it draws is left out of the chain, which goes on as if it were not drawn.
        self._of_unknown = torch.Generator(generator.device).manual_seed(generator.initial_seed())
        self._noise_dof = noise_dof
        self._pairs = users, items
        self.targets = ((values - mean) / scale).float()
        self.residuals = self.targets.clone()  # y - p_u · q_i - b_u - c_i
        self.precision = torch.ones((), dtype=torch.float64, device=device)  # α
        self.ordinal: OrdinalLikelihood | None = None
        if levels:
            self.ordinal = OrdinalLikelihood(levels, mean=mean, scale=scale, world=self._world)
        if self.ordinal:
            self.precision, self.targets = self.ordinal.precision, self.ordinal.latent
        self.effects: Effects | None = None  # of time
        if training.times is not None:
            self.effects = Effects(training, generator=generator)
        self.users = self._side(USERS, sides[0], users, features[0], rank + 1)
        self.items = self._side(ITEMS, summed(sides[1], training), items, features[1], rank + 1)

    def sweep(self) -> Draw:
        """Draws every unknown once: the state to predict from."""
        self._stream = self._stream.following()
        earlier_items = self.items.rows
        self._draw_side(self.users, self.items)
        users = self.users.means, self.users.rows
        weighted_error = self._draw_side(self.items, self.users)
        self._draw_precision(weighted_error)
        return Draw.of(
            users=users,
            items=(earlier_items, self.items.means),
            unknown=(self._unknown(self.users), self._unknown(self.items)),
            noise=(self.users.noise, self.items.noise),
            precision=self.precision,
            priors=(self.users.prior, self.items.prior),
            thresholds=self.ordinal.thresholds if self.ordinal else None,
            effects=self.effects,
        )

    def state(self) -> dict[str, Tensor]:
        """What the next sweeps follow from, beside what the chain was made of."""
        generators = {"generator": self._generator, "of_unknown": self._of_unknown}
        return (
            {name: getattr(owner, attribute) for name, owner, attribute in self._unknowns()}
            | {name: generator.get_state() for name, generator in generators.items()}
            | {"sweep": torch.tensor(self._stream.sweep)}
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state."""
        for name, owner, attribute in self._unknowns():
            getattr(owner, attribute).copy_(state[name])
        self._generator.set_state(state["generator"])
        self._of_unknown.set_state(state["of_unknown"])
        self._stream = self._stream._replace(sweep=int(state["sweep"]))

    def _unknowns(self) -> Iterator[tuple[str, object, str]]:
        """Every unknown: its name, what it is an attribute of, and which."""
        owners: dict[str, tuple[object, Sequence[str]]] = {
            "chain": (self, ("precision", "targets", "residuals"))
        }
        for name, side in (("users", self.users), ("items", self.items)):
            owners[name] = side, ("rows", "means", "row_means", "noise")
            owners[f"{name}.prior"] = side.prior, ("mean", "precision")
            for number, link in enumerate(side.prior.links):
                owners[f"{name}.link{number}"] = link, ("matrix", "precision")
        if self.effects:
            of_time = ("values", "means", "precisions", "total")
            owners["effects"] = (
                self.effects,
                (*of_time, "level", "level_means", "level_precision"),
            )
        if self.ordinal:  # whose latent z are the targets
            owners["ordinal"] = self.ordinal, ("precision", "thresholds")
        for name, (owner, attributes) in owners.items():
            yield from ((f"{name}.{attribute}", owner, attribute) for attribute in attributes)

    def _side(
        self,
        which: int,
        regressions: Regressions,
        own: Tensor,
        features: Sequence[SideFeatures],
        width: int,
    ) -> Side:
        n_rows, device = len(features[0].values), own.device
        rows = self._stream.normal(which, self._numbers[which], width) * INITIAL_SCALE
        counts = torch.bincount(own, minlength=n_rows).double()
        world = self._world if which == USERS else ALONE
        if which == ITEMS:
            counts = self._world.sum(counts)
        rated = counts.nonzero()[:, 0]
        n_rated = world.gathered(torch.tensor([len(rated)]))
        return Side(
            which=which,
            world=world,
            regressions=regressions,
            counts=counts,
            rated=rated,
            n_rated=int(n_rated.sum()),
            n_rated_before=int(n_rated[: world.rank].sum()),
            prior=Hyperprior(features, width, world),
            rows=rows,
            means=rows.clone(),
            row_means=torch.zeros_like(rows),
            noise=torch.ones(n_rows, dtype=torch.float64, device=device),
        )

    def _unknown(self, side: Side) -> Unknown:
        """Somebody who is like a rated row of the side drawn at random, but has no ratings."""
        generator, rated = self._of_unknown, side.row_means[side.rated]
        one = torch.randint(side.n_rated, (), generator=generator, device=generator.device)
        here = int(one) - side.n_rated_before
        row = rated[here] if 0 <= here < len(rated) else torch.zeros_like(rated[:1].sum(0))
        total, row = side.world.sum(torch.stack([rated.sum(0), row])).unbind()
        noise = normal((side.row_means.shape[1], 1), generator=generator)
        factor = torch.linalg.cholesky(side.prior.precision)
        spread = torch.linalg.solve_triangular(factor.mT, noise, upper=True)[:, 0]
        predictability = side.noise.new_ones(())
        if math.isfinite(self._noise_dof):
            half = side.noise.new_tensor(self._noise_dof / 2)
            predictability = gamma(half, half, generator=generator)
        return Unknown(
            mean=total / side.n_rated,
            row=row + spread.float(),
            noise=predictability,
        )

    def _draw_side(self, side: Side, other: Side) -> Tensor:
        """Draws a side's prior, rows and noise given the other side: Σ a_u b_i e_ui²."""
        side.prior.draw(side.rows, generator=self._generator)
        prior_precision = side.prior.precision.float()
        row_means = side.prior.row_means()
        side.row_means = row_means
        weights = self.precision * side.noise
        numbers = self._numbers[side.which]
        noise = self._stream.normal(side.which, numbers, side.rows.shape[1])
        solution = side.regressions.solve(
            other.rows,
            self.targets - self.effects.total if self.effects else self.targets,
            precision=prior_precision,
            right=row_means @ prior_precision,
            weights=weights.float(),
            other_weights=other.noise.float(),
            noise=noise,
            residuals=self.residuals if side is self.items else None,
        )
        side.means, side.rows = solution.means, solution.draws
        errors = solution.squared_errors  # Σ_i b_i e_ui² of each row
        if math.isfinite(self._noise_dof):
            side.noise = self._stream.gamma(
                NOISE + side.which,
                numbers,
                (self._noise_dof + side.counts) / 2,
                (self._noise_dof + self.precision * errors) / 2,
            )
        return (side.noise * errors).sum()

    def _draw_precision(self, weighted_error: Tensor) -> None:
        """Draws α; with levels then the thresholds and α again without z, and z."""
        shape = weighted_error.new_tensor(GAMMA_SHAPE + self._n_ratings / 2)
        rate = GAMMA_RATE + weighted_error / 2
        self.precision = gamma(shape, rate, generator=self._generator)
        if self.effects is None and self.ordinal is None:
            return
        users, items = self._pairs
        user_roots, item_roots = (side.noise.sqrt().float() for side in (self.users, self.items))
        roots = user_roots.index_select(0, users) * item_roots.index_select(0, items)
        if self.effects:
            weights = roots.square() * self.precision.float()
            self.effects.draw(self.residuals, weights, self._stream)
        if self.ordinal:
            self.ordinal.precision = self.precision
            stream, numbers = self._stream, self._numbers[0]
            self.ordinal.draw(
                self.targets - self.residuals,
                roots,
                generator=self._generator,
                chances=lambda some: stream.uniform(LATENT, numbers[users[some]], items[some]),
            )
            self.precision = self.ordinal.precision
