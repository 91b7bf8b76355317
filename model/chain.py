"""One Markov chain: Gibbs sweeps over a factorization with side features and uneven noise.

    y_ui ~ N(p_u · q_i + b_u + c_i, 1 / w_ui),   w_ui = α a_u b_i   for standardized ratings y
    rows [p_u, b_u] and [q_i, c_i]: see `hyperprior`;   α ~ Gamma(½, rate ½)
    a_u, b_i ~ Gamma(ν/2, rate ν/2): how predictable a user, how divisive an item

Salakhutdinov & Mnih 2008 for the sampler; Lakshminarayanan, Bouchard & Archambeau 2011 (Robust
Bayesian Matrix Factorisation) for a and b. A side's rows and noise are drawn given the other's: all
rows at once, then a, which is conjugate given the residuals that its block has at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.dataset import Ratings
from model.hyperprior import GAMMA_RATE, GAMMA_SHAPE, Hyperprior
from model.normal_equations import Block, cholesky, gather, group, regressors
from model.ordinal import Levels, OrdinalLikelihood
from model.posterior import Draw
from model.side_features import SideFeatures
from model.variates import gamma

# Standard deviation of the first rows. Biases that start at zero stay small for a hundred sweeps
# where ratings are few: Λ is drawn from the rows, and the rows from Λ.
INITIAL_SCALE = 0.3


@dataclass
class Side:
    """The users' unknowns, or the items'."""

    blocks: list[Block]
    counts: Tensor  # (n_rows,) float64, numbers of ratings
    prior: Hyperprior
    rows: Tensor  # (n_rows, D) float32, the present draw, the bias last
    means: Tensor  # (n_rows, D) float32, the mean that the draw was around
    noise: Tensor  # (n_rows,) float64, a


class Chain:
    """Draws all unknowns in turn, a sweep at a time."""

    def __init__(
        self,
        training: Ratings,
        features: tuple[SideFeatures, SideFeatures],
        *,
        rank: int,
        noise_dof: float,
        levels: Levels | None,
        generator: torch.Generator,
    ) -> None:
        """A chain before its first sweep.

        Args:
            training: the ratings, on the device to work on.
            features: of users and of items.
            rank: of the factors.
            noise_dof: ν; infinite where all ratings are equally certain.
            levels: of the ratings, for the ordinal likelihood; None for the Gaussian one.
            generator: of every draw.
        """
        mean, values = training.values.mean(), training.values
        scale = values.std(correction=0).item() or 1.0
        users, items = training.user_index, training.item_index
        self._generator = generator
        self._noise_dof = noise_dof
        self._pairs = users, items
        self.targets = torch.cat([(values - mean) / scale, values.new_zeros(1)]).float()
        self.fit = torch.zeros_like(self.targets)  # p_u · q_i + b_u + c_i, where y is
        self.precision = torch.ones((), dtype=torch.float64, device=values.device)  # α
        self.ordinal = OrdinalLikelihood(levels, mean=mean, scale=scale) if levels else None
        if self.ordinal:
            self.precision = self.ordinal.precision
        self.users = self._side(users, items, features, rank + 1)
        self.items = self._side(items, users, features[::-1], rank + 1)

    def sweep(self) -> Draw:
        """Draws every unknown once: the state to predict from."""
        earlier_items = self.items.rows.clone()
        self._draw_side(self.users, self.items)
        users = self.users.means.clone(), self.users.rows.clone()
        weighted_error = self._draw_side(self.items, self.users)
        self._draw_precision(weighted_error)
        return Draw.of(
            users=users,
            items=(earlier_items, self.items.means),
            unknown=(self.users.prior.row_means().mean(0), self.items.prior.row_means().mean(0)),
            noise=(self.users.noise, self.items.noise),
            precision=self.precision,
            thresholds=self.ordinal.thresholds if self.ordinal else None,
        )

    def _side(
        self, own: Tensor, other: Tensor, features: Sequence[SideFeatures], width: int
    ) -> Side:
        n_rows, n_others = (len(side.values) for side in features)
        device = own.device
        rows = torch.randn(n_rows, width, generator=self._generator, device=device) * INITIAL_SCALE
        return Side(
            blocks=group(own, other, n_rows=n_rows, n_others=n_others, width=width + 1),
            counts=torch.bincount(own, minlength=n_rows).double(),
            prior=Hyperprior(features[0], width),
            rows=rows,
            means=rows.clone(),
            noise=torch.ones(n_rows, dtype=torch.float64, device=device),
        )

    def _draw_side(self, side: Side, other: Side) -> Tensor:
        """Draws a side's prior, rows and noise given the other side: Σ a_u b_i e_ui²."""
        side.prior.draw(side.rows, generator=self._generator)
        prior_precision = side.prior.precision.float()
        prior_means = side.prior.row_means() @ prior_precision
        table = regressors(other.rows, other.noise.sqrt().float())
        weights = (self.precision * side.noise).float()
        noise = torch.randn(side.rows.shape, generator=self._generator, device=table.device)
        weighted_error = torch.zeros_like(weights)  # Σ_i b_i e_ui² of each row
        for block in side.blocks:
            rows = block.rows
            cells = gather(block, table, self.targets)
            gram = (cells.mT @ cells) * weights[rows, None, None]
            factor = cholesky(gram[:, :-1, :-1] + prior_precision)
            right = (gram[:, :-1, -1] + prior_means[rows])[..., None]
            half = torch.linalg.solve_triangular(factor, right, upper=False)
            both = torch.cat([half, half + noise[rows, :, None]], dim=2)
            both = torch.linalg.solve_triangular(factor.mT, both, upper=True)
            side.means[rows], side.rows[rows] = both[..., 0], both[..., 1]
            error = cells[..., -1] - (cells[..., :-1] @ both[..., 1:])[..., 0]  # e_ui √b_i
            weighted_error[rows] = error.square().sum(1)
            # √b_i stands in the cells, at the feature that is one.
            self.fit[block.ratings] = self.targets[block.ratings] - error / cells[..., -2]
        errors = weighted_error.double()
        if math.isfinite(self._noise_dof):
            side.noise = gamma(
                (self._noise_dof + side.counts) / 2,
                (self._noise_dof + self.precision * errors) / 2,
                generator=self._generator,
            )
        return (side.noise * errors).sum()

    def _draw_precision(self, weighted_error: Tensor) -> None:
        """Draws α; with levels then the thresholds and α again without z, and z."""
        n_ratings = len(self.targets) - 1
        shape = weighted_error.new_tensor(GAMMA_SHAPE + n_ratings / 2)
        rate = GAMMA_RATE + weighted_error / 2
        self.precision = gamma(shape, rate, generator=self._generator)
        if self.ordinal is None:
            return
        self.ordinal.precision = self.precision
        users, items = self._pairs
        weights = self.users.noise[users] * self.items.noise[items]
        self.ordinal.draw(self.fit[:-1].double(), weights, generator=self._generator)
        self.precision = self.ordinal.precision
        self.targets[:-1] = self.ordinal.latent.float()
