"""Times of ratings as seconds since 1970: of numbers in any unit, ISO 8601 texts, Arrow's types.

A column comes in blocks. Each is read by itself; which unit its numbers are of, and which times are
odd beside the others, is told by all of them together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.ids import NAMELESS, trimmed
from storage.lines import shown

if TYPE_CHECKING:
    import pyarrow as pa

EARLIEST, LATEST = 1e8, 5e9  # seconds since 1970 that ratings have: 1973 to 2128
UNITS = {1e0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
DAYS = (19_000_101, 21_001_231)  # 20200131 is one, and 202001311345 a minute of it
CLOCKS = {"%Y%m%d": 1, "%Y%m%d%H": 10**2, "%Y%m%d%H%M": 10**4, "%Y%m%d%H%M%S": 10**6}
SECONDS_A_YEAR = 31_556_952
LOOKED_AT = 100_000  # times whose median tells the unit
ODD_SHARE = 0.1  # of the times, from which on they are no times
FAR = 10 * SECONDS_A_YEAR  # from all others, where a few times are odd
FEW_SHARE = 0.01  # of the times, that are a few
FEWEST = 20  # times, of which one is a few
WITH_ZONE = r":\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$"
NOTHING = ("", "NaT", *NAMELESS)  # that is known
EXPECTED = "(seconds since 1970, or like 2020-01-31 13:45:00)"


class NoTimeError(ValueError):
    """A value is no time; `row` is its place among all of the column, from 0."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some values of a column, as far as can be told without the others."""

    values: NDArray[np.float64]  # (n,) numbers as they are, or seconds; NaN if nothing is known
    are_numbers: bool | None  # None if nothing is known
    n_zoned: int = 0  # texts with a time zone
    n_naive: int = 0  # and times of day without one, of which it is said that they are UTC
    wrong: tuple[int, str] | None = None  # the row within the block, and what stands there


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of a column."""

    seconds: NDArray[np.float64]  # (n,) since 1970, UTC, to the microsecond; NaN if not known
    n_odd: int  # that count as not known, as they are decades away from all others
    odd_row: int  # the first of them
    odd: str  # and what it is, for people
    is_mixed: bool  # whether some texts have a time zone and others do not


def read_block(column: "pa.Array") -> Block:
    """What the values of a block of a column are."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary.take(column.indices)
    kind = column.type
    if types.is_null(kind):
        return Block(values=np.full(len(column), np.nan), are_numbers=None)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _of_texts(column.cast(pa.string()))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return _block(column.cast(pa.float64(), safe=False), are_numbers=True)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _block(_seconds(column), are_numbers=False)
    return _wrong(len(column), 0, f"values of type {kind}")


def joined(blocks: Sequence[Block], like: Sequence[Block] | None = None) -> Times:
    """The times of all blocks of a column.

    Args:
        blocks: of the column.
        like: what tells the unit, and which times are odd, if these are not all blocks.

    Raises:
        NoTimeError: a value is no time, or a tenth of them are none that ratings can have.
    """
    deciding = blocks if like is None else like
    values = np.concatenate([np.empty(0), *(block.values for block in blocks)])
    whole = values if like is None else np.concatenate([block.values for block in like])
    kinds = {block.are_numbers for block in deciding} - {None}
    start, first = 0, next((b.are_numbers for b in deciding if b.are_numbers is not None), None)
    for block in blocks:
        if block.wrong:
            raise NoTimeError(start + block.wrong[0], block.wrong[1])
        if block.are_numbers not in (None, first):
            at = int(np.argmax(~np.isnan(block.values)))
            what = f"{block.values[at]:.15g}" if block.are_numbers else "a date"
            raise NoTimeError(start + at, f"{what}, unlike those above")
        start += len(block.values)
    if np.isnan(whole).all():
        raise NoTimeError(0, "nothing in all rows")
    n_known = len(values) - int(np.isnan(values).sum())
    divisor, seconds, some = 1.0, values, _some(whole)
    if True in kinds:
        if (days := _days(whole)) is not None and (mine := _days(values)) is not None:
            seconds, some = mine, _some(days)
        else:
            divisor = _unit(whole)
            seconds, some = values / divisor, some / divisor
    low, high = _range(some)
    odd = (seconds < low) | (seconds >= high)
    row, what = int(np.argmax(odd)) if len(odd) else 0, ""
    if n_odd := int(odd.sum()):
        what = f"{values[row]:.15g}, in the year {year_of(seconds[row])}"
        what = what if True in kinds else day_of(seconds[row])
    if n_odd > ODD_SHARE * n_known:
        unit = f", if others are {UNITS[divisor]}" if True in kinds else ""
        raise NoTimeError(row, f"{what}{unit}")
    seconds = seconds * 1e6
    np.rint(seconds, out=seconds)
    seconds /= 1e6
    seconds[odd] = np.nan
    n_zoned, n_naive = sum(b.n_zoned for b in deciding), sum(b.n_naive for b in deciding)
    return Times(
        seconds=seconds,
        n_odd=n_odd,
        odd_row=row,
        odd=what,
        is_mixed=n_zoned > 0 and n_naive > 0,
    )


def day_of(seconds: float) -> str:
    """The day, such as 2020-01-31."""
    if not -62_135_596_800 <= seconds < 253_402_300_800:  # the years 1 to 9999
        return f"the year {year_of(seconds)}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def year_of(seconds: float) -> int:
    """The year, whatever it is."""
    return int(np.floor(1970 + seconds / SECONDS_A_YEAR))


def span_of(seconds: NDArray[np.float64]) -> str:
    """The first and the last day of (n,) times of which at least one is known, for people."""
    return f"{day_of(float(np.nanmin(seconds)))} to {day_of(float(np.nanmax(seconds)))}"


def of_texts(texts: "pa.StringArray") -> "NDArray[np.float64] | None":
    """The (n,) seconds of ISO 8601 texts, NaN of null; None if one of them is none."""
    from pyarrow import compute

    texts = trimmed(texts)
    is_known = compute.is_valid(texts)
    known = texts.filter(is_known)
    if not (_can(known.slice(0, 1), _moments) and _can(known, _moments)):
        return None
    seconds = np.full(len(texts), np.nan)
    seconds[is_known.to_numpy(zero_copy_only=False)] = _moments(known)
    return seconds


def _block(seconds: "pa.Array", **others: "bool | int") -> Block:
    """A block of an Arrow array of float64."""
    values = np.array(seconds.to_numpy(zero_copy_only=False), np.float64)
    values[~np.isfinite(values)] = np.nan
    if np.isnan(values).all():
        return Block(values=values, are_numbers=None)
    return Block(values=values, **others)  # type: ignore[arg-type]


def _wrong(n: int, row: int, text: str) -> Block:
    return Block(values=np.full(n, np.nan), are_numbers=None, wrong=(row, text))


def _of_texts(texts: "pa.StringArray") -> Block:
    """Numbers, or dates and times of ISO 8601, with a time zone or in UTC."""
    import pyarrow as pa
    from pyarrow import compute

    texts = trimmed(texts)
    is_known = compute.invert(compute.is_in(texts, pa.array([*NOTHING, None], pa.string())))
    known = texts.filter(is_known)
    rows = np.flatnonzero(is_known.to_numpy(zero_copy_only=False))
    if not len(known):
        return Block(values=np.full(len(texts), np.nan), are_numbers=None)
    are_numbers = _can(known.slice(0, 1), _numbers)
    convert = _numbers if are_numbers else _moments
    if not _can(known, convert):
        at = _first_wrong(known, convert)
        return _wrong(len(texts), int(rows[at]), shown(known[at].as_py()))
    values = np.full(len(texts), np.nan)
    values[rows] = convert(known)
    if are_numbers:
        return Block(values=values, are_numbers=True)
    n_zoned = compute.match_substring_regex(_spelt(known), WITH_ZONE).true_count
    n_clocks = compute.match_substring(known, ":").true_count
    return Block(values=values, are_numbers=False, n_zoned=n_zoned, n_naive=n_clocks - n_zoned)


def _numbers(texts: "pa.StringArray") -> NDArray[np.float64]:
    import pyarrow as pa

    numbers = np.asarray(texts.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if not np.isfinite(numbers).all():
        raise pa.ArrowInvalid("not finite")
    return numbers


def _moments(texts: "pa.StringArray") -> NDArray[np.float64]:
    """The seconds of texts that Arrow reads as dates or times, those without a zone in UTC."""
    import pyarrow as pa
    from pyarrow import compute

    texts = _spelt(texts)
    zoned = compute.match_substring_regex(texts, WITH_ZONE)
    is_zoned = zoned.to_numpy(zero_copy_only=False)
    seconds = np.empty(len(texts))
    for mask, zone in ((is_zoned, "UTC"), (~is_zoned, None)):
        some = texts.filter(pa.array(mask)).cast(pa.timestamp("us", zone))
        seconds[mask] = _seconds(some).to_numpy(zero_copy_only=False)
    return seconds


def _spelt(texts: "pa.StringArray") -> "pa.StringArray":
    """Texts with day and zone written as Arrow reads them, and microseconds at most."""
    from pyarrow import compute

    texts = compute.replace_substring_regex(texts, r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3")
    texts = compute.replace_substring_regex(texts, r"(:\d\d(\.\d+)?) ?(UTC|z)$", r"\1Z")
    return compute.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")


def _seconds(column: "pa.Array") -> "pa.Array":
    """The seconds since 1970 of dates or timestamps, as float64."""
    import pyarrow as pa
    from pyarrow import compute

    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    micros = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    return compute.divide(micros.cast(pa.float64(), safe=False), 1e6)


def _can(values: "pa.Array", convert: "Callable[[pa.Array], object]") -> bool:
    import pyarrow as pa

    try:
        convert(values)
    except pa.ArrowInvalid:
        return False
    return True


def _first_wrong(values: "pa.Array", convert: "Callable[[pa.Array], object]") -> int:
    """The place of the first value that cannot be converted; there is one."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _can(values.slice(low, middle - low), convert):
            low = middle
        else:
            high = middle
    return low


def _days(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The seconds of days such as 20200131, maybe with hours, minutes and seconds behind; None if
    the numbers are none.
    """
    import pyarrow as pa
    from pyarrow import compute

    known = ~np.isnan(values)
    numbers = values[known]
    if (numbers != np.rint(numbers)).any():
        return None
    for style, times in CLOCKS.items():
        if len(numbers) and not all(
            DAYS[0] <= one // times <= DAYS[1] for one in (numbers.min(), numbers.max())
        ):
            continue
        texts = pa.array(numbers.astype(np.int64)).cast(pa.string())
        days = compute.strptime(texts, format=style, unit="s", error_is_null=True)
        if not days.null_count:
            seconds = np.full(len(values), np.nan)
            seconds[known] = _seconds(days).to_numpy(zero_copy_only=False)
            return seconds
    return None


def _unit(values: NDArray[np.float64]) -> float:
    """How many of the unit of the numbers are a second.

    Raises:
        NoTimeError: most of the numbers are no times of our days in any unit.
    """
    middle = float(np.nanmedian(_some(values)))
    for divisor in UNITS:
        if EARLIEST <= middle / divisor < LATEST:
            return divisor
    row = int(np.argmin(np.isnan(values)))
    raise NoTimeError(row, f"{values[row]:.15g}, in the year {year_of(values[row])}, if in seconds")


def _range(seconds: NDArray[np.float64]) -> tuple[float, float]:
    """From when on, and until when, times are like most; of none of our days, any time."""
    if not EARLIEST <= np.nanmedian(seconds) < LATEST:
        return -np.inf, np.inf
    some = np.sort(seconds[(seconds >= EARLIEST) & (seconds < LATEST)])
    if len(some) < FEWEST:
        return EARLIEST, LATEST
    few = max(int(FEW_SHARE * len(some)), 1)
    far = np.flatnonzero(np.diff(some) >= FAR) + 1  # where a few may end, or begin
    first, last = far[far <= few].max(initial=0), far[far >= len(some) - few].min(initial=len(some))
    return max(some[first] - FAR, EARLIEST), min(some[last - 1] + FAR, LATEST)


def _some(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Some of the values, evenly spread; all if nothing is known of those."""
    some = values[:: len(values) // LOOKED_AT + 1]
    return values if np.isnan(some).all() else some
