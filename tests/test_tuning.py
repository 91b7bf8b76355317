"""From Python: load, tune, predict, with files and with every kind of data frame."""

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import optuna
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyarrow import csv

import study
from model.dataset import Ratings
from model.solver import Solver
from model.solvers import Config, make_solver
from storage.errors import InputError
from study import Result, TuningError, find, load, tune
from study.inputs import Data
from study.result import Ended
from study.search.objective import Interrupted, Objective, Trained

Columns = dict[str, Any]

OLD = "ignore:The Dataframe Interchange Protocol"


class Interchanged:
    """A frame that speaks the older interchange protocol alone."""

    def __init__(self, columns: Columns) -> None:
        self._frame = pd.DataFrame(columns)

    def __dataframe__(self, *_: object, **__: object) -> object:
        return self._frame.__dataframe__()


def rows(columns: Columns) -> list[tuple[object, ...]]:
    return list(zip(*columns.values(), strict=True))


@dataclass
class Rated:
    """A row as a program may have it."""

    user_id: object
    movie_id: object
    rating: object = None


def database_rows(columns: Columns) -> list[sqlite3.Row]:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute(f"CREATE TABLE rated ({', '.join(columns)})")
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO rated VALUES ({marks})", rows(columns))
    return connection.execute("SELECT * FROM rated").fetchall()


BY_POSITION = {"rows", "lists", "generator", "object array"}
FRAMES: dict[str, Callable[[Columns], Any]] = {
    "pandas": pd.DataFrame,
    "pandas, of categories": lambda columns: pd.DataFrame(columns).astype({"user_id": "category"}),
    "polars": pl.DataFrame,
    "arrow": pa.table,
    "interchange": Interchanged,
    "dict of arrays": lambda columns: {name: np.array(c) for name, c in columns.items()},
    "dict of lists": dict,
    "rows": rows,
    "lists": lambda columns: [list(row) for row in rows(columns)],
    "generator": lambda columns: (row for row in rows(columns)),
    "object array": lambda columns: np.array(rows(columns), dtype=object),
    "dicts": lambda columns: pd.DataFrame(columns).to_dict("records"),
    "dicts in any order": lambda columns: [
        dict(sorted(row.items(), reverse=n % 2 == 0))
        for n, row in enumerate(pl.DataFrame(columns).rows(named=True))
    ],
    "named tuples": lambda columns: list(pd.DataFrame(columns).itertuples()),
    "dataclasses": lambda columns: [
        Rated(**row) for row in pd.DataFrame(columns).to_dict("records")
    ],
    "series": lambda columns: [row for _, row in pd.DataFrame(columns).iterrows()],
    "records": lambda columns: list(pd.DataFrame(columns).to_records(index=False)),
    "rows of a database": database_rows,
    "duckdb": lambda columns: duckdb.from_arrow(pa.table(columns)),
    "record array": lambda columns: pd.DataFrame(columns).to_records(index=False),
}


@pytest.fixture(autouse=True)
def folder(few_epochs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def columns() -> Columns:
    """420 ratings by 30 users with texts as ids, of 20 items."""
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(30 * 20)[:420], 20)
    ratings = draw.normal(3, 1, 30)[users] + draw.normal(size=420)
    names = [f"Zürich-{user:02d}" for user in users]
    return {"user_id": names, "movie_id": items.tolist(), "rating": ratings.round(1).tolist()}


@pytest.fixture(scope="module")
def found(columns: Columns, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Of a study of one trial, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("found"))
        return tune(load(columns), trials=1, workers=1, quiet=True)


PAIRS = {"movie_id": [3, 7, 99], "user_id": ["Zürich-00", "Zürich-11", "nobody"]}


def in_order(pairs: Columns, frame: str) -> Columns:
    """Rows have no names: of those the user comes first."""
    named = {name: pairs[name] for name in ("user_id", "movie_id")}
    return named if frame in BY_POSITION else pairs


@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("frame", FRAMES)
def test_ratings_of_any_frame_are_those_of_the_file(columns: Columns, frame: str) -> None:
    csv.write_csv(pa.table(columns), "ratings.csv")
    expected = load("ratings.csv").table
    assert expected.n_ratings == 420
    assert load(FRAMES[frame](columns)).table.digest == expected.digest


@pytest.mark.filterwarnings(OLD, "ignore:intervals that rest on 42 held-out ratings")
@pytest.mark.parametrize("frame", FRAMES)
def test_answers_are_of_the_kind_of_the_pairs(found: Result, frame: str) -> None:
    pairs = FRAMES[frame](in_order(PAIRS, frame))
    answers = found.predict(pairs, intervals=True, quiet=True)
    frames = {"interchange": pa.Table, "duckdb": pa.Table, "arrow": pa.Table}
    frames |= {"pandas": pd.DataFrame, "pandas, of categories": pd.DataFrame}
    assert isinstance(answers, (frames | {"polars": pl.DataFrame}).get(frame, dict))
    table = pa.table(answers)
    user, item = ("user", "item") if frame in BY_POSITION else ("user_id", "movie_id")
    assert table.column_names == [user, item, "prediction", "std", "lower", "upper"]
    assert table[user].to_pylist() == PAIRS["user_id"]
    assert table[item].to_pylist() == PAIRS["movie_id"]
    lower, middle, upper = (table[name].to_numpy() for name in ("lower", "prediction", "upper"))
    assert (lower < upper).all()
    assert (lower <= middle).all()
    assert (middle <= upper).all()
    again = FRAMES[frame](in_order(PAIRS, frame))  # a generator can be read once
    plain = pa.table(found.predict(again, quiet=True))
    assert plain.column_names == [user, item, "prediction"]
    assert plain["prediction"].to_pylist() == middle.tolist()


@pytest.mark.slow
def test_under_a_timeout_finalists_meet_before_the_trials_are_done(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.workers.clock.ROUND_SECONDS", 2.0)  # however long trials take here
    monkeypatch.setattr("study.workers.clock.ROUND_SLACK", 0.1)
    monkeypatch.setattr("study.workers.race.N_FINALISTS_OF_FEW", 5)
    result = tune(load(columns), trials=100_000, timeout=5.0, workers=1, quiet=True)
    assert result.ended is Ended.TIME_IS_UP
    met = result.study.user_attrs["finalists"]
    assert met["rounds"][0] >= 1
    assert 2 < met["of"] == len(result.study.trials) < 100_000


def test_the_index_of_a_pandas_frame_stays(columns: Columns) -> None:
    result = tune(load(columns), trials=1, quiet=True)
    pairs = pd.DataFrame(PAIRS, index=["a", "b", "c"])
    pairs["prediction"] = result.predict(pairs, quiet=True)["prediction"]
    rated = result.ratings.table.ratings
    assert pairs["prediction"].between(rated.min(), rated.max()).all()


def test_an_index_without_a_name_is_no_column(columns: Columns) -> None:
    frame = pd.DataFrame(columns)[::2]
    assert "__index" not in load(frame).described()
    with pytest.raises(InputError) as caught:
        load(frame[["user_id", "rating", "movie_id"]], columns="user_id,movie,rating")
    assert str(caught.value) == (
        "data frame: in columns=, no column 'movie' among 'user_id', 'rating', 'movie_id'; "
        "did you mean 'movie_id'?"
    )
    result = tune(load(frame), trials=1, quiet=True)
    with pytest.raises(InputError) as caught:
        result.predict(frame[["user_id"]])
    assert str(caught.value) == (
        "data frame: cannot tell which columns hold user and item, got 'user_id'; call them "
        "'user_id' and 'movie_id'"
    )
    with pytest.raises(InputError, match="holds no pairs to predict; queries= takes"):
        result.predict()


def test_rows_that_share_a_type_have_whole_ids() -> None:
    frame = pd.DataFrame({"user": [1, 2, 2], "item": [10, 10, 20], "rating": [4.5, 3.0, 2.0]})
    expected = load(frame).table.digest
    assert load([row for _, row in frame.iterrows()]).table.digest == expected
    assert load(list(frame.to_numpy())).table.digest == expected
    assert load([pd.Series(row) for row in frame.to_numpy()]).table.digest == expected


def test_an_array_of_numbers_has_whole_ids() -> None:
    draw = np.random.default_rng(1)
    array = np.stack([*np.divmod(draw.permutation(200)[:150], 10), draw.normal(size=150)], axis=1)
    data = load(array)
    assert data.table.users.dtype == data.table.items.dtype == np.int64
    assert data.table.n_ratings == 150
    result = tune(data, trials=1, quiet=True)
    answers = result.predict(np.array([[1, 2], [3, 4]]), quiet=True)
    assert answers["user"].tolist() == [1, 3]
    assert answers["item"].tolist() == [2, 4]


def test_columns_are_told_by_name_or_position(columns: Columns) -> None:
    renamed = dict(zip(("who", "what", "how"), columns.values(), strict=True))
    digest = load(columns).table.digest
    assert load(renamed, columns=("who", "what", "how")).table.digest == digest
    assert load(pd.DataFrame(renamed), columns=("1", "2", "3")).table.digest == digest
    assert load(renamed, columns="who, what, how").table.digest == digest
    assert load(renamed, columns=["who", "what", "how"]).table.digest == digest
    with pytest.raises(InputError, match="cannot tell which columns hold user, item and rating"):
        load(renamed)
    result = tune(load(renamed, columns=("who", "what", "how")), trials=1, quiet=True)
    answers = result.predict({"who": ["Zürich-00"], "what": [1]}, quiet=True)
    assert list(answers) == ["who", "what", "prediction"]


def test_pairs_that_are_mistaken_are_refused_or_warned_of(columns: Columns) -> None:
    renamed = dict(zip(("what", "who", "how"), columns.values(), strict=True))
    csv.write_csv(pa.table(renamed), "ratings.csv")
    result = tune(load("ratings.csv", columns="1,2,3"), trials=1, quiet=True)
    expected = result.predict({"what": ["Zürich-00"], "who": [1]}, quiet=True)["prediction"]
    Path("pairs.csv").write_text("who,what\n1,Zürich-00\n")
    assert result.predict("pairs.csv", quiet=True)["prediction"].to_pylist() == expected.tolist()
    with pytest.raises(InputError, match="users and items look swapped"):
        result.predict([(1, "Zürich-00")], quiet=True)
    with pytest.warns(UserWarning, match="none of the 4 queries has a user and an item"):
        result.predict([("nobody", 1)] * 4, quiet=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"user": [1, None], "item": [1, 2], "rating": [1, 2]},
            "row 2: expected user, got nothing",
        ),
        (
            {"user": [1, 2], "item": [1, 2], "rating": ["5", "y"]},
            "row 2: expected a rating, a number",
        ),
        ({"user": [1, 2], "item": [1.5, 2], "rating": [1, 2]}, "expected whole numbers or texts"),
        ({"user": [1, 1], "item": [1, 1], "rating": [1, 2]}, "at least 2 different pairs"),
        ({"user": [1, 2], "item": [1, 2], "rating": [1, np.inf]}, "row 2: expected a rating"),
        ({"user": [1, 2], "item": [1], "rating": [1, 2]}, "expected a file, a data frame"),
        ([(1, 2, 3, 4)], "expected rows of user, item and maybe rating, got 4 fields"),
        (object(), "expected a file, a data frame, a dict of columns or rows, got object$"),
        ({"user": "u1", "item": "i1", "rating": 4}, "as column 'user', got str; a single row goes"),
        ({"user": 1, "item": 2, "rating": 4}, "as column 'user', got int; a single row goes into"),
        ({"user": {0: 1}, "item": {0: 1}, "rating": {0: 1}}, "as column 'user', got dict"),
        ({"user": {1, 2}, "item": [1, 2], "rating": [1, 2]}, "as column 'user', got set"),
        (["abc", "abd"], "or rows, got list with a str as row 1"),
        ([b"abc"], "or rows, got list with a bytes as row 1"),
        ([{1, 2, 3}, {2, 3, 4}], "got list with a set as row 1"),
        ({(1, 2, 3), (2, 3, 4)}, "got set, which has no order"),
        ((1, 2, 3), "got tuple with a int as row 1; a single row goes into a list"),
        (Rated(1, 2, 3), "got Rated; a single row goes into a list"),
        (pd.Series({"user": 1, "item": 2, "rating": 3}), "got Series; a single row goes into a"),
        (pl.Series([1, 2]), "got Series; a single row goes into a list"),
        (b"ratings.csv", "or rows, got bytes$"),
        ([(1, 2, 3), {"user": 1}], "got list with a dict as row 2"),
        ([{"user": 1}, (1, 2, 3)], "got list with a dict as row 1"),
        ([(1, 2, 3), (1, 2)], "row 2: expected 3 fields, as in row 1, got 2"),
        ([{"user": 1, "item": 2, "rating": 3}, {"user": 1, "item": 2}], "row 2: expected rating"),
        ([], "expected rows of user, item and maybe rating, got 0 fields"),
        (42, "expected a file, a data frame, a dict of columns or rows, got int$"),
        ([1, 2], "expected a file, a data frame, a dict of columns or rows, got list"),
        ({}, "cannot tell which columns"),
        ("missing.csv", "missing.csv: no such file"),
    ],
)
def test_what_is_no_ratings_is_refused_in_a_line(source: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(source)
    assert len(str(caught.value).splitlines()) == 1


def test_bad_wishes_are_refused() -> None:
    with pytest.raises(InputError, match="expected ratings, got None"):
        tune(None)
    with pytest.raises(InputError, match="cannot tell which columns"):
        tune(pd.DataFrame())
    data = load({"user": [1, 2], "item": [1, 2], "rating": [1, 2]})
    with pytest.raises(InputError, match="trials: expected a whole number, 1 or more, got 0"):
        tune(data, trials=0)
    with pytest.raises(InputError, match="trials: expected a whole number, 1 or more, got '8'"):
        tune(data, trials="8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="timeout: expected a number of seconds, got '8'"):
        tune(data, timeout="8")  # type: ignore[arg-type]
    for two in ("user,item", ["user", "item"], 7):
        with pytest.raises(InputError, match="columns: expected three"):
            load("ratings.csv", columns=two)  # type: ignore[arg-type]
    assert not Path("runs").exists()


def test_what_load_takes_can_be_tuned_at_once(
    columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated = {name: [*values, values[0]] for name, values in columns.items()}
    result = tune(pd.DataFrame(repeated), trials=1)
    told = capsys.readouterr().out.partition("\nStudy: ")[0]
    assert told == f"Data: {result.ratings.described()}"
    assert "\n Repeated: 1 lines rate a pair again" in repr(result.ratings)
    csv.write_csv(pa.table(columns), "ratings.csv")
    again = tune("ratings.csv", trials=1, quiet=True)
    assert again.study.study_name == result.study.study_name
    assert capsys.readouterr().out == ""


def test_a_study_goes_on_and_is_found_again(
    columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tune(load(columns), trials=2)
    assert " | 2 of 2, best " in capsys.readouterr().out
    again = tune(load(pl.DataFrame(columns)), trials=3, quiet=True)
    assert again.study.study_name == first.study.study_name
    assert len(again.study.trials) == 3
    again.predict(PAIRS)
    assert capsys.readouterr().out == ""
    first.predict(PAIRS)
    assert "loaded, trained before" in capsys.readouterr().out


@pytest.mark.slow
def test_workers_read_a_frame_and_do_not_run_a_script_again(columns: Columns) -> None:
    renamed = dict(zip(("who", "what", "how"), columns.values(), strict=True))
    Path("script.py").write_text(
        "import pathlib\n"
        "from study import load, tune\n"
        "pathlib.Path('ran').open('a').write('x')\n"
        f"data = load({renamed!r}, columns=('who', 'what', 'how'))\n"
        "result = tune(data, trials=2, workers=2)\n"
        "print(result.ended, [trial.state.name for trial in result.study.trials])\n"
    )
    root = Path(study.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "script.py"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )
    assert re.search(r"^done \['(COMPLETE|PRUNED)', '(COMPLETE|PRUNED)'\]$", done.stdout, re.M)
    assert Path("ran").read_text() == "x"
    assert len(list(Path("runs/cache").glob("input-*.parquet"))) == 1


def test_trials_of_many_ratings_see_some_users_and_finalists_see_all(
    columns: Columns, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {"trials": set(), "finalists": set()}

    def noted(who: str) -> Callable[..., Solver]:
        def made(config: Config, training: Ratings, **named: Any) -> Solver:
            seen[who].add(len(training))
            return make_solver(config, training, **named)

        return made

    monkeypatch.setattr("study.search.objective.make_solver", noted("trials"))
    monkeypatch.setattr("study.workers.crew.make_solver", noted("finalists"))
    monkeypatch.setattr("study.workers.joining.SEARCHED_RATINGS", 100)
    data = load(columns)
    result = tune(data, trials=2, workers=1)
    assert seen["finalists"] == {len(data.ratings) - round(len(data.ratings) / 10)}
    (n_seen,) = seen["trials"]
    assert 90 <= n_seen < 150
    told = re.search(r"^Trials: see (\d+) ratings, of \d+ users", capsys.readouterr().out, re.M)
    assert told
    assert n_seen == int(told[1]) - round(int(told[1]) / 10)
    assert np.isfinite(result.predict(PAIRS, quiet=True)["prediction"]).all()


def test_what_is_printed_of_them_can_be_read(columns: Columns) -> None:
    data = load(columns)
    assert repr(data).startswith("<Data: data frame, 420 ratings, 30 users, 20 items")
    assert "user user_id, item movie_id, rating rating" in repr(data)
    result = tune(data, trials=2, quiet=True)
    assert repr(result).startswith("<Result: 2 trials, done; best is trial ")
    assert f"{result.best_rmse:.4f}" in repr(result)
    assert result.study.study_name in repr(result)
    assert max(len(line) for line in repr(result).splitlines()) < 100
    assert result.best is not None
    assert result.best_setting["solver"] == result.best.solver
    assert result.report().exists()


def test_trials_that_fail_are_told_with_what_was_found(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **named: object) -> Trained:
        raise RuntimeError("out of luck")

    tune(load(columns), trials=1, quiet=True)
    monkeypatch.setattr("study.search.objective.Objective.__call__", fail)
    with pytest.raises(TuningError, match="3 trials in a row failed: out of luck") as caught:
        tune(load(columns), trials=9, quiet=True)
    assert caught.value.result.ended is Ended.FAILED
    assert isinstance(caught.value.result, Result)
    assert np.isfinite(caught.value.result.best_rmse)


def test_time_is_up(columns: Columns) -> None:
    result = tune(load(columns), trials=50, timeout=0, quiet=True)
    assert result.ended is Ended.TIME_IS_UP
    assert len(result.study.trials) == 1


def test_an_interrupt_ends_it_after_the_epoch_and_is_given_back(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object, trial: optuna.Trial, **named: Any) -> Trained:
        if trial.number == 1:
            signal.raise_signal(signal.SIGINT)
            raise Interrupted
        return objective(_, trial, **named)

    objective = Objective.__call__
    with monkeypatch.context() as patched:
        patched.setattr(Objective, "__call__", interrupted)
        result = tune(load(columns), trials=3, quiet=True)
    assert result.ended is Ended.BY_HAND
    assert "stopped by hand" in repr(result)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert tune(load(columns), trials=3, quiet=True).ended is Ended.DONE


def test_elsewhere_than_in_the_main_thread(columns: Columns) -> None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(tune, load(columns), trials=1, quiet=True).result()
    assert result.ended is Ended.DONE


@pytest.mark.parametrize("n_calls", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_quiet_calls_in_threads_print_nothing_and_leave_torch_as_it_was(
    columns: Columns, capfd: pytest.CaptureFixture[str], n_calls: int
) -> None:
    data, stdout = load(columns), sys.stdout
    meet = threading.Barrier(n_calls, timeout=10)

    def call(number: int) -> tuple[Ended, int]:
        meet.wait()
        ended = tune(data, trials=2, study_name=f"{number}", quiet=True).ended
        return ended, torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(n_calls) as pool:
            outcomes = list(pool.map(call, range(n_calls)))
        assert outcomes == [(Ended.DONE, 3)] * n_calls
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert sys.stdout is stdout
    assert capfd.readouterr() == ("", "")
    print("alive")
    assert capfd.readouterr() == ("alive\n", "")


def test_the_built_in_demonstration() -> None:
    data = load()
    assert isinstance(data, Data)
    assert data.is_demonstration
    assert data.file is None


def test_the_names_are_there_at_once_and_nothing_heavy_comes_with_them() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); from study import Result, load, tune\n"
        "assert time.perf_counter() - began < 1\n"
        "heavy = {'torch', 'optuna', 'numba', 'numpy', 'pyarrow', 'pandas', 'polars'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    root = Path(study.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    assert dir(study) == study.__all__
    assert study.__all__ == [
        "InputError",
        "Model",
        "Result",
        "TuningError",
        "find",
        "load",
        "tune",
    ]
    assert study.InputError is InputError
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        study.nothing  # noqa: B018


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_was_given_stays_what_it_is_wherever_the_program_goes(
    columns: Columns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (tmp_path / "elsewhere").mkdir()
    csv.write_csv(pa.table(columns), "ratings.csv")
    ratings = load("ratings.csv")
    assert (ratings.source, ratings.file) == ("ratings.csv", tmp_path / "ratings.csv")

    def go_away(event: object) -> None:
        monkeypatch.chdir(tmp_path / "elsewhere")

    url = "sqlite:///own/{100%25}.db"
    result = tune(ratings, trials=2, workers=workers, storage=url, on_event=go_away)
    assert Path.cwd() == tmp_path / "elsewhere"
    assert result.folder == tmp_path / "own"
    answers = result.predict(PAIRS, quiet=True)
    assert result.report().parent == tmp_path / "own"
    again = find(ratings, storage=result.storage, quiet=True)
    assert again.best_rmse == result.best_rmse
    monkeypatch.chdir(tmp_path)
    found = find("ratings.csv", storage=url, quiet=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (found.predict(PAIRS, quiet=True)["prediction"] == answers["prediction"]).all()
    assert len(found.study.trials) == 2
    assert not list((tmp_path / "elsewhere").iterdir())
    assert len(list((tmp_path / "own" / "models").iterdir())) == 1
