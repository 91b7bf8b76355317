"""Scores of predictions, intervals and lists: by hand, by plain loops, and by the commands."""

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from records import ask

import study
from model.dataset import UNKNOWN
from model.solvers import ALSConfig
from model.splits import split
from storage.database import open_storage, parse_storage_url
from storage.errors import InputError
from storage.sources import Sources
from storage.tables import read_pairs
from storage.truths import read_truth
from study import best_predict, evaluate
from study.answers.evaluation import Evaluation, Test
from study.answers.evaluation import evaluate as evaluated
from study.answers.scores import (
    LENGTH,
    Deviations,
    Listed,
    listed,
    ndcg,
    score,
    score_groups,
    score_lists,
)
from study.inputs import load_data
from study.record.studies import default_name, identity, open_study
from study.report.findings import findings
from study.report.page import render
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]


def test_errors_are_those_by_hand() -> None:
    found = score(np.array([3.0, 4.0, 2.0]), np.array([4.0, 4.0, 5.0]), np.array([0, 0, 1]))
    assert (found.ratings, found.users) == (3, 2)
    # errors are -1, 0 and -3
    assert found.mse.value == pytest.approx(10 / 3)
    assert found.rmse.value == pytest.approx(math.sqrt(10 / 3))
    assert found.mae.value == pytest.approx(4 / 3)
    assert found.bias.value == pytest.approx(-4 / 3)
    assert (found.coverage, found.width) == (None, None)
    # Of two users drawn with replacement there are the first twice, both, or the second twice.
    assert (found.bias.low, found.bias.high) == pytest.approx((-3.0, -0.5))
    assert (found.mse.low, found.mse.high) == pytest.approx((0.5, 9.0))


def test_one_user_does_not_tell_of_others() -> None:
    found = score(np.array([3.0, 4.0]), np.array([4.0, 4.0]), np.array([7, 7]))
    assert found.bias.value == -0.5
    assert math.isnan(found.bias.low)
    assert str(found.bias) == "-0.5000"
    assert found.bias.to_dict() == {"value": -0.5, "low": None, "high": None}


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(*[st.integers(1, 10)] * 3, st.integers(0, 3)),
        min_size=1,
        max_size=30,
    )
)
def test_coverage_is_counted_as_by_a_plain_loop(rows: list[tuple[int, int, int, int]]) -> None:
    ends = np.sort(np.array([row[:2] for row in rows]) / 2, axis=1)
    truth, users = np.array([row[2] / 2 for row in rows]), np.array([row[3] for row in rows])
    n_inside, width = 0, 0.0
    for (lower, upper), true in zip(ends.tolist(), truth.tolist(), strict=True):
        n_inside += lower <= true <= upper
        width += upper - lower
    found = Deviations.of(truth, truth, users, intervals=(ends[:, 0], ends[:, 1]))
    (errors,) = score_groups(found, [np.full(len(rows), True)])
    assert errors.coverage and errors.width
    assert errors.coverage.value == pytest.approx(n_inside / len(rows))
    assert errors.width.value == pytest.approx(width / len(rows))


def test_an_interval_is_that_of_users_drawn_again() -> None:
    draw = np.random.default_rng(1)
    users = draw.integers(0, 40, 600)
    error = draw.normal(0.2, 1, 600) + draw.normal(0, 0.5, 40)[users]
    bias = score(error, np.zeros(600), users).bias
    means, own = [], [error[users == user].tolist() for user in range(40)]
    for _ in range(1500):
        drawn = [one for user in draw.integers(0, 40, 40).tolist() for one in own[user]]
        means.append(sum(drawn) / len(drawn))
    assert (bias.low, bias.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.03)
    alone = score(error, np.zeros(600), np.arange(600)).bias
    assert bias.high - bias.low > 1.3 * (alone.high - alone.low)


def test_groups_share_the_users_that_are_drawn() -> None:
    draw = np.random.default_rng(2)
    users, error = np.append(np.arange(30), draw.integers(0, 30, 60)), draw.normal(size=90)
    group = users >= 14
    masks = [np.full(90, True), group]
    _, found = score_groups(Deviations.of(error, np.zeros(90), users), masks)
    again, means = np.random.default_rng(0), []
    for _ in range(1000):
        times = again.multinomial(30, np.full(30, 1 / 30))
        total = sum(times[u] * e for u, e in zip(users[group], error[group], strict=True))
        means.append(total / sum(times[u] for u in users[group]))
    wanted = np.quantile(means, [0.025, 0.975])
    assert (found.bias.low, found.bias.high) == pytest.approx(wanted)


def by_hand(
    scores: NDArray[np.float64], liked: set[tuple[int, int]], n_unknown: dict[int, int]
) -> dict[int, tuple[float, float, float]]:
    """Precision, recall and NDCG of every user who likes something, by loops."""
    found = {}
    for user in range(len(scores)):
        order = sorted(range(scores.shape[1]), key=lambda i: -scores[user, i])
        relevant = [i for i in order if (user, i) in liked and scores[user, i] > -math.inf]
        n_relevant = len(relevant) + n_unknown.get(user, 0)
        if not n_relevant:
            continue
        gain = sum(
            1 / math.log2(place + 1) for place, i in enumerate(order[:10], 1) if i in relevant
        )
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(n_relevant, 10) + 1))
        n_hits = sum(i in relevant for i in order[:10])
        found[user] = n_hits / 10, n_hits / n_relevant, gain / ideal
    return found


def test_lists_are_scored_as_by_plain_loops() -> None:
    draw = np.random.default_rng(0)
    n_users, n_items = 23, 31
    scores = draw.normal(size=(n_users, n_items))
    scores[draw.random(scores.shape) < 0.2] = -np.inf  # rated before
    users, items = draw.integers(0, n_users, 160), draw.integers(0, n_items, 160)
    numbers = users + 100, items + 100
    items[::9] = UNKNOWN  # each different
    numbers[1][::9] = np.arange(len(items[::9]))
    users[::11] = UNKNOWN
    users[users == 5], users[users == 6] = 7, UNKNOWN
    known = users != UNKNOWN
    liked = {(u, i) for u, i in zip(users, items, strict=True) if i != UNKNOWN}
    lost = users[known & (items == UNKNOWN)]
    wanted = by_hand(scores, liked, {u: int((lost == u).sum()) for u in lost.tolist()})
    asked = []

    def scores_of(some: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.extend(some.tolist())
        return scores[some]

    def found(most: int) -> Listed:
        return listed(
            scores_of, users=users, items=items, numbers=numbers, n_items=n_items, most=most
        )

    all_of_them = found(1000)
    assert asked == sorted({*users[known].tolist()})
    assert len(all_of_them.users) == len(wanted) > 15
    numbered = {int(users[n]): int(numbers[0][n]) for n in np.flatnonzero(known)}
    assert all_of_them.users.tolist() == [numbered[user] for user in wanted]
    (lists, none) = score_lists(all_of_them, [numbers[0], np.array([-1])])
    assert lists
    assert none is None
    for place, figure in enumerate((lists.precision, lists.recall, lists.ndcg)):
        assert figure.value == pytest.approx(np.mean([one[place] for one in wanted.values()]))
        assert figure.low < figure.value < figure.high
    some = found(6)
    assert len(some.users) <= 6 < len(all_of_them.users)
    assert set(some.users) <= set(all_of_them.users)


def test_few_items_make_a_short_list() -> None:
    hits = listed(
        lambda users: np.array([[0.1, 0.3, -np.inf]]),
        users=np.array([0, 0]),
        items=np.array([1, 2]),
        numbers=(np.array([0, 0]), np.array([1, 2])),
        n_items=3,
        most=5,
    )
    assert hits.n_relevant.tolist() == [1]
    assert hits.hits.tolist() == [[True] + [False] * 9]
    assert ndcg(hits.hits, hits.n_relevant).tolist() == [1.0]


def some_test(n: int = 900, n_users: int = 60, n_items: int = 40) -> Test:
    """Ratings of users who have 1 to 60, of items that are old or new."""
    draw = np.random.default_rng(3)
    users, items = draw.integers(0, n_users, n), draw.integers(0, n_items, n)
    return Test(
        truth=draw.integers(1, 6, n).astype(float),
        users=users,
        items=items,
        numbers=(users, items),
        user_counts=1 + users,
        item_counts=np.where(items < 20, 3, 400),
        likes=np.full(n, 4.0),
        n_items=n_items,
        ahead=np.where(users % 2, 60.0, 1e6),
        labels={
            ("item", "age", "old"): items < 20,
            ("item", "age", "new"): items >= 20,
            ("user", "sex", "F"): users % 3 == 0,
            ("user", "sex", "M"): users % 3 > 0,
            ("user", "alone", "one of its kind"): users == 0,
        },
    )


def an_evaluation(**more: Any) -> tuple[Test, NDArray[np.float64], Evaluation]:
    test, draw = some_test(), np.random.default_rng(4)
    predicted = np.clip(test.truth + draw.normal(0.3, 1, len(test.truth)), 1, 5)
    scores = np.random.default_rng(5).normal(size=(60, 40))
    ends = predicted - 1.5, predicted + 1.5
    told: dict[str, Any] = {"source": "test.csv", "intervals": ends, "scores": lambda u: scores[u]}
    return test, predicted, evaluated(test, predicted, **(told | more))


def test_groups_are_by_counts_times_and_labels() -> None:
    test, predicted, found = an_evaluation()
    error = predicted - test.truth
    divided = [
        *("ratings of the user", "ratings of the item", "time since the user rated last"),
        *("age of the item", "sex of the user"),
    ]
    assert list(dict.fromkeys(one.by for one in found.groups)) == divided
    assert found.errors.rmse.value == pytest.approx(np.sqrt(np.mean(error**2)))
    masks = {
        **{key: here for (_, _, key), here in test.labels.items()},
        "within an hour": test.ahead < 3600,
        "within a month": test.ahead == 1e6,
    }
    for one in found.groups:
        here = masks.get(one.label)
        if here is None:
            low, high = map(int, one.label.split(" to "))
            counts = test.user_counts if one.by.endswith("user") else test.item_counts
            here = (low <= counts) & (counts <= high)
        assert one.errors.ratings == here.sum() >= 100
        assert one.errors.users == len(set(test.users[here])) >= 10
        assert one.errors.bias.value == pytest.approx(error[here].mean())
        assert one.errors.coverage
        assert one.errors.coverage.value == pytest.approx((np.abs(error[here]) <= 1.5).mean())
        assert (one.lists is not None) == (one.by in ("ratings of the user", "sex of the user"))
    assert found.lists and found.lists.users == found.n_listable
    liked = {
        (user, item)
        for user, item, true in zip(test.users, test.items, test.truth, strict=True)
        if true >= 4
    }
    each = by_hand(np.random.default_rng(5).normal(size=(60, 40)), liked, {})
    assert found.lists.precision.value == pytest.approx(np.mean([one[0] for one in each.values()]))
    by_sex = [one.lists for one in found.groups if one.by == "sex of the user" and one.lists]
    weighted = sum(one.users * one.ndcg.value for one in by_sex) / sum(o.users for o in by_sex)
    assert found.lists.ndcg.value == pytest.approx(weighted)


def test_an_evaluation_is_told_in_every_form() -> None:
    _, _, found = an_evaluation(most_predicted=40 * 30)
    assert found.lists and found.lists.users == 30 < found.n_listable
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert f"of lists for 30 of {found.n_listable} users" in text
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["rmse"]["value"] == pytest.approx(found.errors.rmse.value, abs=1e-6)
    assert told["lists"]["ndcg"]["low"] == pytest.approx(found.lists.ndcg.low, abs=1e-6)
    assert len(told["groups"]) == len(found.groups)
    columns = {name: np.asarray(column) for name, column in found.columns().items()}
    assert {len(column) for column in columns.values()} == {1 + len(found.groups)}
    assert columns["bias_high"][0] == found.errors.bias.high
    of_items = columns["by"] == "age of the item"
    assert np.isnan(columns["ndcg"][of_items]).all()
    assert not np.isnan(columns["ndcg"][0])
    assert len(json.dumps(found.to_keep())) < 60_000


def test_without_intervals_and_lists() -> None:
    _, _, found = an_evaluation(intervals=None, scores=None)
    assert (found.errors.coverage, found.lists) == (None, None)
    assert "Coverage" not in str(found)
    assert "NDCG@10" not in str(found)
    assert "coverage" not in found.columns()
    assert found.to_keep()["groups"][0]["ndcg"] is None


USERS, ITEMS = 24, 40
HELD_OUT = 250
FILES = ("--data", "ratings.csv", "--users", "users.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ratings.csv, users.csv, test.csv, and a study of one trial."""
    folder = tmp_path_factory.mktemp("scored")
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(USERS * ITEMS)[: 420 + HELD_OUT], ITEMS)
    level, taste = draw.normal(3, 0.5, USERS), draw.normal(0, 1, ITEMS)
    noise = draw.normal(0, 0.7, len(users))
    ratings = np.clip(np.round(level[users] + taste[items] + noise), 1, 5)
    rows = [
        (f"u{u:02d}", f"tt{i}", f"{r:g}", f"{1_500_000_000 + 5000 * n}")
        for n, (u, i, r) in enumerate(zip(users, items, ratings, strict=True))
    ]
    rows[-1] = ("u99", "tt1", "4", rows[-1][3])  # not known, as is what the next rates
    rows[-2] = (rows[-2][0], "tt99", "5", rows[-2][3])
    for name, some in (("ratings.csv", rows[:420]), ("test.csv", rows[420:])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("user_id", "movie_id", "stars", "timestamp"), *some])
    people = [f"u{u:02d},{'FM'[u % 2]}" for u in range(USERS)]
    (folder / "users.csv").write_text("\n".join(["user_id,gender", *people]) + "\n")
    data = load_data(
        Sources(data=folder / "ratings.csv", users=folder / "users.csv"), runs=folder / "runs"
    )
    sampler, pruner = SlotSampler(0), SolverMedianPruner()
    record = open_study(
        open_storage(parse_storage_url(f"sqlite:///{folder}/runs/study.db")),
        default_name(data.table),
        identity(data.table.digest, split(data.ratings, seed=0)[1], seed=0),
        about="a test",
        sampler=sampler,
        pruner=pruner,
    )
    trial = ask(record.study, ALSConfig(rank=2, weight_decay=0.03, bias_decay=0.01))
    done = {"validation_mse": 0.5, "validation_rmse": 0.7, "best_epoch": 6, "seconds": 0.5}
    for attribute, value in {**done, "stopped": "last epoch"}.items():
        trial.set_user_attr(attribute, value)
    record.study.tell(trial, 0.5)
    return folder


@pytest.fixture
def call(folder: Path, outcome_of: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command there: exit code, output, errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda main, *arguments: outcome_of(main, *FILES, *arguments)


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_scores_what_the_other_commands_answer(call: Call) -> None:
    code, out, err = call(evaluate.main, "--test", "test.csv", "--json", "--out", "scores.csv")
    assert code == 0, err
    told = json.loads(out)
    options = ("--queries", "test.csv", "--intervals", "sure.csv", "--out", "answers.csv")
    code, out, err = call(best_predict.main, *options)
    assert (code, "learned from" in err) == (0, False)
    assert "Scored against: column stars of test.csv\n" in out
    squares, absolute, bias, inside, width = [], [], [], [], []
    for row, true in zip(rows_of("sure.csv"), rows_of("test.csv"), strict=True):
        error = float(row["prediction"]) - float(true["stars"])
        squares.append(error**2)
        absolute.append(abs(error))
        bias.append(error)
        inside.append(
            float(row["lower"]) - 1e-6 <= float(true["stars"]) <= float(row["upper"]) + 1e-6
        )
        width.append(float(row["upper"]) - float(row["lower"]))
    for name, values in (("mse", squares), ("mae", absolute), ("bias", bias), ("width", width)):
        assert told[name]["value"] == pytest.approx(np.mean(values), abs=1e-5)
    assert told["rmse"]["value"] == pytest.approx(np.sqrt(np.mean(squares)), abs=1e-5)
    assert told["coverage"]["value"] == pytest.approx(np.mean(inside))
    assert f"RMSE: {told['rmse']['value']:.4f}  (95 % interval " in out
    assert (told["ratings"], told["users"]) == (
        HELD_OUT,
        len({r["user_id"] for r in rows_of("test.csv")}),
    )
    assert {one["by"] for one in told["groups"]} >= {"gender of the user"}
    table = rows_of("scores.csv")
    assert len(table) == 1 + len(told["groups"])
    assert float(table[0]["ndcg"]) == told["lists"]["ndcg"]["value"]


def test_lists_are_those_that_are_recommended(call: Call) -> None:
    code, out, _ = call(evaluate.main, "--test", "test.csv", "--json")
    told = json.loads(out)["lists"]
    ratings: dict[str, list[float]] = {}
    for row in rows_of("ratings.csv"):
        ratings.setdefault(row["user_id"], []).append(float(row["stars"]))
    liked: dict[str, set[str]] = {}
    for row in rows_of("test.csv"):
        user = row["user_id"]
        if user in ratings and float(row["stars"]) >= sum(ratings[user]) / len(ratings[user]):
            liked.setdefault(user, set()).add(row["movie_id"])
    result = study.find(study.load("ratings.csv", users="users.csv"), quiet=True)
    precision, recall, gain = [], [], []
    for user, items in liked.items():
        hits = [item in items for item in result.recommend(user, items=LENGTH).item_ids.tolist()]
        gains = [1 / math.log2(place + 2) for place in range(LENGTH)]
        precision.append(sum(hits) / LENGTH)
        recall.append(sum(hits) / len(items))
        gain.append(
            sum(g for g, hit in zip(gains, hits, strict=False) if hit) / sum(gains[: len(items)])
        )
    assert code == 0
    assert told["users"] == len(liked)
    assert told["precision"]["value"] == pytest.approx(np.mean(precision), abs=1e-6)
    assert told["recall"]["value"] == pytest.approx(np.mean(recall), abs=1e-6)
    assert told["ndcg"]["value"] == pytest.approx(np.mean(gain), abs=1e-6)


@pytest.mark.filterwarnings("ignore:intervals that rest on")
def test_from_python_from_memory_and_in_the_report(call: Call) -> None:
    result = study.find(study.load("ratings.csv", users="users.csv"), quiet=True)
    rows = rows_of("test.csv")
    test = {name: [row[name] for row in rows] for name in ("user_id", "movie_id", "timestamp")}
    found = result.evaluate(test | {"stars": [float(row["stars"]) for row in rows]}, quiet=True)
    code, out, _ = call(evaluate.main, "--test", "test.csv", "--quiet", "--json")
    assert code == 0
    told = json.loads(out)
    assert found.to_dict()["rmse"] == told["rmse"]
    assert found.source == "data frame"
    with pytest.raises(InputError, match="test: expected a rating of every pair"):
        result.score(result.asked({"user_id": ["u01"], "movie_id": ["tt1"]}), quiet=True)
    _, out, _ = call(evaluate.main, "--test", "test.csv")
    assert str(result.evaluate("test.csv", quiet=True)) in out
    models = re.findall(r"^Trial \d+, \w+(?:, without held-out ratings)?", out, re.MULTILINE)
    assert len(models) == len(set(models)) >= 2  # each is told once
    assert max(map(len, str(found).splitlines())) <= 80
    page = render(findings(result.record))
    assert "On a test of its own" in page
    for text in (
        "test.csv",
        f"{told['rmse']['value']:.4f}",
        f"{told['lists']['ndcg']['value']:.4f}",
    ):
        assert text in page


def test_a_model_scores_itself(call: Call, folder: Path) -> None:
    ratings = study.load("ratings.csv", users="users.csv")
    result, rows = study.find(ratings, quiet=True), rows_of("test.csv")
    test = {name: [row[name] for row in rows] for name in ("user_id", "movie_id")}
    stars = [float(row["stars"]) for row in rows]
    model = result.model()
    found = model.evaluate(test | {"rating": stars}, exact=True)
    predicted = model.predict(test, intervals=True, exact=True)
    error = np.asarray(predicted["prediction"]) - stars
    assert found.errors.rmse.value == pytest.approx(np.sqrt(np.mean(error**2)))
    inside = (predicted["lower"] <= np.array(stars)) & (stars <= predicted["upper"])
    assert found.errors.coverage
    assert found.errors.coverage.value == pytest.approx(np.mean(inside))
    quick = model.evaluate(test | {"rating": stars})
    assert not any("are not within" in doubt for doubt in quick.doubts)
    lowest, highest = model.known.range
    far = np.where(np.arange(len(stars)) < 2, 9 * highest, stars)
    (doubt,) = (one for one in model.evaluate(test | {"rating": far}).doubts if "within" in one)
    assert doubt.startswith(f"2 of {len(far)} ratings, such as {9 * highest:g}, are not within ")
    assert f"{lowest:g} to {highest:g}, as those of " in doubt
    assert quick.errors.rmse.value == pytest.approx(found.errors.rmse.value, abs=0.01)
    wanted = result.score(result.asked("test.csv", rated=True), quiet=True)
    assert found.lists and wanted.lists
    assert found.lists.users == wanted.lists.users
    assert {one.by for one in found.groups} >= {"gender of the user"}
    with pytest.raises(InputError, match="expected a column of ratings"):
        model.evaluate(test)
    with pytest.raises(InputError, match=r"data frame: expected users or items of .*ratings\.csv"):
        model.evaluate({"user_id": ["ann"], "movie_id": ["film"], "rating": [4.0]})


@pytest.mark.filterwarnings("ignore:intervals that rest on")
def test_a_pair_that_was_learned_from_is_warned_of(call: Call, folder: Path) -> None:
    (folder / "seen.csv").write_text(
        "".join(f"{','.join(row.values())}\n" for row in rows_of("ratings.csv")[:4])
    )
    text = (folder / "seen.csv").read_text()
    (folder / "seen.csv").write_text("user_id,movie_id,stars,timestamp\n" + text)
    code, _, err = call(evaluate.main, "--test", "seen.csv")
    assert code == 0
    warning = "4 of the 4 pairs of seen.csv are among the ratings that were learned from"
    assert warning in err
    _, _, err = call(best_predict.main, "--queries", "seen.csv", "--out", "seen.txt")
    assert warning in err
    result = study.find(study.load("ratings.csv", users="users.csv"), quiet=True)
    with pytest.warns(UserWarning, match="4 of the 4 pairs"):
        found = result.evaluate("seen.csv", quiet=True)
    assert found.lists is None  # all that is liked was rated before
    assert "NDCG@10" not in str(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id,movie_id\nu01,tt1\n", "expected a column of ratings .*'stars', got user user_id"),
        ("user_id,movie_id,stars\nu01,tt1,good\n", ":2: expected a rating .* got 'good'"),
        ("user_id,movie_id,stars\nu01,tt1,\n", ":2: expected a rating, got an empty field"),
        ("user_id,movie_id,stars\nann,film,4\n", "users or items of ratings.csv, such as 'u00' an"),
        ("movie_id,user_id,stars\nu01,tt1,4\nu02,tt2,4\n", "users and items look swapped"),
        ("user_id,movie_id,stars\n", "at least one row"),
        ("who,what,stars\nu01,tt1,4\n", "cannot tell which columns hold user and item"),
        ("", "bad.csv:1: expected a table"),
    ],
)
def test_bad_tests(call: Call, folder: Path, content: str, message: str) -> None:
    (folder / "bad.csv").write_text(content)
    code, out, err = call(evaluate.main, "--test", "bad.csv", "--out", "new.csv")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("study.evaluate: ")
    with pytest.raises(InputError, match=message):
        raise InputError(err)
    assert not (folder / "new.csv").exists()


def test_bad_wishes_for_scores(call: Call) -> None:
    for options, said in (
        ((), "Expected --test FILE, with the ratings to score by; --help lists the options"),
        (("--test", "nowhere.csv"), "nowhere.csv: no such file"),
        (("--test", "test.csv", "--out", "test.csv"), "expected a file of its own"),
        (("--test", "test.csv", "--out", "x.xlsx"), "did you mean x.csv"),
    ):
        code, _, err = call(evaluate.main, *options)
        assert code == 2
        assert said in err


def test_ratings_of_queries_that_are_no_numbers_are_not_used(call: Call, folder: Path) -> None:
    (folder / "blank.csv").write_text("user_id,movie_id,stars\nu01,tt1,\nu02,tt2,\n")
    code, out, err = call(best_predict.main, "--queries", "blank.csv", "--out", "a.csv")
    assert (code, err) == (0, "")
    assert "ratings are not used (blank.csv:2: expected a rating, got an empty field)" in out
    assert "RMSE: " not in out
    (folder / "code.csv").write_text("user_id,movie_id,stars\nu01,tt1,99\nu02,tt2,3\n")
    options = ("--queries", "code.csv", "--out", "a.csv", "--missing", "99", "--json", "--quiet")
    code, out, err = call(best_predict.main, *options)
    assert (code, err) == (0, "")
    (first, second) = rows_of("a.csv")
    told = json.loads(out)["score"]
    assert told["mae"]["value"] == pytest.approx(abs(float(second["prediction"]) - 3), abs=1e-5)
    assert float(first["prediction"]) > 0
    code, out, err = call(evaluate.main, "--test", "code.csv", "--missing", "99", "--json")
    assert code == 0
    assert json.loads(out)["ratings"] == 1
    (folder / "code.csv").write_text("user_id,movie_id,stars\nu01,tt1,99\n")
    code, out, err = call(evaluate.main, "--test", "code.csv", "--missing", "99")
    assert (code, out) == (2, "")
    assert "got none but 99, which stands for none" in err


def test_the_truth_may_be_a_table(call: Call, folder: Path) -> None:
    test = rows_of("test.csv")
    pairs = [f"{row['user_id']},{row['movie_id']}" for row in test]
    (folder / "pairs.csv").write_text("\n".join(["user_id,movie_id", *pairs]) + "\n")
    stars = [row["stars"] for row in test]
    shuffled = np.random.default_rng(0).permutation(len(test))
    tables = {
        "truth": "\n".join(stars),
        "named.txt": "\n".join(["rating", *stars]),
        "ids.csv": "\n".join(
            ["stars;note;movie_id;user_id"]
            + [f"{stars[n]};x;{test[n]['movie_id']};{test[n]['user_id']}" for n in shuffled]
            + ["1;not asked;tt3;u00000"]
        ),
        "order.csv": "\n".join(["id,stars", *(f"{n},{one}" for n, one in enumerate(stars))]),
    }
    said = set()
    for name, content in tables.items():
        (folder / name).write_text(content + "\n")
        options = ("--queries", "pairs.csv", "--truth", name, "--json", "--quiet", "--out", "a.csv")
        code, out, err = call(best_predict.main, *options)
        assert (code, err) == (0, ""), name
        said.add(json.dumps(json.loads(out)["score"]))
    assert len(said) == 1


IDS = np.array([1, 2, 2]), np.array([7, 7, 9])


def test_a_truth_in_parquet_with_other_pairs_and_repeated_ones(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "truth"
    columns = {"item": [9, 7, 7, 9, 9], "user": [2, 2, 1, 2, 3], "rating": [5.0, 2, 3, 4, 1]}
    parquet.write_table(pa.table(columns), path)
    assert read_truth(path, *IDS).tolist() == [3.0, 2.0, 4.5]
    parquet.write_table(pa.table({"rating": [5.0, 2, 3], "x": [1, 1, 1]}), path)
    assert read_truth(path, *IDS).tolist() == [5.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "user,item,rating\n1,7,3\n2,9,4\n",
            "each of 3 queries, got none of 1, .* user '2', item '7",
        ),
        ("user,item\n1,7\n2,7\n2,9\n", "expected a column of ratings"),
        ("user,item,rating\n1,7,3\n2,7,x\n2,9,4\n", ":3: expected a rating in column 'rating'"),
        ("id,rating\n0,3\n1,4\n", "expected 3 ratings, one a query, got 2"),
        ("id,rating\n0,3\n1,4\n2,x\n", ":4: expected a rating, .* got 'x'"),
        ("id,rating\n0,3\n1\n2,4\n", ":3: expected 2 fields, got 1"),
        ("this,that\n0,3\n1,4\n2,5\n", "cannot tell which columns hold user and item"),
        ("3\n4\n", "expected 3 ratings, one a query, got 2"),
        ("3\n4 5\n6\n", ":2: expected 1 rating, got 2 fields"),
        ("", "expected 3 ratings, one a query, got 0"),
    ],
)
def test_truths_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "truth"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_truth(path, *IDS)


@pytest.mark.parametrize(
    ("content", "ratings"),
    [
        ("user,item,score\n1,7,3\n2,9,4\n", [3, 4]),
        ("user,item,points,score\n1,7,3,1\n2,9,4,2\n", [3, 4]),  # called as in the ratings
        ("user,item,score,stars\n1,7,3,1\n2,9,4,2\n", None),  # which of both?
        ("1::7::3::978300760\n2::9::4::978300761\n", [3, 4]),
        ("1,7,978300760\n2,9,978300761\n", None),
        ("1,7\n2,9\n", None),
    ],
)
def test_ratings_of_pairs_are_found(
    tmp_path: Path, content: str, ratings: list[float] | None
) -> None:
    path = tmp_path / "pairs"
    path.write_text(content)
    found = read_pairs(path, rating_name="points").ratings
    assert (None if found is None else found.tolist()) == ratings


@pytest.mark.parametrize(
    ("head", "ordered", "other", "said"),
    [
        ("id", "123", "213", "column 'id' has in another order"),
        ("name", ["q8", "q9", "q10"], ["q9", "q8", "q10"], "column 'name' has in another order"),
        ("price", ["$8", "$9", "$3"], ["9", "8", "10"], "column 'price' has in another order"),
        ("user", "122", "221", ":2: expected user '1', as in query 1, got '2'"),
    ],
)
def test_a_truth_whose_rows_are_in_another_order(
    tmp_path: Path, head: str, ordered: Sequence[str], other: Sequence[str], said: str
) -> None:
    path = tmp_path / "truth.csv"

    def write(values: Sequence[str]) -> None:
        path.write_text(f"{head},rating\n{values[0]},5\n{values[1]},2\n{values[2]},3\n")

    write(ordered)
    assert read_truth(path, *IDS).tolist() == [5.0, 2.0, 3.0]
    write(other)
    with pytest.raises(InputError, match=said):
        read_truth(path, *IDS)


def test_a_truth_of_json_lines_may_have_values_that_are_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"

    def write(*ids: int) -> None:
        rows = zip(ids, (5, 2, 3), strict=True)
        objects = ({"a": [1], "b": True, "c": {}, "id": n, "rating": r} for n, r in rows)
        path.write_text("".join(json.dumps(one) + "\n" for one in objects))

    write(1, 2, 3)
    assert read_truth(path, *IDS).tolist() == [5.0, 2.0, 3.0]
    write(3, 2, 1)
    with pytest.raises(InputError, match="column 'id' has in another order"):
        read_truth(path, *IDS)
