"""Tables drawn at random: what is read without being told is what was meant, or it is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from storage.errors import InputError
from storage.tables import read_ratings

T = 1_100_000_000
often = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@contextmanager
def written(text: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(text.encode())
        yield path


def rows_of(seed: int, n: int, *, prefix: bool, scale: int) -> dict[str, list[str]]:
    """Columns by what they hold."""
    draw = np.random.default_rng(seed)
    ids = {"user": draw.integers(18, 60, n), "item": draw.integers(200, 260, n)}
    columns = {
        role: [f"{role[0] if prefix else ''}{value}" for value in values]
        for role, values in ids.items()
    }
    ratings = draw.permutation(np.arange(n) % scale + 1) / (2 if scale == 10 else 1)
    return columns | {
        "rating": [f"{value:g}" for value in ratings],
        "time": [str(T + value) for value in draw.integers(0, 10**8, n)],
        "index": [str(value) for value in range(n)],
        "half": [str(value) for value in draw.integers(0, 2, n) * 5],
    }


@often
@given(
    seed=st.integers(0, 99),
    n=st.integers(8, 80),
    prefix=st.booleans(),
    scale=st.sampled_from([5, 10]),
    order=st.permutations(["user", "item", "rating", "time", "index", "half"]),
    width=st.sampled_from([3, 4]),
    separator=st.sampled_from([",", ";", "\t", "::"]),
)
def test_columns_without_a_header_are_those_that_were_meant(  # noqa: PLR0917
    seed: int, n: int, prefix: bool, scale: int, order: list[str], width: int, separator: str
) -> None:
    columns, names = rows_of(seed, n, prefix=prefix, scale=scale), order[:width]
    assume("half" not in names[:3])  # it may be a rating
    lines = zip(*(columns[name] for name in names), strict=True)
    with written("".join(separator.join(line) + "\n" for line in lines)) as path:
        try:
            table = read_ratings(path)
        except InputError as error:
            assert str(error).isprintable()
            assert names[:3] != ["user", "item", "rating"] or names[3:] not in ([], ["time"])
            return
    if names[:2] == ["item", "user"] and not prefix:
        names[:2] = ["user", "item"]  # which whole numbers do not tell
        columns["user"], columns["item"] = columns["item"], columns["user"]
    assert names[:3] == ["user", "item", "rating"]
    assert set(map(str, table.users)) == set(columns["user"])
    assert table.n_ratings + table.n_repeated == n


blanks = st.text(alphabet=" \t\u00a0", max_size=2)


@often
@given(
    ids=st.lists(
        st.tuples(*[st.sampled_from(["a", "b c", "7", "07"])] * 2), min_size=2, max_size=9
    ),
    around=st.lists(st.tuples(*[blanks] * 4), min_size=9, max_size=9),
    quoted=st.booleans(),
    kind=st.sampled_from(["text", "parquet", "frame"]),
)
def test_blanks_around_ids_change_nothing(
    ids: list[tuple[str, str]], around: list[tuple[str, ...]], quoted: bool, kind: str
) -> None:
    ids = list(dict.fromkeys([*ids, ("a", "b c"), ("7", "a")]))
    mark = '"' if quoted and kind == "text" else ""
    rows = [
        (f"{w}{mark}{user}{mark}{x}", f"{y}{mark}{item}{mark}{z}", float(n))
        for n, ((user, item), (w, x, y, z)) in enumerate(zip(ids, around, strict=False))
    ]
    if mark:  # outside of quotes only blanks and tabs are blanks
        rows = [(u.replace("\u00a0", " "), i.replace("\u00a0", " "), r) for u, i, r in rows]
    bare = [(*ids[n], rating) for n, (_, _, rating) in enumerate(rows)]
    expected = read_ratings(frame(bare)).digest
    table: Any
    if kind == "frame":
        table = read_ratings(frame(rows))
    else:
        with written(
            "user,item,rating\n" + "".join(f"{u},{i},{r:g}\n" for u, i, r in rows)
        ) as path:
            if kind == "parquet":
                parquet.write_table(frame(rows), path)
            table = read_ratings(path)
    assert table.digest == expected
    bare_ids, padded = ({*column} for column in zip(*bare, strict=True)), zip(*rows, strict=True)
    n_apart = sum(len({*p}) - len(b) for b, p in list(zip(bare_ids, padded, strict=True))[:2])
    assert mark or table.n_joined == n_apart


def frame(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return pa.table(dict(zip(("user", "item", "rating"), columns, strict=True)))


@often
@given(
    low=st.sampled_from([0.5, 1, -10, 0]),
    step=st.sampled_from([0.5, 1]),
    n_levels=st.integers(4, 21),
    code=st.sampled_from([99.0, -99.0, 999.0, 0.0, -1.0]),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
)
def test_a_code_is_told_and_leaving_it_out_is_as_if_it_was_not_there(  # noqa: PLR0917
    low: float, step: float, n_levels: int, code: float, share: float, seed: int
) -> None:
    scale = low + step * np.arange(n_levels)
    n, draw = 300, np.random.default_rng(seed)
    n_code = int(np.ceil(share * n))
    values = draw.permutation(np.append(np.full(n_code, code), draw.choice(scale, n - n_code)))
    rows = [(f"u{k % 17}", f"i{k // 17}", float(value)) for k, value in enumerate(values)]
    kept = [row for row in rows if row[2] != code]
    assume(len({row[2] for row in kept}) > 2)
    table = read_ratings(frame(rows))
    if abs(code) > 90 or (code == 0 and low > 0) or (code == -1 and low >= 0):
        assert (table.code, table.n_code) == (code, n_code)
    table = read_ratings(frame(rows), missing=code)
    assert table.n_missing == n - len(kept)
    assert table.digest == read_ratings(frame(kept)).digest
