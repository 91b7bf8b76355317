"""The baseline that every factorization has to beat: global mean and biases alone.

    r̂_ui = μ + b_u + c_i,  by alternating least squares with λ_u = 15, λ_i = 10

the values that Surprise's baseline uses (Koren 2010, Factor in the Neighbors, sec. 2.1).
"""

import torch

from model.dataset import Ratings
from model.factorization import Factorization

SWEEPS = 10
USER_SHRINKAGE = 15.0
ITEM_SHRINKAGE = 10.0


@torch.no_grad()
def fit_biases(training: Ratings, *, sweeps: int = SWEEPS) -> Factorization:
    """A factorization of rank 0 that predicts from biases alone."""
    model = Factorization(training.n_users, training.n_items, rank=0).to(training.values.device)
    model.global_mean.copy_(training.values.mean())
    model.lowest.copy_(training.values.min())
    model.highest.copy_(training.values.max())
    centred = training.values - training.values.mean()
    users, items = training.user_index, training.item_index
    user_weight = torch.bincount(users, minlength=training.n_users).double() + USER_SHRINKAGE
    item_weight = torch.bincount(items, minlength=training.n_items).double() + ITEM_SHRINKAGE
    user_bias = torch.zeros_like(user_weight)
    for _ in range(sweeps):
        rest = torch.bincount(items, centred - user_bias[users], minlength=training.n_items)
        item_bias = rest / item_weight
        rest = torch.bincount(users, centred - item_bias[items], minlength=training.n_users)
        user_bias = rest / user_weight
    model.user_bias[:-1] = user_bias
    model.item_bias[:-1] = item_bias
    return model
