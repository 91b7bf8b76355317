"""Ratings whose times and descriptions matter, or do not."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.descriptions import of_categories, of_numbers, of_several
from tests.pairs import pairs_of

N_ITEMS, NOISE = 80, 0.4
SPREAD = 0.6  # of what is planted
START = 1.2e9
LEVEL = np.array([-0.8, 0.2, 0.6, 0.0])  # of each month
N_FANS, N_FILMS, N_RATED = 100, 200, 180  # where there are descriptions: the last have no ratings
PAIRS = pairs_of(*torch.cartesian_prod(torch.arange(N_FANS), torch.arange(N_FILMS)).mT)

Array = NDArray[Any]


def by_time(
    planted: str, *, n_users: int = 120, seed: int = 0, shuffled: bool = False
) -> tuple[Ratings, Ratings, Tensor]:
    """Training and test ratings, and what the latter would be without noise.

    Users come in four months, on three days of each, and sit down three times a day for half a
    minute, in which they rate three items.
    """
    draw = np.random.default_rng(seed)
    users, months, days, sittings, _ = (i.flatten() for i in np.indices((n_users, 4, 3, 3, 3)))
    n = len(users)
    items = draw.integers(0, N_ITEMS, n)
    hours = draw.uniform(0, 3e4, (n_users, 4, 3))[users, months, days]
    times = 3e6 * months + 2e5 * days + hours + 2500 * sittings + draw.uniform(0, 30, n)

    def normal(*shape: int) -> Array:
        return draw.normal(0, SPREAD, shape)

    signal = taste(draw, n_users)[users, items]
    if planted == "sittings":
        signal += normal(n_users, 4, 3, 3)[users, months, days, sittings]
    if planted == "days":
        signal += normal(n_users, 4, 3)[users, months, days]
    if planted == "months":
        signal += normal(n_users, 4)[users, months]
    if planted == "items":
        signal += normal(N_ITEMS, 4)[items, months]
    if planted == "level":
        signal += LEVEL[months]
    ratings = Ratings(
        n_users=n_users,
        n_items=N_ITEMS,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(signal + draw.normal(0, NOISE, n)),
        times=START + torch.from_numpy(draw.permutation(times) if shuffled else times),
    )
    test = torch.from_numpy(draw.random(n) < 0.1)
    return ratings[~test], ratings[test], torch.from_numpy(signal)[test]


def taste(draw: np.random.Generator, n_users: int) -> Array:
    biases = draw.normal(0, 0.4, (n_users, 1)) + draw.normal(0, 0.4, N_ITEMS)
    factors = draw.normal(0, 0.6, (n_users, 2)) @ draw.normal(0, 0.6, (2, N_ITEMS))
    return np.asarray(3 + biases + factors)


def by_description(
    *, seed: int = 0, n_each: int = 6, matters: bool = True
) -> tuple[Ratings, Tensor, dict[str, float]]:
    """Ratings of most items, what all PAIRS would get without noise, and the planted spreads.

    Of each side a column says nothing; none does if they do not matter.
    """
    draw = np.random.default_rng(seed)
    group, age = draw.integers(0, 4, N_FANS), draw.uniform(20, 60, N_FANS)
    genre, year = draw.integers(0, 6, N_FILMS), draw.uniform(1950, 2020, N_FILMS)
    words = draw.random((N_FILMS, 5)) < 0.3
    biases = {
        "group": draw.normal(0, SPREAD, 4)[group],
        "genre": draw.normal(0, SPREAD, 6)[genre],
        "words": words @ draw.normal(0, SPREAD, 5),
        "year": SPREAD * np.sin(year / 10),
    }
    signal = 3 + draw.normal(0, 0.3, (N_FANS, 1)) + draw.normal(0, 0.3, N_FILMS)
    if matters:
        signal += biases["group"][:, None] + biases["genre"] + biases["words"] + biases["year"]
        signal += SPREAD * np.where(group < 2, 1, -1)[:, None] * np.where(genre < 3, 1, -1)
    n = n_each * N_RATED
    users, items = draw.integers(0, N_FANS, n), np.arange(n) % N_RATED
    described = np.ones(N_FILMS, dtype=bool)
    ratings = Ratings(
        n_users=N_FANS,
        n_items=N_FILMS,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(signal[users, items] + draw.normal(0, NOISE, n)),
        user_descriptions=(
            of_categories("group", list("abcd"), group),
            of_numbers("age", age),
        ),
        item_descriptions=(
            of_categories("genre", list("abcdef"), genre),
            of_several("words", list("vwxyz"), *np.nonzero(words), described),
            of_numbers("year", year),
            of_categories("useless", list("abcdef"), draw.permutation(genre)),
        ),
    )
    planted = {name: float(values.std()) for name, values in biases.items()}
    return ratings, torch.from_numpy(signal).flatten(), planted
