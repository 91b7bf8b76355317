"""Lists of what to recommend: their order, a user who is new, and the command on a saved model."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import set_epochs
from torch import Tensor

from model.dataset import Ids, Pairs
from storage.errors import InputError
from storage.frames import read_frame
from storage.item_tables import item_ratings_of, read_item_ratings, read_titles
from study import best_predict, run
from study import recommend as command
from study.answers.ensemble import combined
from study.answers.lists import (
    LENGTH,
    Given,
    Predict,
    Recommendations,
    Wanted,
    listing_score,
    recommend,
    recommend_to_newcomer,
    similar_items,
    typical_count,
)
from study.inputs import Data, load_data

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]

FILES = ("--data", "ratings.csv")


@dataclass(frozen=True)
class Told:
    """A model that predicts what it is told, of items by their index."""

    items: Tensor

    def predict(self, pairs: Pairs) -> Tensor:
        return self.items[pairs.item_index] + 0.0 * pairs.user_index

    def std(self, pairs: Pairs) -> Tensor:
        return torch.full((len(pairs),), 0.5, dtype=torch.float64)

    def similarity(self, item: int) -> Tensor:
        return 1.0 - (self.items - self.items[item]).abs().float() / 10.0

    def fold_in(
        self, item_index: Tensor, values: Tensor, *, seed: int, about: Tensor | None = None
    ) -> "Told":
        """Everything is liked as the mean of what was rated."""
        return Told(self.items + values.mean() - 3.0)


def data_of(counts: list[int], tmp_path: Path) -> Data:
    """Ratings of items a, b, … by so many users each, of 1 and 5; user u00 rates the first only."""
    path = tmp_path / "of_counts.csv"
    lines = [
        f"u{u:02d},{chr(97 + i)},{1 + 4 * (u % 2)}"
        for i, n in enumerate(counts)
        for u in range(1, n + 1)
    ]
    path.write_text("\n".join(["user,item,rating", "u00,a,5", *lines]) + "\n")
    return load_data(path, runs=tmp_path)


def by(models: list[Told], data: Data) -> Predict:
    """What the mean of models predicts."""
    return lambda pairs: combined(models, pairs, data.known.range)


def test_an_item_with_two_ratings_is_not_listed_first(tmp_path: Path) -> None:
    data = data_of([20, 2, 60, 30], tmp_path)
    model = Told(torch.tensor([4.9, 4.6, 4.5, 3.0]).double())
    found = recommend(by([model], data), data.known, "u00")
    assert found.item_ids.tolist() == ["c", "b", "d"]  # a is rated, b predicted to be best
    assert found.predictions.tolist() == pytest.approx([4.5, 4.6, 3.0])
    assert found.counts.tolist() == [60, 2, 30]
    assert found.stds.tolist() == [0.5] * 3
    assert (found.n_rated, found.n_unknown, len(found)) == (1, 0, 3)
    assert len(recommend(by([model], data), data.known, "u00", n=2)) == 2


def test_the_score_is_what_is_predicted_above_average_shrunk() -> None:
    counts = np.array([2, 60, 30])
    typical = typical_count(counts)
    assert typical == pytest.approx((4 + 3600 + 900) / 92)
    predictions = np.array([[4.6, 4.5, 2.9], [3.0, np.nan, 4.0]])
    score = listing_score(predictions, counts, shrinkage=typical)
    assert score[0].tolist() == pytest.approx(
        [0.6 * 2 / (2 + typical), 0.5 * 60 / (60 + typical), -1.1 * 30 / (30 + typical)]
    )
    assert np.isnan(score[1, 1])
    assert score[1, 2] == pytest.approx(0.5 * 30 / (30 + typical))
    np.testing.assert_allclose(
        score * 7, listing_score(predictions * 7 + 2, counts, shrinkage=typical)
    )


def test_several_models_answer_with_their_mean_and_titles_are_told(tmp_path: Path) -> None:
    data = data_of([20, 20, 20], tmp_path)
    models = [Told(torch.tensor(x).double()) for x in ([1.0, 4, 2], [1.0, 1, 9])]
    titled = replace(data.known, titles={"b": "Bambi"})
    found = recommend(by(models, data), titled, "u00")
    assert found.item_ids.tolist() == ["c", "b"]
    assert found.predictions.tolist() == [3.5, 2.5]  # 9 is out of range: 5
    assert found.titles == ["", "Bambi"]
    assert list(found.columns()) == ["rank", "item", "title", "prediction", "std", "ratings"]
    assert "title" not in recommend(by(models, data), data.known, "u00").columns()


def test_who_is_new_is_folded_in(tmp_path: Path) -> None:
    data = data_of([20, 20, 20, 20], tmp_path)
    model = Told(torch.tensor([3.0, 3.1, 3.2, 3.3]).double())
    given = Given.of(data.known, ["b", "zz", "b", "zz"], [5, 1, 3, 1])
    found = recommend_to_newcomer(by([given.fold(model)], data), data.known, given)
    assert found.item_ids.tolist() == ["d", "c", "a"]
    assert found.predictions.tolist() == pytest.approx([4.3, 4.2, 4.0])
    assert (found.n_rated, found.n_unknown) == (1, 1)
    with pytest.raises(InputError, match=r"item c: expected a rating from 1 to 5, .* got 9"):
        Given.of(data.known, ["b", "c"], [5, 9])
    given = Given.of(data.known, list("abcd"), [5, 5, 5, 5])
    with pytest.raises(InputError, match="all 4 items"):
        recommend_to_newcomer(by([model], data), data.known, given)


def test_items_may_be_named_or_left_out_or_be_rated_already(tmp_path: Path) -> None:
    data = data_of([20, 20, 20, 20], tmp_path)
    predict = by([Told(torch.tensor([4.0, 3.0, 2.0, 1.0]).double())], data)

    def listed(**wanted: Any) -> list[str]:
        found = recommend(predict, data.known, "u00", wanted=Wanted(**wanted))
        return [str(one) for one in found.item_ids]

    assert listed() == ["b", "c", "d"]
    assert listed(rated=True) == ["a", "b", "c", "d"]
    assert listed(among=["a", "d", "c", "zz"]) == ["c", "d"]
    assert listed(without=["b"], among=["b", "c"]) == ["c"]
    with pytest.raises(InputError, match="no item is left"):
        listed(among=["a"])


def test_similar_items_by_id_or_title(tmp_path: Path) -> None:
    data = data_of([20, 20, 20, 20], tmp_path)
    model = Told(torch.tensor([1.0, 4, 2, 8]).double())
    titles = {"never rated": "Bambi", "a": "b", "b": "Bambi", "c": "Casablanca"}
    titled = replace(data.known, titles=titles)
    for asked in ("b", "bambi"):
        found = similar_items([model], titled, asked, n=2)
        assert found.item_ids.tolist() == ["c", "a"]
        assert found.similarities.tolist() == pytest.approx([0.8, 0.7])
        assert (found.item_id, found.title, found.titles) == ("b", "Bambi", ["Casablanca", "b"])
    with pytest.raises(InputError, match=r"item 'Bambu': .* did you mean 'Bambi'"):
        similar_items([model], titled, "Bambu")


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_column_of_titles_has_no_ids(as_frame: bool, tmp_path: Path) -> None:
    titles = {"0": "21", "1": "Heat, The (2013)", "2": "Heat (1995)", "3": "Heat (1986)"}
    titles |= {"21": "Elsewhere", "4": "Big"}
    ids = np.array([0, 1, 2, 3, 4, 21])
    known = replace(data_of([20] * 6, tmp_path).known, titles=titles, items=Ids(ids))
    rows = {"Name": ["21", "The Heat", "heat", "Elsewhere (2001)", "2", "Big"]}
    rows |= {"Year": ["2008", "2013", "1995", "", "2001", "1988"], "Rating": ["1", "2", "3"] * 2}
    path = tmp_path / "ratings.csv"
    if as_frame:
        told = item_ratings_of(read_frame(rows))
    else:
        lines = [",".join(row) for row in zip(*rows.values(), strict=True)]
        path.write_text("\n".join(["Name,Year,Rating", *lines]))
        told = read_item_ratings(path)
    given = Given.of(known, told.items, told.ratings, are_titles=told.are_titles)
    assert known.items.values[given.items].tolist() == [0, 1, 2, 4, 21]
    assert (given.values.tolist(), given.unknown) == ([1, 2, 3, 3, 1], ("2 (2001)",))
    assert known.item_rows(["Heat (1995)", "Heat, The", "2", "Heat"]).tolist() == [2, 1, 2, -1]
    exact = replace(known, titles=titles | {"1": "The Heat", "4": "Heat, The"})
    assert exact.item_rows(["the heat", "heat, the"]).tolist() == [1, 4]
    untitled = read_item_ratings(path, titled=False) if not as_frame else None
    assert untitled is None or untitled.items.tolist() == rows["Name"]


def test_items_are_named_by_a_title_that_one_alone_has(tmp_path: Path) -> None:
    titles = {"a": "Alien (1979)", "b": "Twins", "c": "Twins", "d": "a"}
    known = replace(data_of([20, 20, 20, 20], tmp_path).known, titles=titles)
    model = Told(torch.tensor([4.0, 3.0, 2.0, 1.0]).double())
    assert known.item_rows(["d", " alien (1979)", "a", "zz"]).tolist() == [3, 0, 0, -1]
    given = Given.of(known, ["Alien (1979)", "Heat", "d"], [5, 4, 1])
    assert (given.items.tolist(), given.values.tolist()) == ([0, 3], [5, 1])
    assert given.unknown == ("Heat",)
    with pytest.raises(InputError, match="item 'Twins': the title of 2 items, b, c: name one by"):
        Given.of(known, ["Alien (1979)", "Twins", "d"], [5, 4, 1])

    def listed(**wanted: Any) -> Recommendations:
        predict: Predict = lambda pairs: combined([model], pairs, known.range)  # noqa: E731
        return recommend(predict, known, "u00", wanted=Wanted(**wanted))

    found = listed(among=["Heat", "b", "c"], without=["zz"])
    assert (found.item_ids.tolist(), found.n_unknown) == (["b", "c"], 2)
    assert str(found).endswith("\n2 of the items that were named are not known")
    with pytest.raises(InputError, match="no item is left to list; 1 of the items that were named"):
        listed(among=["Heat"])
    with pytest.raises(InputError, match="item 'twins': the title of 2 items"):
        listed(without=["twins"])
    with pytest.raises(InputError, match="item 'Twins': the title of 2 items, b, c: name one by"):
        similar_items([model], known, "Twins")
    numbered = replace(known, items=Ids(np.arange(4)), titles={"1": "Alien", "2": "1984"})
    assert numbered.item_rows(["Alien", "1984", 2]).tolist() == [1, -1, 2]


@pytest.mark.parametrize(
    ("content", "titles"),
    [
        ('movieId,title,genres\n1,"Toy, Story",x\n2,Heat,\n', {"1": "Toy, Story", "2": "Heat"}),
        (
            "1::Toy Story (1995)::Animation\n2::Heat::Crime\n",
            {"1": "Toy Story (1995)", "2": "Heat"},
        ),
        ("1|Léon|1994||0|1\n2|Heat|1995||1|0\n", {"1": "Léon", "2": "Heat"}),
        ("name\tx\titem_id\nLéon\t9\ttt007\n", {"tt007": "Léon"}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_titles(content: str, titles: dict[str, str], encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "titles"
    path.write_bytes(content.encode(encoding))
    assert read_titles(path) == titles


def test_titles_of_items_that_are_called_as_in_the_ratings(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("title,book code\nEmma,bk-1\n")
    assert read_titles(path, item_name="book code") == {"bk-1": "Emma"}
    with pytest.raises(InputError, match=r"'title', 'book code'; begin .* 'isbn' and 'title'"):
        read_titles(path, item_name="isbn")


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (["tt2,Hello, Dolly,x"], "2: expected 3 fields, got 4 fields; the row is left out"),
        (["tt2"], "2: expected 3 fields, got 1 field, 'tt2'; the row is left out"),
        (["a", "b", "c"], "2: expected 3 fields, got 1 field, 'a'; the row is left out, as are 2 "),
    ],
)
@pytest.mark.parametrize("first", ["movie_id,title,x", "tt0,Zero,x"])
def test_an_odd_row_of_titles_is_left_out(
    odd: list[str], said: str, first: str, tmp_path: Path
) -> None:
    path, told = tmp_path / "titles.csv", []
    rows = [f"tt{n},Film {n},x" for n in range(3, 9)]
    path.write_text("\n".join([first, *odd, *rows]))
    titles = read_titles(path, warn=told.append)
    assert titles == {f"tt{n}": f"Film {n}" for n in range(3, 9)} | (
        {"tt0": "Zero"} if first[:3] == "tt0" else {}
    )
    assert len(told) == 1
    assert told[0].startswith(f"{path}:{said}")
    with pytest.warns(UserWarning, match="the row is left out"):
        read_titles(path)
    path.write_text("\n".join([first, *odd * 9, *rows]))
    with pytest.raises(InputError, match=":2: expected 3 fields, got "):
        read_titles(path)


def test_a_header_of_unknown_names_is_no_item(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("key,caption\n7,Heat\n8,Alien\n")
    with pytest.raises(InputError, match="begin with a line that calls them 'item' and 'title'"):
        read_titles(path)
    path.write_text("star;4.5\n007;4\n")
    ids, ratings, _ = read_item_ratings(path)
    assert (ids.tolist(), ratings.tolist()) == (["star", "007"], [4.5, 4.0])


@pytest.mark.parametrize("first", ["7,Film 1 (1995)", "tt7,Film", "tt7,Movie Title"])
def test_a_first_line_of_an_item_is_no_header(first: str, tmp_path: Path) -> None:
    path = tmp_path / "titles"
    path.write_text(f"{first}\nx,Heat\n")
    item, title = first.split(",")
    assert read_titles(path, item_ids={"tt7", "x"}) == {item: title, "x": "Heat"}
    path.write_text("star,5\nx,4\n")
    ids, ratings, _ = read_item_ratings(path, item_ids={"star"})
    assert (ids.tolist(), ratings.tolist()) == (["star", "x"], [5.0, 4.0])


@pytest.mark.parametrize("header", ["id,title", "ID,name", "genre,id,title"])
def test_an_id_beside_a_title_is_that_of_an_item(header: str, tmp_path: Path) -> None:
    path = tmp_path / "titles"
    row = {"id": "{}", "genre": "x"}
    rows = [
        ",".join(row.get(name.lower(), title) for name in header.split(",")).format(item)
        for item, title in (("tt7", "Heat"), ("tt8", "1984"))
    ]
    path.write_text("\n".join([header, *rows]))
    assert read_titles(path) == {"tt7": "Heat", "tt8": "1984"}


def test_tables_of_items_in_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "items"
    parquet.write_table(pa.table({"rating": [4.5, 2], "movie": [7, 8], "title": ["A", None]}), path)
    assert read_titles(path) == {"7": "A", "8": ""}
    ids, ratings, _ = read_item_ratings(path)
    assert (ids.tolist(), ratings.tolist()) == (["7", "8"], [4.5, 2.0])
    parquet.write_table(pa.table({"x": [4.5]}), path)
    with pytest.raises(InputError, match="hold item and title, got 'x'; call them 'item' and 't"):
        read_titles(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item,rating\na,5\nb,good\n", ":3: expected a rating, a number .* got 'good'"),
        ("item,rating\na,5\nb\n", ":3: expected 2 fields, got 1"),
        ("item,score,stars\na,5,5\n", "cannot tell which columns hold item and rating"),
        (
            "thing,how good\na,5\n",
            "cannot tell .* got 'thing', 'how good'; begin .* 'item' and 'rat",
        ),
        ("item,rating\na,5\nb,6\n", ":3: expected a rating from 1 to 5, as in the data, got 6"),
        ("a,5\nb,0\n", ":2: expected a rating from 1 to 5, as in the data, got 0"),
        ("", "expected a table"),
    ],
)
def test_ratings_that_are_wrong(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_item_ratings(path, within=(1, 5))


def test_ratings_with_columns_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("points,film\n5,a\n")
    ids, ratings, _ = read_item_ratings(path, names=("film", "points"))
    assert (ids.tolist(), ratings.tolist()) == (["a"], [5.0])
    path.write_text("a;5\n007;4\n")
    ids, ratings, _ = read_item_ratings(path, names=("film", "points"))
    assert (ids.tolist(), ratings.tolist()) == (["a", "007"], [5.0, 4.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With ratings.csv, titles.csv, and a finished study of gibbs with a saved model."""
    folder = tmp_path_factory.mktemp("studied")
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(30 * 20)[:450], 20)
    level, taste = draw.normal(3, 0.6, 30), draw.normal(0, 1, 20)
    with (folder / "ratings.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "movie_id", "rating"))
        for u, i in zip(users, items, strict=True):
            rating = np.clip(np.round(level[u] + taste[i] + draw.normal(0, 0.5)), 1, 5)
            writer.writerow((f"Zürich-{u:02d}", f"tt{i:04d}", f"{rating:g}"))
        writer.writerows(("everything", f"tt{i:04d}", "3") for i in range(20))
    titles = [f"tt{i:04d},[Film] {i} {'with a long title ' * 6}" for i in range(20)]
    (folder / "titles.csv").write_text("\n".join(["movie_id,title", *titles]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("study.workers.team.suitable_workers", lambda *_: 1)
        set_epochs(patch, gradient=5, gibbs=30)
        for main, *more in ((run.main, "--trials", "2"), (best_predict.main, "--queries", "q.csv")):
            Path("q.csv").write_text("user_id,movie_id\nZürich-01,tt0001\n")
            with pytest.raises(SystemExit) as exit_:
                main([*FILES, *more])
            assert exit_.value.code == 0
        yield folder


@pytest.fixture
def call(folder: Path, outcome_of: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command there, where nothing may be trained: exit code, output, errors."""
    monkeypatch.setattr(
        "study.answers.retraining.make_solver", lambda *_, **__: pytest.fail("trains")
    )
    monkeypatch.setenv("COLUMNS", "80")

    return lambda main, *arguments: outcome_of(main, *FILES, *arguments)


def test_a_list_for_a_user_fits_a_terminal(call: Call) -> None:
    code, out, err = call(command.main, "--user", "Zürich-03", "--titles", "titles.csv")
    assert (code, err) == (0, "")
    with open("ratings.csv") as file:
        rated = [row["movie_id"] for row in csv.DictReader(file) if row["user_id"] == "Zürich-03"]
    told, heading, names, *rows = out.splitlines()
    assert "gibbs" in told
    assert told.endswith("loaded, trained before")
    assert heading == f"For Zürich-03 (user_id), who has rated {len(rated)}"
    assert names.split() == ["rank", "movie_id", "title", "prediction", "std", "ratings"]
    assert len(rows) == min(LENGTH, 20 - len(rated))
    assert max(map(len, out.splitlines())) <= 80
    for row in rows:
        assert row.split()[1] not in rated
        assert "[Film] " in row
        assert "…" in row


def test_a_list_for_who_is_new_is_written_too(call: Call, folder: Path) -> None:
    likes = ["tt0001", "tt0002", "tt0003"]
    lists = []
    for rating in (1, 5):
        rows = "".join(f"{item},{rating}\n" for item in likes)
        Path("mine.csv").write_text(f"movie_id,rating\n{rows}never seen,3\n")
        code, out, err = call(
            command.main, "--ratings", "mine.csv", "--out", "list.csv", "--top", 20
        )
        assert (code, err) == (0, "")
        assert "For a new user who has rated 3 of the items, and 1 that the data do not have" in out
        assert ", such as 'never seen'\n" in out
        assert "Wrote: list.csv, 17 items" in out
        with open("list.csv") as file:
            lists.append(list(csv.DictReader(file)))
    harsh, kind = lists
    assert list(kind[0]) == ["rank", "movie_id", "prediction", "std", "ratings"]
    assert [row["rank"] for row in kind] == [str(n) for n in range(1, 18)]
    assert not {row["movie_id"] for row in kind} & set(likes)
    liked = [sum(float(row["prediction"]) for row in rows) for rows in (harsh, kind)]
    assert liked[1] > liked[0] + 10


def test_an_odd_row_of_titles_is_told_on_standard_error(call: Call) -> None:
    titles = Path("titles.csv").read_text()
    Path("odd.csv").write_text(f"{titles}tt0099,Hello, Dolly\n")
    code, out, err = call(command.main, "--user", "Zürich-03", "--titles", "odd.csv")
    assert (code, "[Film] " in out) == (0, True)
    assert err == (
        "study.recommend: odd.csv:22: expected 2 fields, got 3 fields; the row is left out\n"
    )


def test_ratings_of_several_are_of_nobody_new(call: Call) -> None:
    Path("theirs.csv").write_text("user_id,movie_id,rating\na,tt0001,4\nb,tt0002,5\n")
    code, _, err = call(command.main, "--ratings", "theirs.csv")
    assert (code, err) == (
        2,
        "study.recommend: theirs.csv: expected the ratings of one user, got 2 in column 'user_id', "
        "such as 'a' and 'b'\n",
    )
    Path("theirs.csv").write_text("user_id,movie_id,rating\na,tt0001,4\na,tt0002,5\n")
    assert call(command.main, "--ratings", "theirs.csv")[0] == 0


def test_ratings_of_who_is_new_may_have_decimal_commas(call: Call) -> None:
    outs = []
    for text in ("movie_id,rating\ntt0001,4.5\n", "movie_id;rating\ntt0001;4,5\n"):
        Path("mine.csv").write_text(text)
        code, out, _ = call(command.main, "--ratings", "mine.csv")
        assert code == 0
        outs.append(out)
    assert outs[0] == outs[1]


def test_who_is_new_and_has_rated_nothing_is_an_average_user(call: Call) -> None:
    Path("nothing.csv").write_text("movie_id,rating\n")
    code, out, err = call(command.main, "--ratings", "nothing.csv", "--out", "nothing_list.csv")
    assert (code, err) == (0, "")
    assert "For a new user who has rated 0 of the items\n" in out
    with open("nothing_list.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == LENGTH
    pairs = "".join(f"nobody,{row['movie_id']}\n" for row in rows)
    Path("of_nobody.csv").write_text(f"user_id,movie_id\n{pairs}")
    call(best_predict.main, "--queries", "of_nobody.csv", "--out", "of_nobody_answers.csv")
    with open("of_nobody_answers.csv") as file:
        answers = [row["prediction"] for row in csv.DictReader(file)]
    assert answers == [row["prediction"] for row in rows]


def test_similar_items_are_listed(call: Call) -> None:
    code, out, err = call(command.main, "--similar", "tt0007", "--top", 3)
    assert (code, err) == (0, "")
    _, heading, names, *rows = out.splitlines()
    assert heading == "Like tt0007 (movie_id)"
    assert names.split() == ["rank", "movie_id", "similarity", "ratings"]
    assert len(rows) == 3
    assert "tt0007" not in "".join(rows)


def test_reasons_are_told_below_a_list(call: Call) -> None:
    code, out, err = call(command.main, "--user", "Zürich-03", "--top", 3, "--why")
    assert (code, err) == (0, "")
    _, _, _, *rows = out.splitlines()
    assert len(rows) == 6
    for row, reason in zip(rows[:3], rows[3:], strict=True):
        item, told = reason.split(": ")
        assert item in row
        assert len(re.findall(r"tt\d{4} [+-]0\.\d\d", told)) == 3
        assert item not in told
    Path("mine.csv").write_text("movie_id,rating\ntt0001,5\ntt0002,5\ntt0003,1\n")
    code, out, err = call(command.main, "--ratings", "mine.csv", "--top", 1, "--why")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].count(" +") + out.splitlines()[-1].count(" -") >= 1
    code, _, err = call(command.main, "--similar", "tt0007", "--why")
    assert code == 2
    assert "--why is for the list of one user" in err


def test_lists_of_everyone_go_to_a_table(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # intervals are calibrated, which trains
    monkeypatch.setattr("study.workers.team.suitable_workers", lambda *_: 1)
    asked = ("--everyone", "--top", 3, "--titles", "titles.csv", "--out", "lists.csv")
    code, out, err = call(command.main, *asked)
    assert (code, err) == (0, "")
    with open("ratings.csv") as file:
        rated = {(row["user_id"], row["movie_id"]) for row in csv.DictReader(file)}
    with open("lists.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["user_id", "rank", "movie_id", "title", "prediction"]
    users = {user for user, _ in rated} - {"everything"}
    assert {row["user_id"] for row in rows} == users
    assert not {(row["user_id"], row["movie_id"]) for row in rows} & rated
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    assert f"Wrote: lists.csv, {len(rows):,} rows, the lists of {len(users)} users\n" in out
    code, _, err = call(command.main, *asked[:-2])
    assert (code, "Expected --out FILE for the lists of --everyone" in err) == (2, True)
    code, out, _ = call(command.main, *asked, "--json", "--quiet")
    assert json.loads(out)["rows"] == len(rows)


def test_json_names_whom_a_list_is_for(call: Call) -> None:
    Path("mine.csv").write_text("movie_id,rating\ntt0001,4\n")
    for option, value, expected in (
        ("--user", "Zürich-03", {"user": "Zürich-03"}),
        ("--ratings", "mine.csv", {"user": None}),
        ("--similar", "tt0007", {"item": "tt0007"}),
    ):
        code, out, _ = call(command.main, option, value, "--json", "--quiet")
        told = json.loads(out)
        assert code == 0
        assert {name: told[name] for name in ("user", "item") if name in told} == expected


def test_new_pairs_are_predicted_without_training(call: Call) -> None:
    Path("new.csv").write_text("user_id,movie_id\nZürich-05,tt0002\nnobody,tt0002\nx,nothing\n")
    code, out, err = call(best_predict.main, "--queries", "new.csv", "--out", "new_answers.csv")
    assert (code, err) == (0, "")
    assert "loaded, trained before" in out
    with open("new_answers.csv") as file:
        answers = [float(row["prediction"]) for row in csv.DictReader(file)]
    assert len(set(answers)) == 3
    assert all(1 <= answer <= 5 for answer in answers)


def test_other_data_than_the_study_has_are_told_what_it_has(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--user", "Zürich-03"])
    err = capsys.readouterr().err
    assert " of built-in demo: not in this database, which holds: ratings-" in err
    assert err.endswith(" of ratings.csv; did you mean --data ratings.csv?\n")


def test_other_columns_than_the_study_was_made_with(call: Call) -> None:
    code, _, err = call(command.main, "--user", "tt0003", "--columns", "2,1,3")
    assert code == 2
    assert err.endswith(
        "; did you mean other --columns, --missing, --items or --users? "
        "Or ratings.csv has changed since\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--user Zürich-3",
            "user 'Zürich-3': not among the 31 users of ratings.csv; did you mean 'Zürich-03'?\n",
        ),
        ("--user everything", "user everything has rated all 20 items of ratings.csv: nothing"),
        ("--user Zürch-03", "did you mean 'Zürich-03'?\n"),
        ("--user Zürich-93", "user 'Zürich-93': not among the 31 users of ratings.csv\n"),
        ("--similar tt0070", "item 'tt0070': not among the 20 items of ratings.csv\n"),
        (
            "--user Zürich-03 --out x.cvs",
            "x.cvs: expected a name that ends in .csv, .tsv",
        ),
        ("--user Zürich-03 --out no/x.csv", "no/x.csv: no such folder: no"),
        ("--user Zürich-03 --out ratings.csv", "ratings.csv: expected a file of its own"),
        ("--user Zürich-03 --titles none.csv", "none.csv: no such file"),
        (
            "--user Zürich-03 --similar tt0001",
            "Expected one of --user, --ratings or --about, --similar, and --everyone",
        ),
        ("--about age=20,age=70", "Expected each column of --about once, got age=20,age=70"),
        ("--top 3", "Expected one of --user, --ratings or --about, --similar, and --everyone"),
        ("--user Zürich-03 --study-name other", "study 'other' of ratings.csv: not in this"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(call: Call, arguments: str, message: str) -> None:
    code, out, err = call(command.main, *arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("study.recommend: ")
    assert err.count("\n") == 1
