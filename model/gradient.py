"""Stochastic gradient descent on the squared error, after every rating or a batch of them.

For a rating y_ui, standardized to mean 0 and variance 1, with e = b_u + c_i + p_u · q_i - y_ui:

    loss = e² + λ (|p_u|² + |q_i|²) + λ_b (b_u² + c_i²)

Every rating pays for its own user and item, so that λ weighs the same for a user of ten ratings
and of a thousand (Funk 2006; Koren, Bell & Volinsky 2009). `sgd` steps after every rating, compiled
(`descent`), or along the sum over a batch, and touches the rows in it alone; `adam` (Kingma & Ba
2015) steps along the mean over a batch, with every row. Steps after single ratings are taken on the
CPU, whatever the device: a GPU took fifty times as long, in batches.

The plain form is the model that this project began with: raw ratings, no biases, no clipping, steps
along the mean, and the optimizer's own weight decay, which shrinks every row at every step.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam  # the classes import torch's compiler, which takes seconds
from torch.optim.sgd import sgd

from model.dataset import Ratings
from model.factorization import Factorization, average_unseen
from model.kernels.descent import Descent, vectors_of
from model.kernels.simd import LANES
from model.solver import Epoch, measured
from model.solvers import GradientConfig
from model.svd import sparse, truncated_svd

BATCH_SIZE = 512  # where a step after every rating is not to be had, and none is told
SVD_SHRINKAGE = 10.0  # the singular values are divided by it, as in the original


class Gradient:
    """The solver.

    Users and items share one table, a row each, users first. In the biased form the rows are
    [p_u, b_u, 1] and [q_i, 1, c_i], whose product is the whole prediction; the ones stay ones.
    Zeros may stand before the last two.
    """

    def __init__(
        self, config: GradientConfig, training: Ratings, *, device: torch.device, seed: int
    ) -> None:
        self.config = config
        self._biased = config.form == "biased"
        self._model = Factorization(training.n_users, training.n_items, config.rank).to(device)
        by_rating = config.batch_size is None and config.optimizer == "sgd" and self._biased
        device = torch.device("cpu") if by_rating else device
        training = training.to(device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._n_users = training.n_users
        values = training.values
        self._scale = 1.0
        if self._biased:
            self._model.global_mean.copy_(values.mean())
            self._model.lowest.copy_(values.min())
            self._model.highest.copy_(values.max())
            self._scale = values.std(correction=0).item() or 1.0
            self._model.penalty[0, 0] = config.weight_decay * self._scale
            self._model.penalty[0, 1] = config.bias_decay
        else:  # a step goes along the mean, which weighs errors by 2 / n beside the decay
            self._model.penalty[1, 0] = config.weight_decay * len(values) / 2
            self._model.penalty[1, 1] = torch.inf
        users, items = training.user_index, training.item_index
        n_rated = [
            torch.bincount(users, minlength=training.n_users),
            torch.bincount(items, minlength=training.n_items),
        ]
        self._unseen = torch.cat(n_rated) == 0
        self._n_ratings = len(training)
        self._table = self._start(training)
        self._decay = torch.full((self._table.shape[1],), config.weight_decay, device=device)
        if self._biased:
            self._decay[-2:] = config.bias_decay
        self._descent: Descent | None = None
        if by_rating:
            mean = self._model.global_mean.item()
            self._descent = Descent(
                training, mean=mean, scale=self._scale, generator=self._generator
            )
            start = vectors_of(self._table)
            self._table = torch.empty_like(start)
            self._table[self._descent.places] = start
        else:  # (n_ratings, 2) int64 rows of the table
            self._pairs = torch.stack([users, items + self._n_users], dim=1)
            self._target = self._standardized(values)
        self._learning_rate = config.learning_rate
        self._gradient = torch.empty(0)  # of every row, if each step moves all
        self._move_all: Callable[..., None] | None = None
        if config.optimizer == "adam" or not self._biased:
            self._gradient = torch.zeros_like(self._table)
            self._move_all = self._optimizer()
        self._model_is_old = True

    @property
    def model(self) -> Factorization:
        """As it is after the last epoch, written when it is asked for."""
        if self._model_is_old:
            self._write_model()
            self._model_is_old = False
        return self._model

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Trains one pass over the shuffled ratings a step, and measures `validation`."""
        for number in itertools.count(1):
            train_mse = self._train_once()
            self._model_is_old = True
            predictions = None if validation is None else self.model.predict(validation)
            yield measured(number, train_mse, predictions, validation)

    @torch.no_grad()
    def _train_once(self) -> float:
        if self._descent is not None:
            squared_error = self._descent.epoch(self._table, self._rates())
        else:
            squared_error = self._descend_in_batches()
        self._learning_rate *= self.config.learning_rate_decay
        return squared_error / self._n_ratings * self._scale**2

    def _descend_in_batches(self) -> float:
        """Takes a step at each batch, in PyTorch: the sum of squared errors before each."""
        device = self._target.device
        shuffled = torch.randperm(self._n_ratings, generator=self._generator, device=device)
        squared_error = torch.zeros((), device=device)
        for batch in torch.split(shuffled, self.config.batch_size or BATCH_SIZE):
            rows = self._pairs.index_select(0, batch).flatten()  # user, item, user, item, …
            pair = self._table.index_select(0, rows).view(len(batch), 2, -1)
            error = torch.linalg.vecdot(pair[:, 0], pair[:, 1]) - self._target[batch]
            squared_error += error.dot(error)
            gradient = pair.flip(1).mul_(error[:, None, None])
            if self._biased:
                gradient.addcmul_(pair, self._decay)
                gradient[:, 0, -1] = 0.0
                gradient[:, 1, -2] = 0.0
            self._step(rows, gradient.flatten(0, 1))
        return squared_error.item()

    def _rates(self) -> Tensor:
        """What a step leaves of a user's row and of an item's, and how far either goes.

        The (4, 1 + LANES) rates of any other column, and of the last LANES, as in `simd.descend`.
        The ones stay, and so do zeros.
        """
        pace = 2.0 * self._learning_rate
        moves = torch.ones(2, 1 + LANES)
        moves[0, -1] = moves[1, -2] = 0.0
        decay = torch.full_like(moves[0], self.config.weight_decay)
        decay[-2:] = self.config.bias_decay
        return torch.cat([1.0 - pace * decay * moves, pace * moves])

    def _step(self, rows: Tensor, gradient: Tensor) -> None:
        """Descends along half the gradient of the loss, (2 * batch, columns), at table rows."""
        if self._move_all is None:
            self._table.index_add_(0, rows, gradient, alpha=-2.0 * self._learning_rate)
            return
        self._gradient.zero_().index_add_(0, rows, gradient, alpha=4.0 / len(rows))
        self._move_all(lr=self._learning_rate)

    def _optimizer(self) -> Callable[..., None]:
        """Moves all rows along their gradient, at a rate `lr`."""
        tables = [self._table], [self._gradient]
        decay = 0.0 if self._biased else self.config.weight_decay
        told: dict[str, Any] = {"weight_decay": decay, "maximize": False, "fused": True}
        if self.config.optimizer == "sgd":
            return partial(sgd, *tables, [None], momentum=0, dampening=0, nesterov=False, **told)
        moments = [torch.zeros_like(self._table)], [torch.zeros_like(self._table)]
        n_steps = [torch.zeros((), device=self._table.device)]
        told |= {"amsgrad": False, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        return partial(adam, *tables, *moments, [], n_steps, **told)

    def _start(self, training: Ratings) -> Tensor:
        """The (n_users + n_items, columns) float32 table to begin with."""
        config, generator = self.config, self._generator
        n_rows = training.n_users + training.n_items
        factors = torch.randn(n_rows, config.rank, generator=generator, device=generator.device)
        factors *= config.initial_scale
        if config.start == "svd":
            values = self._standardized(training.values)
            shape = training.n_users, training.n_items
            matrix = sparse(training.user_index, training.item_index, values, shape)
            u, s, v = truncated_svd(matrix, config.rank, generator=generator)
            half = (s / SVD_SHRINKAGE).sqrt()
            factors[:, : len(s)] = torch.cat([u * half, v * half])
        if not self._biased:
            return factors
        biases = torch.zeros(n_rows, 2, device=generator.device)
        biases[: self._n_users, 1] = 1.0
        biases[self._n_users :, 0] = 1.0
        return torch.cat([factors, biases], dim=1)

    def _standardized(self, values: Tensor) -> Tensor:
        return (values - self._model.global_mean.item()).div_(self._scale).float()

    @torch.no_grad()
    def _write_model(self) -> None:
        """Copies the table to the model, in rating units; unseen rows become the average row."""
        rank, n = self.config.rank, self._n_users
        whole = self._table if self._descent is None else self._table[self._descent.places]
        for factors, bias, rows, column in (
            (self._model.user_factors, self._model.user_bias, slice(None, n), -2),
            (self._model.item_factors, self._model.item_bias, slice(n, None), -1),
        ):
            table = average_unseen(whole[rows], self._unseen[rows])
            factors.copy_(table[:, :rank] * self._scale**0.5)
            if self._biased:
                bias.copy_(table[:, column] * self._scale)
