"""The baseline that every factorization has to beat: global mean and biases alone.

    r̂_ui = μ + b_u + c_i,  by alternating least squares with λ = 5

(Koren 2010, Factor in the Neighbors, sec. 2.1).
"""

import torch
from torch import Tensor

from model.dataset import Ratings
from model.factorization import Factorization

SWEEPS = 3  # by then the error has stopped falling
SHRINKAGE = 5.0  # λ, in ratings


@torch.no_grad()
def fit_biases(training: Ratings, *, sweeps: int = SWEEPS) -> Factorization:
    """A factorization of rank 0 that predicts from biases alone."""
    model = Factorization(training.n_users, training.n_items, rank=0).to(training.values.device)
    users, items, values = training.user_index, training.item_index, training.values
    moments, world = training.moments, training.world
    mean = moments.mean
    model.global_mean.copy_(mean)
    model.lowest.copy_(moments.lowest)
    model.highest.copy_(moments.highest)
    user_weight = torch.bincount(users, minlength=training.n_users) + SHRINKAGE
    item_weight = world.sum(torch.bincount(items, minlength=training.n_items)) + SHRINKAGE
    user_bias = torch.zeros_like(user_weight, dtype=torch.float64)
    item_bias = torch.zeros_like(item_weight, dtype=torch.float64)
    for _ in range(sweeps):
        sums = world.sum(_sums(items, users, values, mean + user_bias, len(item_bias)))
        item_bias = sums / item_weight
        user_bias = _sums(users, items, values, mean + item_bias, len(user_bias)) / user_weight
    model.user_bias[:-1] = user_bias
    model.item_bias[:-1] = item_bias
    model.penalty[1, 1] = SHRINKAGE  # of who is folded in
    return model


def _sums(own: Tensor, other: Tensor, values: Tensor, expected: Tensor, n_rows: int) -> Tensor:
    """The (n_rows,) sums of values less what the other side expects, row by row."""
    if own.device.type != "cpu":
        return torch.bincount(own, values - expected[other], minlength=n_rows).double()
    from model.kernels.sparse import sums_of_rests

    arrays = own.numpy(), other.numpy(), values.numpy(), expected.numpy()
    return torch.from_numpy(sums_of_rests(*arrays, n_rows))
