"""Rows without a header: whether it is plain what stands in their columns."""

import re
from collections.abc import Sequence

from storage.errors import InputError
from storage.lines import number_of, shown
from storage.names import NAMES, ROLES, plain_name

LEVELS = 101  # whole numbers with more different values than this are no ratings, but ids
LARGEST_LEVEL = 100  # nor are whole numbers beyond this, on either side
FEWEST_NUMBERED = 6  # rows in a sequence that are no chance any more
SCALE = 10  # whole numbers from minus this to this can be ratings as well as ids
TIMES = ((1e8, 5e9), (1e11, 5e12), (1e14, 5e15))  # since 1970 in seconds, ms, μs; 1973 to 2128
DATE = re.compile(r"(19|20)\d\d-?(0[1-9]|1[0-2])-?([0-2]\d|3[01])([T ]\d\d:?\d\d.*)?")
IDS = {  # what ids of well-known kinds look like
    "user": re.compile(r"A(?=[A-Z]*[0-9])[0-9A-Z]{11,29}"),  # of Amazon
    "item": re.compile(r"B0[0-9A-Z]{8}|[0-9]{9}[0-9X]|97[89][0-9]{10}|tt[0-9]{7,8}"),  # ISBN, IMDb
}

DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
LEAST_THOUSANDS = 100  # what stands beside thousands, without a comma, comes up to that
WHOLE = re.compile(r"[+-]?[0-9]+")

Rows = Sequence[Sequence[str]]


def are_plain(rows: Rows) -> bool:
    """Whether rows without a header can only be of two ids, a rating, and maybe a time."""
    if len(rows[0]) not in (3, 4) or not is_number(rows[0][2]):
        return False
    rated = [row for row in rows if is_number(row[2])]  # the reader complains about the others
    columns = [[field.strip() for field in column] for column in zip(*rated, strict=True)]
    if 2 * len(rated) <= len(rows) or not all(map(are_times, columns[3:])):
        return False
    fields = [field for column in columns[:2] for field in column]
    has_fractions = any(is_number(field) and not _is_whole(field) for field in fields)
    others = any(map(are_times, columns[:3])) or any(map(_is_index, columns[:3]))
    return not has_fractions and not others and _can_be_ratings(*columns[:3])


def are_timed_pairs(rows: Rows) -> bool:
    """Whether rows without a header can only be of two ids and a time."""
    if len(rows[0]) != 3:
        return False
    columns = [[field.strip() for field in column] for column in zip(*rows, strict=True)]
    others = any(map(are_times, columns[:2])) or any(map(_is_index, columns[:2]))
    has_fractions = any(is_number(f) and not _is_whole(f) for one in columns[:2] for f in one)
    return are_times(columns[2]) and not others and not has_fractions


def id_order(rows: Rows) -> tuple[str, ...]:
    """The roles of the first two columns of rows without a header; empty if it is not plain.

    Whole numbers come as in MovieLens' files, the user first. Of texts some tell by what they look
    like: `u7`, `item_3`, ids of Amazon and IMDb.
    """
    columns = [[field.strip() for field in column] for column in list(zip(*rows, strict=True))[:2]]
    kinds = tuple(map(_kind, columns))
    if kinds[0] != kinds[1] and (kinds[0] != "item" and kinds[1] != "user"):
        return ROLES[:2]
    if kinds[0] != kinds[1]:
        return ROLES[1::-1]
    are_whole = all(_is_whole(field) for column in columns for field in column)
    return ROLES[:2] if are_whole and not kinds[0] else ()


def may_hold_ratings(column: Sequence[str]) -> bool:
    """Whether a column may be of ratings, by what stands in its first rows if they are known."""
    fields = [field.strip() for field in column if field.strip()]
    if not all(map(is_number, fields)) or _is_index(fields) or (fields and are_times(fields)):
        return False
    return all(len(f) < 9 and abs(int(f)) <= LARGEST_LEVEL for f in fields if _is_whole(f))


def are_ratings(rows: Rows, others: Sequence[int]) -> bool:
    """Whether all columns may be of ratings, but for those at the positions of others."""
    columns = enumerate(zip(*rows, strict=True))
    return all(may_hold_ratings(column) for at, column in columns if at not in others)


def is_like_below(rows: Rows, positions: Sequence[int]) -> bool:
    """Whether the first row looks like one of ids, whatever its rating is, and not like a header.

    Args:
        rows: the first of the table.
        positions: of user and item.
    """
    ids = [[row[position].strip() for row in rows] for position in positions]
    return any(is_number(column[0]) for column in ids) or any(
        all(map(re.compile(r".*\d").match, column)) for column in ids if len(column) > 1
    )


def counts_columns(first: Sequence[str]) -> bool:
    """Whether a first row is 0, 1, 2, …: what pandas calls columns that have no names."""
    return len(first) >= 3 and list(first) == [str(n) for n in range(len(first))]


def is_number(field: str) -> bool:
    """Whether a field of a table is a number, with a point or a comma."""
    try:
        number_of(field.strip(), float)
    except ValueError:
        return DECIMAL_COMMA.fullmatch(field.strip()) is not None
    return True


def check_thousands(word: str, expected: str) -> None:
    """Raises InputError if a rating may be thousands, such as `1,234`; `expected` begins it."""
    if THOUSANDS.fullmatch(word):
        raise InputError(
            f"{expected}, got {shown(word)}: write thousands without a comma, "
            "and decimals with a point"
        )


def are_times(fields: Sequence[str]) -> bool:
    """Whether all are dates, or times since 1970 of one unit."""
    if all(map(DATE.fullmatch, fields)):
        return True
    if not all(map(is_number, fields)) or any("," in f or f[0] == "0" for f in fields):
        return False  # ids may begin with 0, such as ISBN
    numbers = [float(field) for field in fields]
    return any(all(low <= number < high for number in numbers) for low, high in TIMES)


def _can_be_ratings(users: list[str], items: list[str], ratings: list[str]) -> bool:
    """Whether the third of three columns looks more like ratings than like ids."""
    levels = set(ratings)
    if not all(map(_is_whole, levels)):
        return True
    largest = max(abs(float(level)) for level in levels)
    if len(levels) > LEVELS or largest > LARGEST_LEVEL:
        return False
    # Where more or larger values stand than most scales have, and a scale elsewhere, these are ids.
    is_usual = len(levels) <= 2 * SCALE + 1 and largest <= SCALE
    return is_usual or not any(map(_may_be_ratings, (users, items)))


def _kind(ids: Sequence[str]) -> str:
    """Whether ids are of users or of items; empty if it cannot be told."""
    for role, looks in IDS.items():
        if all(map(looks.fullmatch, ids)) and not all(map(_is_whole, ids)):
            return role
        words = {re.sub(r"[\W\d_]+$", "", field) for field in ids}
        if len(words) == 1 and words != set(ids) and plain_name(min(words)) in NAMES[role]:
            return role
    return ""


def _is_index(fields: Sequence[str]) -> bool:
    """Whether these number the rows from 0 or 1."""
    wanted = [[str(n) for n in range(start, start + len(fields))] for start in (0, 1)]
    return len(fields) >= FEWEST_NUMBERED and list(fields) in wanted


def _may_be_ratings(fields: Sequence[str]) -> bool:
    """Whether more than one whole number stands there, and none that is too large for a scale."""
    whole = {int(field) for field in fields if _is_whole(field) and len(field) < 9}
    return len(whole) > 1 and all(map(_is_whole, fields)) and max(map(abs, whole)) <= SCALE


def _is_whole(field: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", field) is not None
