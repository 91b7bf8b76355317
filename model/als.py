"""Alternating least squares: every user's row at once, then every item's.

    loss = Σ_ui (y_ui - b_u - c_i - p_u · q_i)² + Σ_u n_u (λ |p_u|² + λ_b b_u²) + the same of items

for standardized ratings y, with n_u the number of ratings of user u: each rating pays for its own
user and item. Zhou, Wilkinson, Schreiber & Pan 2008 (Large-Scale Parallel Collaborative Filtering
for the Netflix Prize), sec. 3.1, here with biases inside the rows, which start as biases alone.
"""

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from model.biases import fit_biases
from model.dataset import Ratings
from model.factorization import Factorization, average_unseen
from model.kernels.normal_equations import Regressions
from model.regressions import both_sides, summed
from model.solver import Epoch, measured
from model.solvers import ALSConfig
from model.world import ALONE

BIAS_SWEEPS = 2  # before the first: more would hardly be seen
INITIAL_SCALE = 0.1  # standard deviation of the items' first factors


class ALS:
    """The solver."""

    def __init__(
        self, config: ALSConfig, training: Ratings, *, device: torch.device, seed: int
    ) -> None:
        training = training.to(device)
        n_users, n_items, values = training.n_users, training.n_items, training.values
        users, items = training.user_index, training.item_index
        moments, self._world = training.moments, training.world
        self.model = Factorization(n_users, n_items, config.rank).to(device)
        self.model.global_mean.copy_(moments.mean)
        self.model.lowest.copy_(moments.lowest)
        self.model.highest.copy_(moments.highest)
        self._scale, self._n_ratings = moments.scale, moments.n
        self.model.penalty[0, 0] = config.weight_decay * self._scale
        self.model.penalty[0, 1] = config.bias_decay
        self._targets = ((values - moments.mean) / self._scale).float()
        self._user_side, item_side = both_sides(training)
        self._item_side = summed(item_side, training)
        self._decay = torch.full((config.rank + 1,), config.weight_decay, device=device)
        self._decay[-1] = config.bias_decay

        generator = torch.Generator(device).manual_seed(seed)
        biases = fit_biases(training, sweeps=BIAS_SWEEPS)
        self._users = torch.zeros(n_users, config.rank + 1, device=device)  # rows [p_u, b_u]
        self._items = torch.zeros(n_items, config.rank + 1, device=device)  # rows [q_i, c_i]
        self._items[:, :-1].normal_(std=INITIAL_SCALE, generator=generator)
        with torch.no_grad():
            self._users[:, -1] = biases.user_bias[:-1] / self._scale
            self._items[:, -1] = biases.item_bias[:-1] / self._scale
        self._unseen_users = torch.bincount(users, minlength=n_users) == 0
        self._unseen_items = self._world.sum(torch.bincount(items, minlength=n_items)) == 0
        self._n_epochs = 0
        self._write_model()

    def state(self) -> dict[str, Tensor]:
        """As `Resumable` says."""
        return {
            "n_epochs": torch.tensor(self._n_epochs),
            "users": self._users,
            "items": self._items,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """As `Resumable` says."""
        self._n_epochs = int(state["n_epochs"])
        self._users.copy_(state["users"])
        self._items.copy_(state["items"])
        self._write_model()

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Solves for users, then for items: a sweep an epoch."""
        for number in itertools.count(self._n_epochs + 1):
            self._users, _ = self._solve(self._user_side, self._users, self._items)
            self._items, squared_error = self._solve(self._item_side, self._items, self._users)
            self._write_model()
            self._n_epochs = number
            train_mse = squared_error / self._n_ratings * self._scale**2
            predictions = None if validation is None else self.model.predict(validation)
            yield measured(number, train_mse, predictions, validation)

    def _solve(self, side: Regressions, rows: Tensor, others: Tensor) -> tuple[Tensor, float]:
        """Every row at its minimum, the others fixed, and the sum of squared errors then."""
        solution = side.solve(
            others,
            self._targets,
            precision=rows.new_zeros(rows.shape[1], rows.shape[1]),
            right=torch.zeros_like(rows),
            decay=self._decay,
        )
        return solution.means, solution.squared_errors.sum().item()

    @torch.no_grad()
    def _write_model(self) -> None:
        """Copies the rows to the model, in rating units; unseen rows become the average row."""
        model = self.model
        for rows, unseen, factors, bias, world in (
            (self._users, self._unseen_users, model.user_factors, model.user_bias, self._world),
            (self._items, self._unseen_items, model.item_factors, model.item_bias, ALONE),
        ):
            table = average_unseen(rows, unseen, world)
            factors.copy_(table[:, :-1] * self._scale**0.5)
            bias.copy_(table[:, -1] * self._scale)
