"""A league goes on where it was cut, ranks as it says, and its planted sets are as they say."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.league import BIASES, MEAN, OURS, DataSet, Play, markdown, play, ranks_of
from benchmarks.league_sets import ANY, KINDS, LATEST, draw_set, write
from benchmarks.peers.results import read_records

HOW = Play(trials=1, peers_python=Path("no-such-python"), limit=60.0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[DataSet]:
    """The same kind twice, of 600 and of 300 ratings."""
    folder = tmp_path_factory.mktemp("league")
    for name, n_known in {"more": 600, "fewer": 300}.items():
        write(replace(KINDS["dense"], n_known=n_known), folder / name, seed=0)
    return [DataSet(folder / name) for name in ("more", "fewer")]


def test_only_what_is_missing_is_measured(
    sets: list[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = tmp_path / "league.jsonl", []
    measured = Play.measured

    def watched(self: Play, one: DataSet, entrant: str) -> dict[str, object]:
        asked.append((one.folder.name, entrant))
        return measured(self, one, entrant)

    monkeypatch.setattr(Play, "measured", watched)
    play(sets[:1], [MEAN], file, HOW)
    play(sets, [MEAN, BIASES], file, HOW)
    expected = [("more", MEAN), ("fewer", MEAN), ("fewer", BIASES), ("more", BIASES)]
    assert asked == expected
    assert [(r["data"], r["entrant"]) for r in read_records([file])] == expected
    play(sets, [MEAN, BIASES], file, HOW)
    assert asked == expected
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    play(sets, [MEAN, BIASES], file, HOW)
    assert asked == [*expected, ("more", MEAN)]


def test_a_mean_is_scored_on_the_truth(sets: list[DataSet]) -> None:
    known = np.loadtxt(sets[1].ratings, delimiter=",", skiprows=1)[:, 2]
    truth = np.loadtxt(sets[1].folder / "truth")
    expected = ((truth - known.mean()) ** 2).mean() ** 0.5
    assert HOW.measured(sets[1], MEAN)["rmse"] == pytest.approx(expected)
    assert HOW.measured(sets[1], BIASES)["rmse"] < expected


def test_whoever_fails_has_a_reason_and_the_last_rank(
    sets: list[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "false")  # a command that fails
    file = tmp_path / "league.jsonl"
    play(sets[1:], [MEAN, OURS], file, HOW)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert records[1]["error"] == "exit code 1"
    assert "this study on fewer: exit code 1." in markdown(records)


def test_ranks() -> None:
    assert ranks_of({"a": 0.9, "b": 0.8, "c": None, "d": 0.9}) == {"a": 2, "b": 1, "c": 4, "d": 2}


def test_the_table_has_ranks_and_their_means() -> None:
    scores = {
        "small": {MEAN: 1.0, BIASES: 0.9, OURS: 0.8},
        "large": {MEAN: 30.0, BIASES: None, OURS: 33.0},
        "not yet": {MEAN: 1.0, OURS: 2.0},
    }
    records = [
        {"data": data, "entrant": name, "n_ratings": len(data)}
        | ({"error": "no memory"} if rmse is None else {"rmse": rmse, "seconds": 12.3})
        for data, of_set in scores.items()
        for name, rmse in of_set.items()
    ]
    lines = markdown(records).splitlines()
    assert lines[0] == "|  | ratings | mean | biases | this study |"
    assert "| small | 5 | 1 (3) | 0.9 (2) | **0.8 (1)** |" in lines
    assert "| large | 5 | **30 (1)** | failed (3) | 33 (2) |" in lines
    assert "| not yet | 7 | **1 (1)** | – | 2 (2) |" in lines
    assert "| mean rank |  | 2.00 | 2.50 | 1.50 |" in lines
    assert "| mean % above the lowest |  | 12.5 | 12.5 | 5.0 |" in lines
    assert "| large | 5 | 12 | – | 12 |" in lines
    assert lines[-1] == "biases on large: no memory."


@pytest.mark.parametrize("name", [*KINDS])
def test_a_planted_set_asks_for_what_is_not_known(name: str) -> None:
    kind = replace(KINDS[name], n_users=120, n_items=60, n_known=2_000)
    pairs, ratings, is_asked = draw_set(kind, np.random.default_rng(0))
    assert len(np.unique(pairs.user * kind.n_items + pairs.item)) == len(pairs.user) == 3_000
    assert is_asked.sum() == pytest.approx(
        kind.n_asked, abs=kind.n_users if kind.asked == LATEST else 0
    )
    again = draw_set(kind, np.random.default_rng(0))
    assert np.array_equal(again[1], ratings)
    assert np.std(ratings) > 0
    if kind.asked == LATEST:
        latest = np.full(kind.n_users, -1.0)
        np.maximum.at(latest, pairs.user[~is_asked], pairs.time[~is_asked])
        assert (pairs.time[is_asked] > latest[pairs.user[is_asked]]).all()
    if kind.choosy:
        lower = ratings[~is_asked].mean() - ratings[is_asked].mean()
        assert (lower > 0.3) == (kind.asked == ANY)
