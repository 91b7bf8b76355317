"""Which columns of a table hold user, item and rating: as told, or guessed where it is plain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from storage.errors import InputError
from storage.lines import number_of, shown

FRAME = Path("data frame")  # what messages call a table in memory
ROLES = ("user", "item", "rating")
NAMES = {  # lower case, without "id" at the end, an "s" behind that, or what is no letter
    "user": {"user", "u", "customer", "reviewer", "member", "profile", "account", "rater"},
    "item": {"item", "i", "movie", "book", "product", "film", "song", "track", "artist", "album"}
    | {"game", "anime", "business", "recipe", "joke", "isbn", "asin", "parentasin", "show"},
    "title": {"title", "name", "movietitle", "booktitle"},
    "rating": {"rating", "score", "star", "overall", "bookrating", "userrating", "starrating"},
}
LONGEST_LINE = 90  # characters of what is said of columns, where more need not be told
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

Columns = tuple[str, str, str]  # of user, item and rating: names, or positions from 1
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The columns that hold what is wanted."""

    positions: tuple[int, ...]  # from 0, in the order of the roles
    names: tuple[str, ...]  # of all columns; empty without a header
    guessed: bool

    def name(self, position: int) -> str:
        """What messages call a column."""
        return f"column {shown(self.names[position]) if self.names else position + 1}"

    @property
    def user_name(self) -> str:
        return self._name(0)

    @property
    def item_name(self) -> str:
        return self._name(1)

    def described(self, n_columns: int) -> str:
        """Which columns are read, and which are not, for people."""
        said = [shown(self.names[p])[1:-1] if self.names else p + 1 for p in self.positions]
        text = ", ".join(f"{role} {one}" for role, one in zip(ROLES, said, strict=False))
        if not self.names:
            text += ", no header"
        if n_others := n_columns - len(self.positions):
            others = [name for p, name in enumerate(self.names) if p not in self.positions]
            named = f"{text}; {', '.join(shown(name)[1:-1] for name in others)} not used"
            fits = others and len(named) <= LONGEST_LINE
            text = named if fits else f"{text}; {n_others} more not used"
        if not self.guessed or self.names:
            return text
        is_of_pairs = len(self.positions) < len(ROLES)
        mend = "begin the file with user,item" if is_of_pairs else "give --columns"
        return f"{text}; if that is wrong, {mend}"

    def _name(self, role: int) -> str:
        return self.names[self.positions[role]] if self.names else ROLES[role]


def choose_columns(
    path: Path, rows: Rows, *, has_header: bool = False, wanted: Columns | None = None
) -> Chosen:
    """The columns of user, item and rating in a table that begins with `rows`.

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
        by_name = not are_positions(wanted)
        positions = tuple(_told(path, first, column, by_name) for column in wanted)
        if len(set(positions)) < len(positions):
            got = ",".join(wanted)
            raise InputError(f"{_told_where(path)}: expected different columns, got {got}")
        header = has_header or by_name or not is_number(first[positions[2]])
        if header:
            _check_order(path, [first[position] for position in positions])
        return Chosen(positions=positions, names=tuple(first) if header else (), guessed=False)
    if len(first) == 2:
        raise InputError(
            f"{path}: expected at least three columns, user, item and rating, got two, "
            f"{' and '.join(map(shown, first))}: a rating is missing; pairs to predict are for "
            "best_predict --queries"
        )
    found = [_called(first, role) for role in ROLES]
    if all(len(positions) == 1 for positions in found):
        positions = tuple(position for (position,) in found)
        return Chosen(positions=positions, names=tuple(first), guessed=True)
    if not has_header and not any(found) and _is_plain(rows):
        if (order := _order(rows)) == ROLES[:2]:
            return Chosen(positions=tuple(range(len(ROLES))), names=(), guessed=True)
        what = "items first" if order else "ids that may be of either"
        example = "2,1,3" if order else "1,2,3 (user first) or 2,1,3"
        raise InputError(
            f"{path}: cannot tell whether users or items come first, got {what} in "
            f"{_fields(first)}; name the columns of user, item and rating in that order, like "
            f"--columns {example}, or begin with a line that does"
        )
    what = "columns" if has_header or any(found) else "a first line of"
    example = _example(first)
    raise InputError(
        f"{path}: cannot tell which columns hold user, item and rating, got {what} "
        f"{_fields(first)}; name them in that order, like "
        + (f'columns="{example}"' if path == FRAME else f"--columns {example}")
    )


def choose_pair_columns(
    path: Path,
    rows: Rows,
    *,
    has_header: bool = False,
    names: tuple[str, str] = ("user", "item"),
    positions: Columns | None = None,
) -> Chosen:
    """The columns of user and item in a table of pairs that begins with `rows`.

    Args:
        path: of the table.
        rows: the first, of equally many fields; the very first may be a header.
        has_header: whether the first row is known to be a header.
        names: what the ratings call the columns; such as `user_id` are known too.
        positions: where they are from 1 if there is no header; the first two if not told.

    Raises:
        InputError: there are no such columns, or it is not plain which they are.
    """
    first = [field.strip() for field in rows[0]]
    found = [
        [first.index(name)] if first.count(name) == 1 else _called(first, role)
        for name, role in zip(names, ROLES, strict=False)
    ]
    if all(len(columns) == 1 for columns in found) and found[0] != found[1]:
        return Chosen(positions=(found[0][0], found[1][0]), names=tuple(first), guessed=True)
    if not has_header and not any(found) and not _has_words_above_numbers(rows):
        if positions is not None:
            told = tuple(_told(path, first, column, by_name=False) for column in positions[:2])
            return Chosen(positions=told, names=(), guessed=False)
        if len(first) == 2 or _is_plain(rows):
            return Chosen(positions=(0, 1), names=(), guessed=True)
    call = "call them" if has_header else "begin with a line that calls them"
    raise InputError(
        f"{path}: cannot tell which columns hold user and item, got {_fields(first)}; {call} "
        f"{' and '.join(map(shown, names))}"
    )


def are_positions(columns: Columns) -> bool:
    """Whether columns are told by position, not by name."""
    return all(column.isdecimal() for column in columns)


def plain_name(name: str) -> str:
    """What matters of a column's name, such as `user` of `User-ID` or `userId:token`.

    Empty if it holds digits: `user7` is an id.
    """
    if any(map(str.isdecimal, name)):
        return ""
    letters = re.sub(r"[^a-z]", "", name.partition(":")[0].lower())
    return re.sub(r"(?<=.)(ids?|index|idx|num|s)$", "", letters)


def is_number(field: str) -> bool:
    """Whether a field of a table is a number, with a point or a comma."""
    try:
        number_of(field.strip(), float)
    except ValueError:
        return DECIMAL_COMMA.fullmatch(field.strip()) is not None
    return True


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
    raise InputError(f"{_told_where(path)}: {why} {shown(column)} among {_fields(first)}{hint}")


def _told_where(path: Path) -> str:
    """What messages call columns that were told for a table."""
    return f"{path}: {'columns' if path == FRAME else '--columns'}"


def _check_order(path: Path, told: Sequence[str]) -> None:
    """Raises InputError if a column that is called a rating was told as user or item."""
    are_ratings = [plain_name(name) in NAMES["rating"] for name in told]
    if any(are_ratings[:2]) and not all(are_ratings[2:]):
        got = [f"{shown(name)} as {role}" for name, role in zip(told, ROLES, strict=False)]
        raise InputError(
            f"{_told_where(path)}: expected user, item and rating in this order, "
            f"got {', '.join(got)}"
        )


def _called(first: Sequence[str], role: str) -> list[int]:
    """The positions of the columns whose name is one of a role."""
    return [p for p, name in enumerate(first) if plain_name(name) in NAMES[role]]


def _is_plain(rows: Rows) -> bool:
    """Whether rows without a header can only be of two ids, a rating, and maybe a time."""
    if len(rows[0]) not in (3, 4) or not is_number(rows[0][2]):
        return False
    rated = [row for row in rows if is_number(row[2])]  # the reader complains about the others
    columns = [[field.strip() for field in column] for column in zip(*rated, strict=True)]
    if 2 * len(rated) <= len(rows) or not all(map(_are_times, columns[3:])):
        return False
    fields = [field for column in columns[:2] for field in column]
    has_fractions = any(is_number(field) and not _is_whole(field) for field in fields)
    others = any(map(_are_times, columns[:3])) or any(map(_is_index, columns[:3]))
    return not has_fractions and not others and _can_be_ratings(*columns[:3])


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


def _order(rows: Rows) -> tuple[str, ...]:
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


def _kind(ids: Sequence[str]) -> str:
    """Whether ids are of users or of items; empty if it cannot be told."""
    for role, looks in IDS.items():
        if all(map(looks.fullmatch, ids)) and not all(map(_is_whole, ids)):
            return role
        words = {re.sub(r"[\W\d_]+$", "", field) for field in ids}
        if len(words) == 1 and words != set(ids) and plain_name(min(words)) in NAMES[role]:
            return role
    return ""


def _are_times(fields: Sequence[str]) -> bool:
    """Whether all are dates, or times since 1970 of one unit."""
    if all(map(DATE.fullmatch, fields)):
        return True
    if not all(map(is_number, fields)) or any("," in f or f[0] == "0" for f in fields):
        return False  # ids may begin with 0, such as ISBN
    numbers = [float(field) for field in fields]
    return any(all(low <= number < high for number in numbers) for low, high in TIMES)


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


def _has_words_above_numbers(rows: Rows) -> bool:
    """Whether the first row differs from the second as a header of unknown names does."""
    pairs = zip(*rows[:2], strict=True) if len(rows) > 1 else ()
    return any(is_number(below) and not is_number(above) for above, below in pairs)


def _fields(first: Sequence[str]) -> str:
    return ", ".join(shown(field) for field in first[:12])


def _example(first: Sequence[str]) -> str:
    names = [name for name in first if re.fullmatch(r"[A-Za-z][\w-]{,30}", name)]
    return ",".join(names[:3]) if len(names) >= 3 else "1,2,3"
