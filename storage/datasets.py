"""Data that needs no file: a demonstration with a known answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.ratings import RatingsTable

SEED = 20240223
N_USERS = 800
N_ITEMS = 500
N_RATINGS = 60_000
N_QUERIES = 6_000
RANK = 3
MEAN = 6.0
BIAS_STD = 0.7
FACTOR_STD = 0.8  # of a user's factors; those of an item have 1
NOISE_STD = 0.8


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """Planted ratings: r_ui = mean + b_u + c_i + p_u · q_i + noise, to two decimals."""

    table: RatingsTable
    truth: NDArray[np.float64]  # (n_queries,) ratings of the queries, noise included
    noise_std: float  # the RMSE that the planted model itself would reach


def demonstration() -> Demonstration:
    """The built-in data set, the same every time under one version of NumPy.

    Items are rated unequally often, as in real data; pairs are drawn without repetition.
    """
    draw = np.random.default_rng(SEED)
    user_bias = draw.normal(0, BIAS_STD, N_USERS)
    item_bias = draw.normal(0, BIAS_STD, N_ITEMS)
    user_factors = draw.normal(0, FACTOR_STD, (N_USERS, RANK))
    item_factors = draw.normal(0, 1, (N_ITEMS, RANK))
    signal = MEAN + user_bias[:, None] + item_bias + user_factors @ item_factors.T

    popularity = np.tile(draw.permutation(np.arange(1, N_ITEMS + 1)) ** -0.4, (N_USERS, 1))
    pairs = draw.choice(
        N_USERS * N_ITEMS,
        size=N_RATINGS + N_QUERIES,
        replace=False,
        p=(popularity / popularity.sum()).ravel(),
    )
    users, items = np.divmod(pairs, N_ITEMS)
    ratings = np.round(signal[users, items] + draw.normal(0, NOISE_STD, len(pairs)), 2)
    users, items = (users + 1).astype(np.int32), (items + 1).astype(np.int32)
    table = RatingsTable.from_columns(
        user_ids=users[:N_RATINGS],
        item_ids=items[:N_RATINGS],
        ratings=ratings[:N_RATINGS],
        query_user_ids=users[N_RATINGS:],
        query_item_ids=items[N_RATINGS:],
    )
    return Demonstration(table=table, truth=ratings[N_RATINGS:], noise_std=NOISE_STD)
