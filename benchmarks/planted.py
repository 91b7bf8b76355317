"""Planted ratings for measurements of speed: any number of them, ten million in a few seconds.

    r_ui = 3.5 + b_u + c_i + p_u · q_i + noise, to half stars from 0.5 to 5

How much a user rates and how often an item is rated is log-normal, about as uneven as in MovieLens.
Pairs are distinct and sorted, as the ratings of a file are once they are read.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Ratings

ACTIVITY, POPULARITY = 1.0, 1.3  # standard deviations of logarithms
BIAS_STD, SIGNAL_STD, NOISE_STD = 0.4, 0.5, 0.8
SPARE = 1.1  # pairs that are drawn for one that is wanted: some are drawn twice
AT_ONCE = 1 << 18  # ratings


def sizes(n_ratings: int) -> tuple[int, int]:
    """Numbers of users, who rate 150 items in the mean, and of items, a quarter of that.

    There are a thousand items at least: of fewer, so many different pairs could hardly be drawn.
    """
    n_users = max(round(n_ratings / 150), 1)
    return n_users, max(n_users // 4, 1000)


def planted(
    n_ratings: int,
    *,
    n_users: int,
    n_items: int,
    rank: int = 8,
    seed: int = 0,
    items_seed: int | None = None,
) -> Ratings:
    """Ratings of which at most every third possible one is asked for; some rows may have none.

    Those of the same `items_seed` are of the same items.

    Raises:
        ValueError: too many ratings are asked for.
    """
    if n_ratings > n_users * n_items / 3:
        raise ValueError(f"expected at most {n_users * n_items // 3:,} ratings, got {n_ratings:,}")
    draw = np.random.default_rng(seed)
    of_items = draw if items_seed is None else np.random.default_rng([items_seed, 1])
    activity = np.exp(draw.normal(0, ACTIVITY, n_users))
    popularity = np.exp(of_items.normal(0, POPULARITY, n_items))
    pairs = np.empty(0, dtype=np.int64)
    while len(pairs) < n_ratings:
        n = int(SPARE * (n_ratings - len(pairs))) + 100
        users = np.repeat(np.arange(n_users), draw.multinomial(n, activity / activity.sum()))
        items = np.repeat(np.arange(n_items), draw.multinomial(n, popularity / popularity.sum()))
        pairs = np.sort(np.concatenate([pairs, users * n_items + draw.permutation(items)]))
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    pairs = np.delete(pairs, draw.choice(len(pairs), len(pairs) - n_ratings, replace=False))
    users, items = np.divmod(pairs, n_items)
    return Ratings(
        n_users=n_users,
        n_items=n_items,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(
            _values(users, items, (n_users, n_items), rank, draw, of_items=of_items)
        ),
    )


def write_mat_comp(ratings: Ratings, file: Path) -> None:
    """Writes ratings as a `mat_comp` file, without queries."""
    columns = (ratings.user_index + 1, ratings.item_index + 1, ratings.values)
    with file.open("w") as stream:
        stream.write(f"{ratings.n_users} {ratings.n_items} {len(ratings)}\n")
        for block in _blocks(len(ratings)):
            rows = zip(*(column[block].tolist() for column in columns), strict=True)
            stream.writelines(f"{user} {item} {rating}\n" for user, item, rating in rows)
        stream.write("0\n")


def write_parts(folder: Path, n_ratings: int, *, n_parts: int, seed: int = 0) -> None:
    """Writes a folder of Parquet files of some users each, whose items are the same, and beside it
    `held_out.parquet`, a hundredth of the ratings.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    (folder / "ratings").mkdir(parents=True)
    n_users, n_items = sizes(n_ratings)
    each = n_users // n_parts
    asked: list[pa.Table] = []
    for part in range(n_parts):
        some = planted(
            n_ratings // n_parts, n_users=each, n_items=n_items, seed=seed + part, items_seed=seed
        )
        table = pa.table(
            {
                "user": some.user_index.numpy() + part * each,
                "item": some.item_index.numpy(),
                "rating": some.values.numpy(),
            }
        )
        apart = pa.array(np.arange(len(table)) % 100 == 0)
        asked.append(table.filter(apart))
        known = table.filter(pc.invert(apart))
        pq.write_table(known, folder / "ratings" / f"part-{part:03}.parquet")
    pq.write_table(pa.concat_tables(asked), folder / "held_out.parquet")


def _values(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    n_rows: tuple[int, int],
    rank: int,
    draw: np.random.Generator,
    *,
    of_items: np.random.Generator,
) -> NDArray[np.float64]:
    """The ratings of pairs, a block at a time."""
    scale = (SIGNAL_STD / rank**0.5) ** 0.5
    draws = draw, of_items
    p, q = (
        one.normal(0, scale, (n, rank)).astype(np.float32)
        for one, n in zip(draws, n_rows, strict=True)
    )
    b, c = (one.normal(0, BIAS_STD, n) for one, n in zip(draws, n_rows, strict=True))
    values = np.empty(len(users))
    for block in _blocks(len(users)):
        u, i = users[block], items[block]
        mean = 3.5 + b[u] + c[i] + np.einsum("nr,nr->n", p[u], q[i])
        values[block] = mean + draw.normal(0, NOISE_STD, len(u))
    return np.clip(np.round(2 * values) / 2, 0.5, 5.0)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE))
