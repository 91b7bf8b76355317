"""JSON lines, an object a line: as Amazon, Yelp and Goodreads publish ratings and what is rated.

Arrow parses the values that are asked for, block by block, as of one type each, that of the first;
only a file that turns out to be wrong is walked line by line, to say where.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from storage.columns import Chosen
from storage.errors import InputError
from storage.lines import first_lines, opened_bytes, reason_of, shown
from storage.names import ROLES, TIME
from storage.parquet import as_arrays, as_texts, checked, readable

if TYPE_CHECKING:
    import pyarrow as pa

BEGIN = re.compile(r'\s*\{\s*["}]')
BLOCK_BYTES = 1 << 24
LONGEST_OBJECT = 1 << 24  # bytes more, that the last line of a block may have
BOM = b"\xef\xbb\xbf"

Object = dict[str, Any]


def is_it(path: Path) -> bool:
    """Whether the file begins like one.

    Raises:
        InputError: it cannot be read.
    """
    return BEGIN.match(first_lines(path)) is not None


def column_names(path: Path) -> list[str]:
    """The names of the values that the first objects have.

    Raises:
        InputError: the file cannot be read, or a line is no object.
    """
    return list(dict.fromkeys(name for one in _first_objects(path) for name in one))


def read_columns(path: Path, positions: tuple[int, ...]) -> list[list[str]]:
    """Values of a small table as texts, nothing as an empty one.

    Raises:
        InputError: the file cannot be read, or a line is no object, or one of other types.
    """
    import pyarrow as pa

    names = [column_names(path)[position] for position in positions]
    schema = _schema(path, names)
    with readable(path, "JSON lines"):
        table = pa.Table.from_batches(_parsed(path, schema), schema)
        return [as_texts(column) for column in table.columns]


def read_arrays(path: Path) -> list[tuple[str, "pa.Array"]]:
    """All values of a small table, by the names that any object has.

    Raises:
        InputError: the file cannot be read, or a line is no object, or one of other types.
    """
    from pyarrow import json as arrow_json

    column_names(path)  # which says what is wrong with a first line
    with readable(path, "JSON lines"), opened_bytes(path) as stream:
        table = arrow_json.read_json(
            stream, arrow_json.ReadOptions(block_size=BLOCK_BYTES + LONGEST_OBJECT)
        )
        table.validate(full=True)
        return as_arrays(table)


def batches(path: Path, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen values in blocks, as `checked` gives them.

    Raises:
        InputError: the file cannot be read, a line is no object, or one of other types, or has no
            id, no rating, or one out of range.
    """
    import pyarrow as pa

    roles, names = chosen.roles, [chosen.names[position] for position in chosen.read]
    odd = _odd_times(path, names[roles.index(TIME)]) if TIME in roles else ""
    schema = _schema(path, names[:-1] if odd else names, roles)
    rating = roles.index("rating") if "rating" in roles else -1
    numbers = schema
    if rating >= 0 and pa.types.is_string(schema.field(rating).type):
        numbers = schema.set(rating, schema.field(rating).with_type(pa.float64()))
    parsed = _parsed(path, schema, numbers)
    if odd:  # which are no times, as whoever reads them will say
        numbers = numbers.append(pa.field(names[-1], pa.string()))
        parsed = (
            pa.RecordBatch.from_arrays([*one.columns, pa.array([odd] * len(one))], schema=numbers)
            for one in parsed
        )
    with readable(path, "JSON lines"):
        yield from checked(path, numbers, parsed, roles)


def _odd_times(path: Path, name: str) -> str:
    """What the first values are that are neither all numbers nor all texts; empty if they are."""
    objects = _first_objects(path)
    values = [one[name] for one in objects if one.get(name) is not None]
    are_numbers = [type(one) in (int, float) for one in values]
    if all(are_numbers) or all(isinstance(one, str) for one in values):
        return ""
    return " and ".join(sorted({_kind(one) for one in values}))


def _first_objects(path: Path) -> list[Object]:
    objects = []
    for number, line in enumerate(first_lines(path).splitlines(), 1):
        if line.strip():
            objects.append(_object(f"{path}:{number}", line))
    return objects


def _object(where: str, line: str | bytes) -> Object:
    """The object that a line is.

    Raises:
        InputError: it is none.
    """
    expected = f"{where}: expected a JSON object on a line of its own"
    try:
        found = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        text = line if isinstance(line, str) else line.decode(errors="replace")
        got = f"{shown(text.strip())} ({reason_of(error)})"
        raise InputError(f"{expected}, got {got}") from None
    if not isinstance(found, dict):
        raise InputError(f"{expected}, got {_kind(found)}")
    return found


def _schema(path: Path, names: list[str], roles: Sequence[str] = ROLES) -> "pa.Schema":
    """The types of these values, by the first of each.

    Raises:
        InputError: one is of a type that no id or rating is of.
    """
    import pyarrow as pa

    fields, objects = [], _first_objects(path)
    for name, role in zip(names, roles, strict=False):
        values = [one[name] for one in objects if one.get(name) is not None]
        kinds = {type(value) for value in values}
        if not kinds:
            kinds = {float} if role == "rating" else {str}
        if kinds == {int, float} or (kinds == {int} and role == "rating"):
            kinds = {float}
        found = {str: pa.string(), int: pa.int64(), float: pa.float64()}.get(min(kinds, key=str))
        if found is None or len(kinds) > 1:
            got = " and ".join(sorted({_kind(value) for value in values}))
            raise InputError(
                f"{path}: expected {'numbers' if role == 'rating' else 'whole numbers or texts'} "
                f"as {shown(name)}, got {got}"
            )
        fields.append(pa.field(name, found))
    return pa.schema(fields)


def _parsed(
    path: Path, schema: "pa.Schema", wanted: "pa.Schema | None" = None
) -> Iterator["pa.RecordBatch"]:
    """Blocks of the values, of the types that are wanted if these are others.

    Raises:
        InputError: a line is no object, or one of other types.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    parsing = arrow_json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="ignore", newlines_in_values=False
    )
    n_before = 0
    for block in _blocks(path):
        reading = arrow_json.ReadOptions(block_size=len(block))
        try:
            table = arrow_json.read_json(pa.BufferReader(block), reading, parsing)
            table.validate(full=True)  # that texts are UTF-8
            table = table.select(schema.names).cast(wanted or schema)
        except pa.ArrowInvalid as error:
            _explain(path, block, n_before, wanted or schema, reason_of(error))
        yield from table.to_batches()
        n_before += block.count(b"\n")


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    with opened_bytes(path) as stream:
        mark = BOM
        while block := stream.read(BLOCK_BYTES):
            block = (block + stream.readline(LONGEST_OBJECT)).removeprefix(mark)
            mark = b""
            if block.strip():
                yield block


def _explain(path: Path, block: bytes, n_before: int, schema: "pa.Schema", reason: str) -> NoReturn:
    """Raises the InputError of the first line of a block that is wrong."""
    import pyarrow as pa

    for number, line in enumerate(block.split(b"\n"), n_before + 1):
        if not line.strip():
            continue
        found = _object(f"{path}:{number}", line)
        for field in schema:
            value = found.get(field.name)
            expected = {pa.string(): "a text", pa.int64(): "a whole number"}.get(
                field.type, "a number"
            )
            is_fit = {
                pa.string(): isinstance(value, str),
                pa.int64(): type(value) is int and abs(value) < 1 << 63,
            }.get(field.type, _is_number(value))
            if type(value) is int and pa.types.is_int64(field.type):
                expected = "a whole number of 64 bits, or a text in all lines,"
            if value is not None and not is_fit:
                raise InputError(
                    f"{path}:{number}: expected {expected} as {shown(field.name)}, as above, got "
                    f"{shown(json.dumps(value))}"
                )
    raise InputError(f"{path}: cannot be read as JSON lines ({reason})")


def _is_number(value: object) -> bool:
    """Whether it is a number, or a text of one."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: object) -> str:
    """What JSON calls the type of a value."""
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "null" if value is None else "a number")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
