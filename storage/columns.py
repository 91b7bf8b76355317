"""Which columns of a table hold user, item and rating: as told, or guessed where it is plain."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from storage.errors import ColumnError, InputError
from storage.headerless import (
    Rows,
    are_plain,
    are_ratings,
    are_timed_pairs,
    are_times,
    counts_columns,
    id_order,
    is_like_below,
    is_number,
    may_hold_ratings,
)
from storage.lines import bare, shown
from storage.names import ROLES, TIME, is_called, plain_name
from storage.proposals import proposal

FRAME = Path("data frame")  # what messages call a table in memory
OWN_RATINGS = ("myrating", "yourrating")  # what somebody's export of their own calls them
LONGEST_LINE = 90  # characters of what is said of columns, where more need not be told

Columns = tuple[str, ...]  # of user, item, rating and maybe time: names, or positions from 1


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The columns that hold what is wanted."""

    positions: tuple[int, ...]  # from 0, in the order of the roles
    names: tuple[str, ...]  # of all columns; empty without a header
    guessed: bool
    time: int | None = None  # the position of the column of times, if there is one
    time_is_told: bool = False  # not found by its name

    @property
    def read(self) -> tuple[int, ...]:
        """The positions of all columns that are read."""
        return self.positions if self.time is None else (*self.positions, self.time)

    @property
    def roles(self) -> tuple[str, ...]:
        """What these hold."""
        return (*ROLES[: len(self.positions)], *(() if self.time is None else (TIME,)))

    @property
    def time_name(self) -> str:
        """What the column of times is called; empty if nothing names it."""
        return self.names[self.time] if self.names and self.time is not None else ""

    def name(self, position: int) -> str:
        """What messages call a column."""
        return f"column {shown(self.names[position]) if self.names else position + 1}"

    @property
    def user_name(self) -> str:
        return self._name(0)

    @property
    def item_name(self) -> str:
        return self._name(1)

    @property
    def rating_name(self) -> str:
        """What the column of ratings is called; empty if there is none, or nothing names it."""
        return "".join(self.names[p] for p in self.positions[2:]) if self.names else ""

    def described(self, n_columns: int) -> str:
        """Which columns are read, and which are not, for people."""
        said = [bare(self.names[p]) if self.names else p + 1 for p in self.read]
        text = ", ".join(f"{role} {one}" for role, one in zip(self.roles, said, strict=True))
        if not self.names:
            text += ", no header"
        if n_others := n_columns - len(self.read):
            others = [name for p, name in enumerate(self.names) if p not in self.read]
            named = f"{text}; {', '.join(map(bare, others))} not used"
            fits = others and len(named) <= LONGEST_LINE
            text = named if fits else f"{text}; {n_others} more not used"
        if not self.guessed or self.names:
            return text
        is_of_pairs = len(self.positions) < len(ROLES)
        mend = "begin the file with user,item" if is_of_pairs else "give columns="
        return f"{text}; if that is wrong, {mend}"

    def _name(self, role: int) -> str:
        return self.names[self.positions[role]] if self.names else ROLES[role]


def choose_columns(
    path: Path, rows: Rows, *, has_header: bool = False, wanted: Columns | None = None
) -> Chosen:
    """The columns of user, item, rating and maybe time in a table that begins with `rows`.

    Args:
        path: of the table.
        rows: the first, of equally many fields; the very first may be a header.
        has_header: whether the first row is known to be a header.
        wanted: the columns that were told.

    Raises:
        InputError: there are no such columns, or it is not plain which they are.
    """
    first = [field.strip() for field in rows[0]]
    if wanted is not None:
        # Where columns are called 0, 1, 2, a 0 tells that these are meant: positions count from 1.
        by_name = not are_positions(wanted) or ("0" in wanted and {*wanted} <= {*first})
        told = tuple(_told(path, first, column, by_name) for column in wanted)
        positions = told[: len(ROLES)]
        if len(set(told)) < len(told):
            got = ",".join(wanted)
            raise InputError(f"{path}: expected different columns, got {got} in columns=")
        header = has_header or by_name or not is_number(first[positions[2]])
        if header and not (has_header or by_name):
            header = not is_like_below(rows, positions[:2])
        header = header or (not first[0] and counts_columns(first[1:]))  # above row numbers
        if header:
            _check_order(path, [first[position] for position in positions])
        return Chosen(
            positions=positions,
            names=tuple(first) if header else (),
            guessed=False,
            time=told[3] if told[3:] else _time(rows, positions, has_header=header),
            time_is_told=bool(told[3:]),
        )
    if len(first) == 2:
        more = "a rating is missing; such pairs can be predicted, not learned from"
        if _called(first, "rating"):
            lacking = next(role for role in ROLES[:2] if not _called(first, role))
            more = f"the {lacking} is missing"
        raise InputError(
            f"{path}: expected at least three columns, user, item and rating, got two, "
            f"{' and '.join(map(shown, first))}: {more}"
        )
    found = [_called(first, role) for role in ROLES]
    if all(len(positions) == 1 for positions in found):
        positions = tuple(position for (position,) in found)
        time = _time(rows, positions, has_header=True)
        return Chosen(positions=positions, names=tuple(first), guessed=True, time=time)
    if not has_header and not any(found) and are_plain(rows):
        if counts_columns(first) and not any(row[0].strip() == "0" for row in rows[1:]):
            raise InputError(
                f"{path}:1: cannot tell whether {_fields(first)} are names of columns or a rating; "
                "columns='0,1,2' takes them as names, columns='1,2,3' as a rating"
            )
        if (order := id_order(rows)) == ROLES[:2]:
            positions = tuple(range(len(ROLES)))
            time = _time(rows, positions, has_header=False)
            return Chosen(positions=positions, names=(), guessed=True, time=time)
        what = "items first" if order else "ids that may be of either"
        user_first = "" if order else "columns='1,2,3' (user first) or "
        raise InputError(
            f"{path}: cannot tell whether users or items come first, got {what} in "
            f"{_fields(first)}; name the columns of user, item and rating in that order, like "
            f"{user_first}columns='2,1,3', or begin with a line that does"
        )
    what, more = "columns" if has_header or any(found) else "a first line of", ""
    is_wide = found[0] and not found[1] and not found[2] and are_ratings(rows[1:], found[0])
    if is_wide or (has_header and all(map(str.isdecimal, first))):
        more = ", or unpivot a matrix of users × items into rows"
    like = "0,1,2" if counts_columns(first) else proposal(rows, found)
    if not (like or more or found[2]) and bool(found[0]) != bool(found[1]):
        more = f", unless this is a table of {'users' if found[0] else 'items'} and no ratings"
    how = f"like columns={like!r}" if like else "as columns=USER,ITEM,RATING"
    raise InputError(
        f"{path}: cannot tell which columns hold user, item and rating, got {what} "
        f"{_fields(first)}; name them in that order, {how}{more}"
    )


def choose_pair_columns(
    path: Path,
    rows: Rows,
    *,
    has_header: bool = False,
    roles: tuple[str, str] = ("user", "item"),
    names: tuple[str, str] = ("user", "item"),
    rating_name: str | None = None,
    time_name: str = "",
    known: Container[str] = (),
    positions: Columns | None = None,
) -> Chosen:
    """The columns of two roles, such as user and item, in a table that begins with `rows`.

    Beside user and item a column of times is found as beside ratings, and one of ratings if it is
    looked for.

    Args:
        path: of the table.
        rows: the first, of equally many fields; the very first may be a header.
        has_header: whether the first row is known to be a header.
        roles: of the columns.
        names: what the ratings call the columns; such as `user_id` are known too.
        rating_name: what they call that of the ratings; such as `stars` are known too. None if
            ratings are not looked for.
        time_name: what the ratings call the column of times, if they have one.
        known: ids; a first row with one of them is no header.
        positions: where they are from 1 if there is no header; the first two if not told.

    Raises:
        InputError: there are no such columns, or it is not plain which they are.
    """
    first = [field.strip() for field in rows[0]]
    told = [[first.index(name)] if first.count(name) == 1 else [] for name in names]
    found = [one or _called(first, role) for one, role in zip(told, roles, strict=True)]
    if roles[1] == "title" and found[1] and not found[0]:
        found[0] = [p for p, name in enumerate(first) if plain_name(name) == "id"]
    if roles == ("item", "rating") and not found[0]:  # where a title names an item
        found[0] = _called(first, "title")
    if roles == ("item", "rating") and not found[1]:
        found[1] = [p for p, name in enumerate(first) if plain_name(name) in OWN_RATINGS]
    is_row = not (has_header or all(told)) and any(
        field in known or is_number(field) for field in first[:2]
    )
    if not is_row and all(len(columns) == 1 for columns in found) and found[0] != found[1]:
        at: tuple[int, ...] = (found[0][0], found[1][0])
        time = None
        if rating_name is not None:
            at += rating_column(rows, at, name=rating_name)
        if roles == ROLES[:2]:
            time = _time(rows, at, has_header=True, name=time_name)
        return Chosen(positions=at, names=tuple(first), guessed=True, time=time)
    if is_row or not (has_header or any(found) or _has_words_above_numbers(rows)):
        if positions is not None:
            user, item = (_told(path, first, one, by_name=False) for one in positions[:2])
            at = (user, item)
            if rating_name is not None and positions[2:]:
                at += _rating_at(rows, int(positions[2]) - 1)
            time = _time(rows, at, has_header=False)
            return Chosen(positions=at, names=(), guessed=False, time=time)
        is_plain = roles == ROLES[:2] and (are_plain(rows) or are_timed_pairs(rows))
        if len(first) == 2 or roles[1] == "title" or is_plain:
            at = (0, 1)
            if rating_name is not None and is_plain:
                at += _rating_at(rows, 2)
            time = _time(rows, at, has_header=False) if is_plain else None
            return Chosen(positions=at, names=(), guessed=True, time=time)
    call = "call them" if has_header else "begin with a line that calls them"
    raise InputError(
        f"{path}: cannot tell which columns hold {' and '.join(roles)}, got {_fields(first)}; "
        f"{call} {' and '.join(map(shown, names))}"
    )


def are_positions(columns: Columns) -> bool:
    """Whether columns are told by position, not by name."""
    return all(column.isdecimal() for column in columns)


def rating_column(rows: Rows, others: Sequence[int], *, name: str) -> tuple[int, ...]:
    """The position of the one column beside the others that is called so, or else like a rating;
    none if there are none or several.
    """
    first = [field.strip() for field in rows[0]]
    named = [p for p, one in enumerate(first) if one == name and p not in others]
    found = named or [p for p in _called(first, "rating") if p not in others]
    return tuple(found) if len(found) == 1 else ()


def _told(path: Path, first: Sequence[str], column: str, by_name: bool) -> int:
    """The position of a column that is told by name, or by position from 1."""
    if by_name and first.count(column) == 1:
        return first.index(column)
    if not by_name and len(column) < 10 and 1 <= int(column) <= len(first):
        return int(column) - 1
    why = "more than one column" if by_name and column in first else "no column"
    names = {name.casefold(): name for name in first}
    near = get_close_matches(column.casefold(), names, n=1) if column not in first else []
    hint = f"; did you mean {shown(names[near[0]])}?" if near else ""
    if by_name and column in first:
        at = " and ".join(str(p) for p, name in enumerate(first, 1) if name == column)
        hint = f"; tell all three by position: they are {at}"
    what = f"{why} {shown(column)} among {_fields(first)}"
    raise ColumnError(f"{path}: in columns=, {what}{hint}")


def _check_order(path: Path, told: Sequence[str]) -> None:
    """Raises InputError if a column that is called a rating was told as user or item."""
    are_ratings = [is_called(name, "rating") for name in told]
    if any(are_ratings[:2]) and not all(are_ratings[2:]):
        got = [f"{shown(name)} as {role}" for name, role in zip(told, ROLES, strict=False)]
        raise InputError(
            f"{path}: in columns=, expected user, item and rating in this order, "
            f"got {', '.join(got)}"
        )


def _rating_at(rows: Rows, position: int) -> tuple[int, ...]:
    """That position, if rows without a header have there what may be ratings; else none."""
    column = [row[position] for row in rows if position < len(row)]
    return (position,) if column and may_hold_ratings(column) else ()


def _time(rows: Rows, positions: Sequence[int], *, has_header: bool, name: str = "") -> int | None:
    """The position of the column beside those that is called so, or whose name says that it holds
    times: of several one that is called a time stamp, or else a date, before a time.

    Without a header, the last of at most four columns, if it can only hold times.
    """
    others = [p for p in range(len(rows[0])) if p not in positions]
    if has_header:
        named = [p for p in others if name and rows[0][p].strip() == name]
        found = named or [p for p in others if is_called(rows[0][p].strip(), TIME)]
        found = sorted(found, key=lambda p: _rank_of_time(rows[0][p]))[:1]
    elif len(rows[0]) <= 4:
        fields = {p: [row[p].strip() for row in rows if row[p].strip()] for p in others[-1:]}
        found = [p for p in fields if fields[p] and are_times(fields[p])]
    else:
        found = []
    return found[0] if len(found) == 1 else None


def _rank_of_time(name: str) -> int:
    """How far behind a column of this name stands among columns of times."""
    plain = plain_name(name)
    if re.search("stamp|unix|datetime", plain):
        return 0
    return 2 if plain.endswith("time") else 1


def _called(first: Sequence[str], role: str) -> list[int]:
    """The positions of the columns whose name is one of a role."""
    return [p for p, name in enumerate(first) if is_called(name, role)]


def _has_words_above_numbers(rows: Rows) -> bool:
    """Whether the first row differs from the second as a header of unknown names does."""
    pairs = zip(*rows[:2], strict=True) if len(rows) > 1 else ()
    return any(is_number(below) and not is_number(above) for above, below in pairs)


def _fields(first: Sequence[str]) -> str:
    return ", ".join(shown(field) for field in first[:12])
