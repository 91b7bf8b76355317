"""The true ratings of pairs that were predicted: one a line, or a table in any format."""

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.columnar import Format, format_of
from storage.columns import Columns, choose_pair_columns, rating_column
from storage.delimited import read_rows
from storage.dialect import check_fields
from storage.errors import InputError
from storage.item_tables import MOST_BYTES
from storage.lines import check_one_a_query, first_lines, rating_of, read_numbers, shown, whole_text
from storage.names import ROLES, is_named, plain_name
from storage.ratings import IdArray
from storage.tables import read_pairs

NUMBERED = re.compile(r"([A-Za-z]*)([0-9]{1,18})")
NUMBERING = ("", "id", "query", "pair", "row", "index", "name", "number", "no", "nr")

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
        rated = _in_order(path, rows, columnar, ids=(user_ids, item_ids), names=names)
        if rated is None:
            raise
        return rated
    table = read_pairs(
        path, names=names[:2], rating_name=names[2], positions=positions, needs_ratings=True
    )
    assert table.ratings is not None
    return _matched(path, (user_ids, item_ids), (table.user_ids, table.item_ids), table.ratings)


def _in_order(
    path: Path,
    rows: list[tuple[int, list[str]]],
    columnar: Format | None,
    *,
    ids: tuple[IdArray, IdArray],
    names: tuple[str, str, str],
) -> NDArray[np.float64] | None:
    """The ratings of a table that does not name both users and items, in the order of its rows;
    None if it has no column of ratings, or several.

    Raises:
        InputError: another of its columns tells that its rows are in another order.
    """
    first = columnar.column_names(path) if columnar else rows[0][1]
    first = [field.strip() for field in first]
    found = rating_column([first], (), name=names[2])
    if not found:
        return None
    for line, row in rows:
        check_fields(f"{path}:{line}", row, len(first))

    def column_at(position: int) -> list[str]:
        if columnar:
            return columnar.read_columns(path, (position,))[0]
        return [row[position].strip() for _, row in rows[1:]]

    words = column_at(found[0])
    places = [f"{path}:{line}" for line, _ in rows[1:]]
    if columnar:
        places = [f"{path}: row {n:,}" for n in range(1, len(words) + 1)]
    numbers = [
        rating_of(word, f"{where}: expected a rating")
        for where, word in zip(places, words, strict=True)
    ]
    check_one_a_query(path, len(numbers), expected=len(ids[0]))
    for position in (p for p in range(len(first)) if p != found[0]):
        try:
            column = column_at(position)
        except InputError:  # of values that are no ids
            continue
        role = next((r for r in (0, 1) if is_named(first[position], ROLES[r], names[r])), None)
        if role is not None:
            wanted = list(map(str, ids[role].tolist()))
            off = next((n for n, one in enumerate(column) if one != wanted[n]), None)
            if off is not None:
                raise InputError(
                    f"{places[off]}: expected {ROLES[role]} {shown(wanted[off])}, as in query "
                    f"{off + 1:,}, got {shown(column[off])}"
                )
        elif _is_shuffled(column, plain_name(first[position])):
            raise InputError(
                f"{path}: expected ratings in the order of the queries, or beside their users and "
                f"items, got rows that column {shown(first[position])} has in another order"
            )
    return np.array(numbers)


def _is_shuffled(column: list[str], name: str) -> bool:
    """Whether these are different whole numbers that are out of order; in a column of this name
    that numbers rows also behind letters that all begin with, as in `q12`.
    """
    if name not in NUMBERING and not all(map(str.isdecimal, column)):
        return False
    found = [NUMBERED.fullmatch(one) for one in column]
    parts = [(one[1], int(one[2])) for one in found if one]
    is_told = len(parts) == len(column) == len(set(parts)) and len({word for word, _ in parts}) == 1
    return is_told and parts != sorted(parts)


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
