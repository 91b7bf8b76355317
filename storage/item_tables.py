"""Small tables with a row an item: what it is called, or what somebody rates it."""

import re
import warnings
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.columnar import format_of
from storage.columns import FRAME, Chosen, choose_pair_columns
from storage.delimited import read_rows
from storage.dialect import check_fields
from storage.errors import InputError
from storage.files import TEXT
from storage.frames import Frame
from storage.headerless import DECIMAL_COMMA, LEAST_THOUSANDS, check_thousands
from storage.lines import LARGEST_RATING, rating_of, shown, whole_text
from storage.names import is_called, is_named, plain_name
from storage.ratings import IdArray

MOST_BYTES = 1 << 28
YEARS = ("year", "releaseyear", "yearofrelease")  # names of the column of titles' years


class ItemRatings(NamedTuple):
    """What somebody rates items."""

    items: IdArray  # (n,) ids, or titles
    ratings: NDArray[np.float64]  # (n,)
    are_titles: bool = False  # whether they stand in a column of titles


def read_titles(
    path: Path,
    *,
    item_name: str = "item",
    item_ids: Container[str] = (),
    warn: Callable[[str], None] = warnings.warn,
) -> dict[str, str]:
    """The titles by item id, of a table in any format.

    The columns of item and title are told by their names; without such names they are the first
    two, as in MovieLens' `movies.dat` and `u.item`. A row with more or fewer fields is left out.

    Args:
        path: of the file.
        item_name: what the ratings call the column of items; such as `item_id` are known too.
        item_ids: those that are known; a first line with one of them is no header.
        warn: told in a line what was left out.

    Raises:
        InputError: the file cannot be read, or is no such table, as most of its rows say.
    """
    odd: list[InputError] = []
    pairs, _ = _pairs(path, ("item", "title"), (item_name, "title"), item_ids, odd)
    if len(odd) > len(pairs):
        raise odd[0]
    if odd:
        more = f", as are {len(odd) - 1:,} more" if len(odd) > 1 else ""
        warn(f"{odd[0]}; the row is left out{more}")
    return {item: title for _, item, title in pairs}


def read_item_ratings(
    path: Path,
    *,
    names: tuple[str, str] = ("item", "rating"),
    item_ids: Container[str] = (),
    titled: bool = True,
    within: tuple[float, float] = (-LARGEST_RATING, LARGEST_RATING),
    user_name: str = "user",
) -> ItemRatings:
    """The item ids, as texts, and ratings of one user, of a table in any format.

    A title has the year behind it that stands in a column of its own.

    Args:
        path: of the file.
        names: what the ratings of all users call the columns; such as `item_id` are known too.
        item_ids: those that are known; a first line with one of them is no header.
        titled: whether items have titles beside their ids; else a column of titles has ids.
        within: the lowest and the highest rating that there may be.
        user_name: what the ratings of all users call the column of these.

    Raises:
        InputError: the file cannot be read, or is no such table, or has ratings of several.
    """
    items, ratings = [], []
    pairs, are_titles = _pairs(
        path, ("item", "rating"), names, item_ids, user_name=user_name, titled=titled
    )
    for where, item, written in pairs:
        word = written.strip()
        if within[1] >= LEAST_THOUSANDS:
            check_thousands(word, f"{where}: expected a rating")
        is_comma = DECIMAL_COMMA.fullmatch(word)
        number = word.replace(",", ".") if is_comma else word
        rating = rating_of(number, f"{where}: expected a rating")
        if not within[0] <= rating <= within[1]:
            raise InputError(
                f"{where}: expected a rating from {within[0]:g} to {within[1]:g}, as in the data, "
                f"got {rating:g}"
            )
        items.append(item)
        ratings.append(rating)
    return ItemRatings(np.array(items, dtype=TEXT), np.array(ratings), are_titles)


def item_ratings_of(
    frame: Frame,
    *,
    names: tuple[str, str] = ("item", "rating"),
    titled: bool = True,
    user_name: str = "user",
) -> ItemRatings:
    """The item ids and ratings of one user, of columns in memory, as of `read_item_ratings`.

    Raises:
        InputError: they are no such columns.
    """
    chosen = choose_pair_columns(
        FRAME, [frame.column_names], has_header=True, roles=("item", "rating"), names=names
    )
    for at in _of_users(chosen, user_name):
        users = [str(one) for one in frame.select([at]).column(0).to_pylist()]
        _check_one_user(FRAME, chosen.names[at], users)
    are_titles, year = _titles(chosen, names[0], titled=titled)
    table = frame.select([*chosen.positions, *year])
    words = [[str(value) for value in column.to_pylist()] for column in table.columns]
    ratings = [rating_of(word, f"{FRAME}: expected a rating") for word in words[1]]
    items = [_with_year(*row) for row in zip(words[0], *words[2:], strict=True)]
    return ItemRatings(np.array(items, dtype=TEXT), np.array(ratings), are_titles)


def _pairs(
    path: Path,
    roles: tuple[str, str],
    names: tuple[str, str],
    item_ids: Container[str],
    odd: list[InputError] | None = None,
    *,
    user_name: str = "",
    titled: bool = False,
) -> tuple[list[tuple[str, str, str]], bool]:
    """Where it stands, item, and title or rating, of every row; whether items are titles.

    Raises:
        InputError: the file is no such table, or of several users where their column has a name,
            or a row is odd and there is no list for such.
    """
    choose = partial(choose_pair_columns, path, roles=roles, names=names)
    if columnar := format_of(path):
        chosen = choose([columnar.column_names(path)], has_header=True)
        are_titles, year = _titles(chosen, names[0], titled=titled)
        items, others, *years = columnar.read_columns(path, (*chosen.positions, *year))
        items = [_with_year(*row) for row in zip(items, *years, strict=True)]
        for at in _of_users(chosen, user_name):
            _check_one_user(path, chosen.names[at], columnar.read_columns(path, (at,))[0])
        places = (f"{path}: row {n:,}" for n in range(1, len(items) + 1))
        return list(zip(places, items, others, strict=True)), are_titles
    rows = read_rows(path, whole_text(path, MOST_BYTES))
    n_fields = len(rows[0][1])
    chosen = choose([row for _, row in rows if len(row) == n_fields], known=item_ids)
    are_titles, year = _titles(chosen, names[0], titled=titled)
    found = []
    for line, row in rows[bool(chosen.names) :]:
        try:
            check_fields(f"{path}:{line}", row, n_fields)
        except InputError as error:
            if odd is None:
                raise
            odd.append(error)
            continue
        item, other = (row[position].strip() for position in chosen.positions)
        item = _with_year(item, *(row[at] for at in year))
        found.append((f"{path}:{line}", item, other))
    for at in _of_users(chosen, user_name):
        users = [row[at] for _, row in rows[1:] if len(row) == n_fields]
        _check_one_user(path, chosen.names[at], users)
    return found, are_titles


def _titles(chosen: Chosen, item_name: str, *, titled: bool) -> tuple[bool, list[int]]:
    """Whether items, which have titles or not, are named in a column of titles; then the position
    of that of their years, if there is one.
    """
    name = chosen.names[chosen.positions[0]].strip() if chosen.names else ""
    if not titled or name == item_name or not is_called(name, "title"):
        return False, []
    return True, [at for at, one in enumerate(chosen.names) if plain_name(one) in YEARS][:1]


def _with_year(title: str, year: str = "") -> str:
    """The title with its year behind it, if it is known and does not stand there."""
    year = year.strip()
    is_new = re.fullmatch("[0-9]{4}", year) and not re.search(r"\([0-9]{4}\)\s*$", title)
    return f"{title} ({year})" if is_new else title


def _of_users(chosen: Chosen, user_name: str) -> list[int]:
    """The positions of columns of users; none if their name is not told."""
    names = enumerate(chosen.names if user_name else ())
    return [at for at, one in names if is_named(one.strip(), "user", user_name)]


def _check_one_user(path: Path, name: str, users: Sequence[str]) -> None:
    """Raises InputError if there are several."""
    if len(found := dict.fromkeys(user.strip() for user in users)) > 1:
        first, second = list(found)[:2]
        raise InputError(
            f"{path}: expected the ratings of one user, got {len(found):,} in column "
            f"{shown(name)}, such as {shown(first)} and {shown(second)}"
        )
