"""Tables that ranks read together: what they have is, put together, what one process reads."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import csv
from pyarrow.parquet import write_table

from model.biases import fit_biases
from model.dataset import Ratings
from model.selection import spread_rows
from model.splits import Split, split
from model.world import ALONE, World
from storage.errors import InputError
from storage.files import TEXT
from storage.sources import Sources
from study.answers.asked import kind_asked
from study.answers.levels import Residuals
from study.inputs import load_data, with_pairs
from study.record.likeness import Hashed
from study.shards import SAMPLED, Ranges, Together
from tests.ranks import on_ranks

N_RATINGS, N_PAIRS = 1_500, 300
SOURCES = {  # options beside the data
    "numbers": {},
    "texts": {},
    "mixed": {},
    "missing": {"missing": 99.0},
    "described": {"items": "items.csv", "users": "users.csv"},
    "mat_comp": {},
}
BAD = {
    "bad": "bad/b.csv:2: expected a rating in column 'rating', a number from",
    "other": "other/b.csv: expected the columns of",
    "few": "few: expected users enough for",
}


def table_of(seed: int = 0) -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(seed)
    n = N_RATINGS
    return {
        "user": (draw.random(n) ** 2 * 80).astype(np.int64),  # some rate much more than others
        "item": draw.integers(0, 40, n),
        "rating": draw.integers(1, 6, n),
        "timestamp": 1_000_000_000 + draw.integers(0, 10**8, n),
    }


def written(folder: Path, parts: list[dict[str, Any]], *, is_text: bool) -> None:
    folder.mkdir()
    for number, part in enumerate(parts):
        if is_text:
            csv.write_csv(pa.table(part), folder / f"{number}.csv")
        else:
            write_table(pa.table(part), folder / f"{number}.parquet", row_group_size=200)


def cut(table: dict[str, NDArray[Any]], *ends: int) -> list[dict[str, Any]]:
    bounds = [0, *ends, N_RATINGS]
    return [
        {name: column[start:end] for name, column in table.items()}
        for start, end in pairwise(bounds)
    ]


def as_texts(part: dict[str, Any]) -> dict[str, Any]:
    """Ids as texts, of which some differ in their blanks alone, and times in milliseconds."""
    users = [f"u{one}" + " " * (n % 7 == 0) for n, one in enumerate(part["user"])]
    items = [f"i{one}" + " " * (n % 11 == 0) for n, one in enumerate(part["item"])]
    return {"user": users, "item": items, "stars": part["rating"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, table = tmp_path_factory.mktemp("shards"), table_of()
    parts = cut(table, 400, 450, 1_100)
    written(root / "numbers", parts, is_text=False)
    written(root / "texts", [as_texts(part) for part in parts], is_text=True)
    mixed = [*parts[:3], parts[3] | {"user": [f"{one}x" for one in parts[3]["user"]]}]
    written(root / "mixed", mixed, is_text=True)
    rated = np.where(np.arange(N_RATINGS) % 5 == 0, 99, table["rating"])
    missing = table | {"rating": rated, "timestamp": table["timestamp"] * 1_000}
    written(root / "missing", cut(missing, 800), is_text=False)
    written(root / "described", parts, is_text=False)
    years, ages = [f"{one},{1950 + one % 50}" for one in range(45)], np.arange(90)
    (root / "items.csv").write_text("\n".join(["item,year", *years]))
    users = [f"{one},{20 + one % 40},{'mf'[one % 2]}" for one in ages]
    (root / "users.csv").write_text("\n".join(["user,age,gender", *users]))
    pairs = {name: column[:N_PAIRS] for name, column in table_of(1).items()}
    pairs["user"] = np.where(np.arange(N_PAIRS) % 9 == 0, 1_000, pairs["user"])
    for name in ("numbers", "mixed", "missing", "described"):
        csv.write_csv(pa.table(pairs), root / f"{name}.csv")
    csv.write_csv(pa.table(as_texts(pairs)), root / "texts.csv")
    write_mat_comp(root / "mat_comp", table, pairs)
    header = '"user","item","rating"\n'
    for name, second in (("bad", f"{header}1,2,x\n"), ("other", '"user","item","stars"\n1,2,3\n')):
        (root / name).mkdir()
        (root / name / "a.csv").write_text(header + "".join(f"{n},1,3\n" for n in range(50)))
        (root / name / "b.csv").write_text(second)
    (root / "few").mkdir()
    (root / "few" / "a.csv").write_text(header + "".join(f"1,{n},{n % 5}\n" for n in range(50)))
    return root


def write_mat_comp(path: Path, table: dict[str, Any], pairs: dict[str, Any]) -> None:
    rows = zip(table["user"] + 1, table["item"] + 1, table["rating"], strict=True)
    lines = [f"2000 100 {N_RATINGS}", *(f"{u} {i} {r}" for u, i, r in rows), str(N_PAIRS)]
    lines += [f"{u + 1} {i + 1}" for u, i in zip(pairs["user"], pairs["item"], strict=True)]
    path.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Seen:
    """What a rank has, or one process alone."""

    columns: dict[str, NDArray[Any]]  # that are put together, one rank's behind the other's
    shared: dict[str, Any]  # that are the same on all
    n_users: int


def seen(world: World, folder: Path, name: str) -> Seen:
    files = {key: folder / one for key, one in SOURCES[name].items() if isinstance(one, str)}
    told = Sources(data=folder / name, missing=SOURCES[name].get("missing"), **files)
    data = load_data(told, runs=folder / "runs", world=world)
    if name != "mat_comp":
        data = with_pairs(data, folder / f"{name}.csv", runs=folder / "runs")
    ratings, table = data.ratings, data.table
    columns = {
        "users": table.users.astype(TEXT).astype(object),
        "all_users": data.users.values.astype(TEXT).astype(object),
        "user_index": ratings.users[table.user_index].numpy(),
        "user_numbers": ratings.users.numpy(),
        "user_ids": table.user_ids.astype(TEXT).astype(object),
        "item_index": table.item_index,
        "ratings": table.ratings,
        "of_user": ratings.counts(ratings)[0].numpy(),
        "of_item": ratings.counts(ratings)[1].numpy(),
    }
    if table.times is not None:
        columns["times"] = table.times
    for description in ratings.user_descriptions:
        columns[f"described by {description.name}"] = description.values.numpy()
    kinds = list(Split) if table.times is not None else [Split.RANDOM, Split.ITEMS, Split.USERS]
    for kind in kinds:
        for window in range(2 if kind in (Split.LATEST, Split.TIME) else 1):
            columns[f"{kind} {window}"] = held_out(ratings, kind, window)
    training, validation = split(ratings, seed=3)
    biases = fit_biases(training).predict(validation).numpy()
    residuals = Residuals.of(training, validation, validation.values.numpy() * 0.9, biases=biases)
    queries = data.of_all_queries({"known": data.queries.user_index.numpy() >= 0})
    sample = Hashed(load_data(told, runs=folder / "runs").table).sample()
    columns["spread"] = numbers_of(ratings)[spread_rows(len(ratings), 500, world)].numpy()
    shared = {
        "items": table.items.tolist(),
        "described": data.described().replace(f"{folder}/", ""),  # others have their own
        "digest": table.digest,
        "range": data.known.range,
        "present": data.known.present,
        "mean": round(ratings.moments.mean.item(), 12),
        "std": round(ratings.moments.std.item(), 12),
        "asked": kind_asked(data, [Split.RANDOM]),
        "residuals": [one.round(9).tolist() for one in vars(residuals).values() if np.ndim(one)],
        "of items": [one.values.tolist() for one in ratings.item_descriptions],
        "shared with itself": Hashed(table, world).shared_with(sample),
        "sample": Hashed(table, world).sample(),
    }
    if queries is not None:
        asked, more = queries
        ids = [asked.query_user_ids.tolist(), asked.query_item_ids.tolist()]
        shared["queries"] = [*ids, more["known"].tolist()]
    return Seen(columns=columns, shared=shared, n_users=ratings.n_users)


def numbers_of(ratings: Ratings) -> torch.Tensor:
    """The (n,) numbers of the ratings, as they are in all."""
    before = sum(ratings.world.everyones(len(ratings))[: ratings.world.rank])
    return before + torch.arange(len(ratings))


def held_out(ratings: Ratings, kind: Split, window: int) -> NDArray[Any]:
    """Those of the ratings that are held out."""
    numbered = replace(ratings, values=numbers_of(ratings).double())
    return split(numbered, seed=5, kind=kind, window=window)[1].values.numpy()


def complaint(world: World, folder: Path, name: str) -> str:
    try:
        load_data(folder / name, runs=folder / "runs", world=world)
    except InputError as error:
        return str(error)
    return ""


def everything(world: World, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: seen(world, folder, name) for name in SOURCES}
    return found | {name: complaint(world, folder, name) for name in BAD}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return {name: seen(ALONE, folder, name) for name in SOURCES}


@pytest.fixture(scope="module")
def ranks(once: Callable[..., Any], folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = once("shards", lambda _: on_ranks(3, everything, folder))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_ranks_have_together_what_one_process_has(
    name: str, ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    expected: Seen = alone[name]
    mine: list[Seen] = [rank[name] for rank in ranks]
    for column, values in expected.columns.items():
        parts = [one.columns[column] for one in mine]
        assert min(map(len, parts)) > 0
        found, wanted = np.concatenate(parts), values
        if column in ("all_users", "user_numbers") or column.startswith("described by"):
            # Who is in the table alone comes behind the others of a rank.
            found = found[np.concatenate([one.columns["user_numbers"] for one in mine]).argsort()]
        assert found.tolist() == wanted.tolist(), column
    for rank, one in enumerate(mine):
        for what, value in expected.shared.items():
            if what == "queries" and rank:
                continue  # the first rank has all
            assert one.shared[what] == value, what
    sizes = [len(one.columns["ratings"]) for one in mine]
    assert max(sizes) < 1.25 * sum(sizes) / len(sizes)
    assert sum(one.n_users for one in mine) == expected.n_users


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_all_ranks_complain_alike(name: str, ranks: list[dict[str, Any]]) -> None:
    said = {rank[name] for rank in ranks}
    assert len(said) == 1
    assert BAD[name] in said.pop()


def test_long_ids_of_users_have_the_rank_whose_range_they_are_in() -> None:
    names = [f"{n:036}" for n in range(40)]
    ranges = Ranges(np.array([names[10], names[30]], TEXT))
    owners = ranges.owners(np.array(names, TEXT))
    assert owners.tolist() == [0] * 10 + [1] * 20 + [2] * 10


@pytest.mark.parametrize("size", [SAMPLED // 2 + 63, SAMPLED // 2 + 64, SAMPLED])
def test_a_sample_of_users_comes_from_any_number_of_rows(size: int) -> None:
    users, items = (pa.array(np.arange(size) % n).dictionary_encode() for n in (70, 30))
    batch = pa.record_batch([users, items, pa.array(np.ones(size))], ["user", "item", "rating"])
    found = Together(ALONE).shared([batch, batch], are_pairs=False)
    assert len(found.ratings) == 2 * size
