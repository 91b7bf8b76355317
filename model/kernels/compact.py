"""Predictions by the compact form of models, compiled: each pair comes to the same alone or in a
batch.

`Compact.plain_moments` is the same in PyTorch.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiling import njit

Array = NDArray[Any]


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "reassoc"})
def pair_moments(
    users: Array,
    items: Array,
    user_factors: Array,
    item_factors: Array,
    user_bias: Array,
    item_bias: Array,
    user_scale: Array,
    item_scale: Array,
    thresholds: Array,
    share: Array,
    levels: Array,
    total: Array,
) -> None:
    """Adds the first and second moments of one part to those of (n,) pairs.

    Args:
        users: (n,) int64, -1 for the last row.
        items: (n,) int64, likewise.
        user_factors: (n_users + 1, r) float32, and so on: the fields of `Part`.
        item_factors: of items.
        user_bias: of users.
        item_bias: of items.
        user_scale: of users.
        item_scale: of items.
        thresholds: (K - 1,) float64; none of a Gaussian part.
        share: () float64.
        levels: (K,) float64, standardized.
        total: (2, n) float64, standardized.
    """
    weight, rank = share.item(), user_factors.shape[1]
    for pair in range(len(users)):
        user, item = users[pair] % len(user_bias), items[pair] % len(item_bias)
        product = np.float32(0.0)
        row, column = user_factors[user], item_factors[item]
        for j in range(rank):
            product += row[j] * column[j]
        fit = float(product) + float(user_bias[user]) + float(item_bias[item])
        std = math.exp(float(user_scale[user]) + float(item_scale[item]))
        first, second = fit, fit * fit + std * std
        if len(thresholds):
            first, second, before = 0.0, 0.0, 0.0
            for level in range(len(levels)):
                below = 1.0
                if level < len(thresholds):
                    below = 0.5 * math.erfc((fit - thresholds[level]) / (std * math.sqrt(2.0)))
                chance, before = below - before, below
                first += chance * levels[level]
                second += chance * levels[level] * levels[level]
        total[0, pair] += weight * first
        total[1, pair] += weight * second
