"""The commands on tables: ids that are texts come back, from files and from standard input."""

import csv
import io
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.errors import InputError
from storage.lines import read_numbers
from storage.sources import Sources
from study import best_predict, load, recommend, run
from study.inputs import load_data, with_pairs
from study.record.studies import default_name
from study.report import __main__ as report

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]

COLUMNS = ["--columns", "user_id,movie_id,rating"]


@pytest.fixture
def call(
    few_epochs: None, outcome_of: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Calls a command in a folder with ratings.csv and pairs.csv: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(30 * 20)[:420], 20)
    level = draw.normal(3, 1, 30)
    rows = [
        (f"Zürich-{u:02d}", f"tt{i:04d}", f"{level[u] + draw.normal():.1f}", "x")
        for u, i in zip(users, items, strict=True)
    ]
    with open("ratings.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerows([("note", "rating", "movie_id", "user_id")])
        writer.writerows((note, r, i, u) for u, i, r, note in rows[:400])
    with open("pairs.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(("movie_id", "user_id"))
        writer.writerows((i, u) for u, i, _, _ in rows[400:])
        writer.writerow(('never, "seen"', "nobody"))

    return outcome_of


def asked() -> list[tuple[str, str]]:
    with open("pairs.csv") as file:
        return [(row["user_id"], row["movie_id"]) for row in csv.DictReader(file)]


def test_ids_that_are_texts_come_back(call: Call) -> None:
    code, out, err = call(run.main, "--data", "ratings.csv", *COLUMNS, "--trials", 2)
    assert (code, err) == (0, "")
    assert out.startswith(
        "Data: ratings.csv, 400 ratings, 30 users, 20 items, 0 queries\n"
        "Columns: user user_id, item movie_id, rating rating; note not used\n"
    )
    command = "--data ratings.csv --columns user_id,movie_id,rating --queries PAIRS.csv"
    command += " --out answers.csv"
    assert f"Next: python -m study.best_predict {command}\n" in out
    Path("PAIRS.csv").write_bytes(Path("pairs.csv").read_bytes())
    assert call(best_predict.main, *command.split())[0] == 0
    assert len(Path("answers.csv").read_text().splitlines()) == 1 + len(asked())

    answer = (best_predict.main, "--data", "ratings.csv", *COLUMNS, "--queries", "pairs.csv")
    code, out, err = call(*answer, "--out", "answers.csv", "--intervals", "intervals.csv")
    assert code == 0
    assert "Wrote: intervals.csv, 90 % intervals, calibrated on 40 held-out ratings\n" in out
    assert err == (
        "study.best_predict: intervals that rest on 40 held-out ratings may be far too wide or "
        "too narrow; 100 are enough\n"
    )
    assert "21 queries" in out
    assert "Queries: pairs.csv, user user_id, item movie_id, 1 of unknown users or items\n" in out
    with open("answers.csv") as file:
        answers = list(csv.DictReader(file))
    assert list(answers[0]) == ["user_id", "movie_id", "prediction"]
    assert [(row["user_id"], row["movie_id"]) for row in answers] == asked()
    with open("intervals.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["user_id"], row["movie_id"]) for row in rows] == asked()
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in answers]

    for name in ("answers.parquet", "answers.tsv", "mat_comp_ans"):
        assert call(*answer, "--out", name)[0] == 0
    table = parquet.read_table("answers.parquet")
    assert table.column_names == ["user_id", "movie_id", "prediction"]
    assert (
        list(zip(*(table[n].to_pylist() for n in table.column_names[:2]), strict=True)) == asked()
    )
    numbers = [float(row["prediction"]) for row in answers]
    assert table["prediction"].to_pylist() == pytest.approx(numbers, abs=1e-6)
    with open("answers.tsv") as file:
        assert list(csv.DictReader(file, delimiter="\t")) == answers
    assert np.loadtxt("mat_comp_ans").tolist() == numbers
    for row in answers:
        assert 0 < float(row["prediction"]) < 6


def test_a_known_user_is_not_answered_like_a_stranger(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 2)[0] == 0
    Path("pairs.csv").write_text(
        "user_id,movie_id\n" + "".join(f"Zürich-{u:02d},tt0001\n" for u in range(30))
    )
    call(best_predict.main, "--data", "ratings.csv", "--queries", "pairs.csv")
    assert np.loadtxt("mat_comp_ans").std() > 0.05  # strangers are all answered alike


def test_the_same_ratings_in_another_format_are_the_same_study(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    with open("ratings.csv") as file:
        rows = list(csv.DictReader(file))[::-1]
    columns = {name: [row[name] for row in rows] for name in ("user_id", "movie_id")}
    ratings = [float(row["rating"]) for row in rows]
    parquet.write_table(pa.table({"rating": ratings} | columns), "ratings")
    out = call(run.main, "--data", "ratings", "--trials", 1)[1]
    assert "1 of 1 trials finished, nothing left to run" in out


def test_standard_input(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path("ratings.csv").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, out, _ = call(run.main, "--data", "-", "--trials", 1)
    assert code == 0
    assert out.startswith("Data: standard input, 400 ratings")
    (kept,) = Path("runs/cache").glob("input-*")
    assert kept.read_bytes() == content
    assert f"best_predict --data {kept}" in out
    assert call(best_predict.main, "--data", kept, "--queries", "pairs.csv")[0] == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes(call: Call) -> None:
    contents = {name: Path(name).read_bytes() for name in ("ratings.csv", "pairs.csv")}
    for name, content in contents.items():
        Path(name).unlink()
        os.mkfifo(name)
        threading.Thread(target=Path(name).write_bytes, args=[content], daemon=True).start()
    data = with_pairs(
        load_data(Path("ratings.csv"), runs=Path("runs")), Path("pairs.csv"), runs=Path("runs")
    )
    assert (data.table.n_ratings, data.table.n_queries, data.source) == (400, 21, "a pipe")
    assert data.file is not None
    assert load_data(data.file, runs=Path("runs")).table.digest == data.table.digest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_for_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected a file, got a pipe"):
        read_numbers(tmp_path / "pipe", expected=1)


@pytest.mark.parametrize(
    ("columns", "pairs"),
    [
        ("4,3,2", "movie_id,user_id\ntt0001,Zürich-01\n"),
        ("4,3,2", "user_id,movie_id\nZürich-01,tt0001\n"),
        ("4,3,2", "user,movie_id\nZürich-01,tt0001\n"),
        ("4,3,2", "Zürich-01,tt0001\n"),
        ("user_id,movie_id,rating", "item,user_id\ntt0001,Zürich-01\n"),
    ],
)
def test_columns_of_the_ratings_are_found_by_name_in_the_queries(
    columns: str, pairs: str, call: Call
) -> None:
    Path("pairs.csv").write_text(pairs)
    sources = Sources(data=Path("ratings.csv"), columns=tuple(columns.split(",")))
    data = load_data(sources, runs=Path("runs"))
    table = with_pairs(data, Path("pairs.csv"), runs=Path("runs")).table
    assert (table.query_user_ids.tolist(), table.query_item_ids.tolist()) == (
        ["Zürich-01"],
        ["tt0001"],
    )


def test_positions_in_queries_like_ratings_without_a_header(call: Call) -> None:
    Path("bare.csv").write_text("a,u1,4\nb,u1,3\na,u2,5\nb,u2,1\n")
    for pairs in ("b,u2\n", "user,item\nu2,b\n"):
        Path("pairs.csv").write_text(pairs)
        sources = Sources(data=Path("bare.csv"), columns=("2", "1", "3"))
        data = load_data(sources, runs=Path("runs"))
        data = with_pairs(data, Path("pairs.csv"), runs=Path("runs"))
        assert data.table.query_user_ids.tolist() == ["u2"]
        assert data.table.query_item_ids.tolist() == ["b"]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (
            "code,who\ntt0001,Zürich-01\ntt0002,Zürich-02\n",
            "users and items look swapped: expected users like 'Zürich-00' and items like "
            "'tt0000', got 'code' and 'who'; user 1, item 2, no header; if that is wrong, begin "
            "the file with user,item",
        ),
        ("user,item\ntt0001,Zürich-01\n", "users and items look swapped"),
        (
            "who,code\nZürich-01,tt0001\nZürich-02,new\nZürich-02,tt0001\n",
            "the first line, 'who' and 'code', is no pair of the ratings, as most others are; if "
            "it names the columns, call them 'user_id' and 'movie_id', else begin with such a line",
        ),
        ("who,movie_id\nZürich-01,tt0001\n", "cannot tell which columns hold user and item"),
    ],
)
def test_queries_whose_columns_are_mistaken_are_refused(pairs: str, said: str, call: Call) -> None:
    Path("pairs.csv").write_text(pairs)
    data = load_data(Path("ratings.csv"), runs=Path("runs"))
    with pytest.raises(InputError, match="pairs.csv: " + re.escape(said)):
        with_pairs(data, Path("pairs.csv"), runs=Path("runs"))


def test_queries_of_nobody_known_are_answered_with_a_warning(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    answer = (best_predict.main, "--data", "ratings.csv", "--queries", "pairs.csv", "--quiet")
    Path("pairs.csv").write_text("user,item\n" + "x,tt0001\nZürich-01,y\n" * 2)
    code, out, err = call(*answer)
    assert (code, out) == (0, "")
    assert err.startswith("study.best_predict: none of the 4 queries has a user and an item that")
    assert err.count("\n") == 1
    with open("pairs.csv", "a") as file:
        file.write("Zürich-01,tt0001\n")
    assert call(*answer) == (0, "", "")


def test_as_many_answers_as_pairs_whatever_quotes_they_hold(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    answer = (best_predict.main, "--data", "ratings.csv", "--queries", "pairs.tsv")
    notes = ['"Great', "so-so", 'a 7" single', "", 'the "best"']
    pairs = [(f"Zürich-{n % 30:02d}", f"tt{n % 20:04d}", notes[n % 5]) for n in range(60)]
    Path("pairs.tsv").write_text(
        "".join("\t".join(row) + "\n" for row in [("user", "item", "note"), *pairs])
    )
    assert call(*answer, "--out", "answers.csv")[0] == 0
    with open("answers.csv") as file:
        answers = [tuple(row.values())[:2] for row in csv.DictReader(file)]
    assert answers == [pair[:2] for pair in pairs]
    text = Path("pairs.tsv").read_text()
    Path("pairs.tsv").write_text(text.replace("so-so", 'so-so"'))
    before = Path("answers.csv").read_bytes()
    code, _, err = call(*answer, "--out", "answers.csv")
    assert code == 2
    assert "pairs.tsv:2: expected one way to read the file, got two" in err
    assert len(err.splitlines()) == 1
    assert Path("answers.csv").read_bytes() == before


def test_codes_for_no_rating_are_left_out_by_all_commands_alike(call: Call) -> None:
    with open("ratings.csv") as file:
        rows = list(csv.reader(file))
    for row in rows[1::4]:
        row[1] = "99"
    with open("ratings.csv", "w") as file:
        csv.writer(file).writerows(rows)
    code, out, err = call(run.main, "--data", "ratings.csv", "--trials", 1)
    assert (code, err) == (0, "")
    assert (
        "Apart: 100 rows are rated 99, unlike all others; if that stands for no rating, "
        "--missing 99 leaves them out\n"
    ) in out
    options = ("--data", "ratings.csv", "--missing", 99)
    asking = (best_predict.main, *options, "--queries", "pairs.csv")
    code, _, err = call(*asking)
    assert code == 2
    assert "did you mean other --columns, --missing, --items or --users?" in err
    code, out, err = call(run.main, *options, "--trials", 2)
    assert (code, err) == (0, "")
    assert "Missing: 100 rows rated 99 are left out\n" in out
    assert "Apart: " not in out
    assert "Next: python -m study.best_predict --data ratings.csv --missing 99 --queries" in out
    (name,) = re.findall(r"^Study: (\S+),", out, re.M)
    code, out, _ = call(*asking)
    assert code == 0
    assert f"Study: {name}\n" in out
    assert np.loadtxt("mat_comp_ans").max() < 9
    assert f"Study: {name}\n" in call(report.main, *options)[1]
    assert call(recommend.main, *options, "--user", "Zürich-03", "--top", 2)[0] == 0
    assert default_name(load("ratings.csv", missing=99).table) == name
    kept = [row for row in rows[1:] if row[1] != "99"]
    columns = dict(
        zip(("rating", "movie_id", "user_id"), list(zip(*kept, strict=True))[1:], strict=True)
    )
    columns["rating"] = tuple(map(float, columns["rating"]))  # type: ignore[arg-type]
    assert default_name(load(columns).table) == name
    assert default_name(load(rows_with_codes(rows), missing=99).table) == name
    with pytest.raises(InputError, match="missing: expected a number, got 'x'"):
        load("ratings.csv", missing="x")  # type: ignore[arg-type]
    for wrong in ("x", "nan", "inf"):
        assert call(run.main, "--data", "ratings.csv", "--missing", wrong)[0] == 2


def rows_with_codes(rows: list[list[str]]) -> list[dict[str, object]]:
    """Rows of a file as dicts."""
    names = rows[0]
    return [dict(zip(names, [*row[:1], float(row[1]), *row[2:]], strict=True)) for row in rows[1:]]


def test_ratings_of_somebody_new_without_names_are_two_columns(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    Path("mine.csv").write_text("Zürich-01,tt0001,4\nZürich-01,tt0002,3\n")
    code, _, err = call(recommend.main, "--data", "ratings.csv", "--ratings", "mine.csv")
    assert code == 2
    assert "cannot tell which columns hold item and rating" in err


def test_no_pairs_to_predict(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    code, _, err = call(best_predict.main, "--data", "ratings.csv")
    assert code == 2
    assert err == (
        "study.best_predict: ratings.csv: holds no pairs to predict; --queries takes them\n"
    )
    assert not Path("mat_comp_ans").exists()


def test_queries_are_not_written_over(call: Call) -> None:
    assert call(run.main, "--data", "ratings.csv", "--trials", 1)[0] == 0
    before = Path("pairs.csv").read_text()
    answer = (best_predict.main, "--data", "ratings.csv", "--queries", "pairs.csv")
    code, _, err = call(*answer, "--out", "pairs.csv")
    assert (code, Path("pairs.csv").read_text()) == (2, before)
    assert "expected a file of its own" in err


def test_queries_of_other_ids_for_mat_comp(call: Call) -> None:
    Path("mat_comp").write_text("3 4 5\n1 1 5\n1 2 3\n2 3 4\n3 1 4\n3 4 2\n2\n2 2\n3 3\n")
    Path("other").write_text("user,item\n3,2\nx,07\n")
    assert call(run.main, "--trials", 1)[0] == 0
    assert call(best_predict.main, "--queries", "other", "--out", "a.csv")[0] == 0
    assert [line[: line.rfind(",")] for line in Path("a.csv").read_text().splitlines()] == [
        "user,item",
        "3,2",
        "x,07",
    ]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("1,2", "like user_id,movie_id,rating or 1,2,3, or four with that of the time, got '1,2'"),
        ("a,,c", "expected three columns"),
        ("", "expected three columns"),
        ('"a,b,c', "expected three columns"),
        ("user_id,movie_id,stars", "no column 'stars' among 'note', 'rating'"),
    ],
)
def test_columns_that_are_wrong(option: str, said: str, call: Call) -> None:
    code, out, err = call(run.main, "--data", "ratings.csv", "--columns", option)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("runs").exists()
