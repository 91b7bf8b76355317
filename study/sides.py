"""What tables say of the users and items of ratings: read, matched by id, and as tensors."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import UNKNOWN, Description, Ids
from model.descriptions import MISSING, of_categories, of_numbers, of_several, weights_of
from storage.contents import Categories, Column, Numbers, digest_of, year_of
from storage.descriptions import DescriptionTable, read_descriptions
from storage.errors import ParameterError
from storage.files import TEXT
from storage.frames import Frame
from storage.ratings import IdArray


@dataclass(frozen=True, kw_only=True)
class Side:
    """The users, or the items: who they are, and what is known of them."""

    ids: Ids  # those of the ratings, and behind them those of the table alone
    descriptions: tuple[Description, ...] = ()
    table: DescriptionTable | None = None
    n_rated: int  # that have ratings, those of other ranks among them, as below
    n_described: int = 0  # of these, those in the table
    n_more: int = 0  # in the table alone
    digest: str = ""  # of what is used; empty if nothing is

    def described(self, role: str) -> str:
        """What is used of the table and of how many, for people."""
        assert self.table is not None
        text = self.table.described
        if self.n_described < self.n_rated:
            text += f"; {self.n_described:,} of {self.n_rated:,} {role}s are in the table"
        if self.n_more:
            text += f"; {self.n_more:,} without ratings"
        return f"{text}; {self.table.odd}" if self.table.odd else text


def read_side(
    source: Path | Frame | None, ids: IdArray, *, role: str, id_name: str, name: str
) -> Side:
    """One side of the ratings with what a table says of it.

    Args:
        source: the table; None if there is none.
        ids: (n,) of those who have ratings.
        role: `item` or `user`.
        id_name: what the ratings call the column of ids.
        name: what messages call the table.

    Raises:
        InputError: the table cannot be used.
    """
    rated = Ids(ids)
    if source is None:
        return Side(ids=rated, n_rated=len(ids))
    known = frozenset(map(str, ids.tolist()))
    table = read_descriptions(source, role=role, id_name=id_name, known_ids=known, name=name)
    is_new = (rated.index(table.ids) == UNKNOWN).numpy()
    n_described = len(table.ids) - int(is_new.sum())
    if not table.columns:  # nobody is known by it
        return Side(ids=rated, table=table, n_rated=len(ids), n_described=n_described)
    more = table.ids[is_new]
    kinds = {ids.dtype, more.dtype}
    one_kind = np.dtype(np.int64) if kinds == {np.dtype(np.int64)} else TEXT
    everybody = Ids(np.concatenate([ids.astype(one_kind), more.astype(one_kind)]))
    rows = everybody.index(table.ids).numpy()
    columns = [column.at(rows, len(everybody)) for column in table.columns]
    return Side(
        ids=everybody,
        descriptions=tuple(map(_as_tensors, columns)),
        table=table,
        n_rated=len(ids),
        n_described=n_described,
        n_more=len(more),
        digest=_digest(role, more, columns),
    )


def rows_of(side: Side, rows: NDArray[np.int64]) -> Side:
    """The side with some of its rows alone, and what is to be said of all."""
    at = torch.from_numpy(rows)
    described = (replace(one, values=one.values[at]) for one in side.descriptions)
    return replace(side, ids=Ids(side.ids.values[rows]), descriptions=tuple(described))


def described_by(
    descriptions: Sequence[Description], about: Mapping[str, str | float]
) -> tuple[Description, ...]:
    """All descriptions, of one row, of somebody of whom this is known, by column.

    What is not told is that of the average user. An empty value is one that is missing.

    Raises:
        InputError: there is no such column, or a value is none that it may have.
    """
    names = [one.name for one in descriptions]
    if unknown := [name for name in about if name not in names]:
        expected = f"columns of the users' table, {', '.join(names)}" if names else "no description"
        raise ParameterError("about", f"expected {expected}, got {unknown[0]}")
    found = []
    for description in descriptions:
        text = _text_of(description.name, about.get(description.name, ""))
        if not text and description.name in about and MISSING in description.labels:
            text = MISSING
        try:
            weights = _weights_of(description, text) if text else description.values.mean(0)
        except ValueError as error:
            raise ParameterError("about", f"{description.name}: {error}") from None
        found.append(replace(description, values=weights[None]))
    return tuple(found)


def _text_of(name: str, value: object) -> str:
    """A value as a table would have it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, Real | None):
        raise ParameterError("about", f"{name}: expected a text or a number, got {value!r}")
    return "" if value is None or math.isnan(value) else f"{float(value):.15g}"


def _weights_of(description: Description, text: str) -> Tensor:
    """As `weights_of`; a day counts as the year that it is of, as in a table.

    Raises:
        ValueError: as there.
    """
    try:
        return weights_of(description, text)
    except ValueError:
        if (year := year_of(text)) is None:
            raise
        return weights_of(description, f"{year:.6f}")


def _as_tensors(column: Column) -> Description:
    if isinstance(column, Numbers):
        return of_numbers(column.name, column.values)
    if isinstance(column, Categories):
        return of_categories(column.name, column.labels, column.codes)
    return of_several(column.name, column.labels, column.rows, column.codes, column.known)


def _digest(role: str, more: IdArray, columns: Sequence[Column]) -> str:
    text = json.dumps([role, list(map(str, more.tolist())), digest_of(columns)])
    return hashlib.sha256(text.encode()).hexdigest()
