"""The true ratings of pairs that were predicted: one a line, or a table in any format."""

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.columnar import format_of
from storage.columns import Columns, choose_pair_columns
from storage.delimited import read_rows
from storage.dialect import check_fields
from storage.errors import InputError
from storage.item_tables import MOST_BYTES
from storage.lines import check_one_a_query, first_lines, rating_of, read_numbers, shown, whole_text
from storage.names import is_called
from storage.ratings import IdArray
from storage.tables import read_pairs

Pair = tuple[str, str]


def read_truth(
    path: Path,
    user_ids: IdArray,
    item_ids: IdArray,
    *,
    names: tuple[str, str, str] = ("user", "item", "rating"),
    positions: Columns | None = None,
) -> NDArray[np.float64]:
    """The (n,) true ratings of pairs of (n,) users and items.

    A table with columns of users and items has them in any order, and may have others besides; of a
    pair that it rates more than once it is the mean. A file of numbers, one a line, and a table of
    ratings without ids have one for each pair, in their order.

    Args:
        path: of the file.
        user_ids: of the pairs.
        item_ids: of the pairs.
        names: what the ratings call the columns of user, item and rating; such as `user_id` are
            known too.
        positions: where they are in a table without a header.

    Raises:
        InputError: the file cannot be read, or does not have a rating of every pair.
    """
    n_pairs, columnar = len(user_ids), format_of(path)
    if not columnar and _is_one_a_line(first_lines(path)):
        return read_numbers(path, expected=n_pairs)
    rows = [] if columnar else read_rows(path, whole_text(path, MOST_BYTES))
    head = [row for _, row in rows if len(row) == len(rows[0][1])]
    if columnar:
        head = [columnar.column_names(path)]
    choose = partial(choose_pair_columns, path, head, has_header=bool(columnar))
    try:
        choose(names=names[:2], positions=positions)
    except InputError:
        first = [field.strip() for field in head[0]]
        named = [p for p, name in enumerate(first) if name == names[2]]
        found = named or [p for p, name in enumerate(first) if is_called(name, "rating")]
        if len(found) != 1:
            raise
        if columnar:
            (column,) = columnar.read_columns(path, (found[0],))
            words = [(f"{path}: row {n:,}", word) for n, word in enumerate(column, 1)]
        else:
            for line, row in rows:
                check_fields(f"{path}:{line}", row, len(first))
            words = [(f"{path}:{line}", row[found[0]].strip()) for line, row in rows[1:]]
        numbers = [rating_of(word, f"{where}: expected a rating") for where, word in words]
        check_one_a_query(path, len(numbers), expected=n_pairs)
        return np.array(numbers)
    table = read_pairs(
        path, names=names[:2], rating_name=names[2], positions=positions, needs_ratings=True
    )
    assert table.ratings is not None
    return _matched(path, (user_ids, item_ids), (table.user_ids, table.item_ids), table.ratings)


def _is_one_a_line(text: str) -> bool:
    """Whether the first line is of one word, which no separator divides, or there is none."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return len(re.split(r"[\s,;|]+|::", first.strip())) == 1


def _matched(
    path: Path,
    wanted: tuple[IdArray, IdArray],
    rated: tuple[IdArray, IdArray],
    ratings: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The (n,) ratings of the wanted pairs, of (m,) that are rated.

    Raises:
        InputError: a pair has none.
    """
    known: dict[Pair, list[float]] = {}
    for pair, rating in zip(_pairs(rated), ratings.tolist(), strict=True):
        known.setdefault(pair, []).append(rating)
    pairs = _pairs(wanted)
    if without := [pair for pair in pairs if pair not in known]:
        user, item = map(shown, without[0])
        raise InputError(
            f"{path}: expected a rating of each of {len(pairs):,} queries, got none of "
            f"{len(without):,}, the first of them user {user}, item {item}"
        )
    return np.array([sum(known[pair]) / len(known[pair]) for pair in pairs])


def _pairs(ids: tuple[IdArray, IdArray]) -> list[Pair]:
    """The (n,) pairs, as texts: a number is the text that it is written as."""
    users, items = (list(map(str, column.tolist())) for column in ids)
    return list(zip(users, items, strict=True))
