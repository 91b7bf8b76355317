"""What times and descriptions brought: kept with the study, told, shown, used for what is new."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from planted_ratings import by_description, by_time
from planted_studies import HOSTILE, full
from quick import set_epochs
from test_planted import train
from test_report import Page

from model.dataset import Ratings
from model.descriptions import of_categories, of_numbers, of_several, weights_of
from model.explained import explained
from model.solvers import SOLVERS
from model.splits import Split
from storage.contents import Numbers, column_of
from storage.errors import InputError
from study import load, tune
from study.answers.groups import labels_of
from study.events import Event, Said
from study.record.attributes import StudyView
from study.report.charts import errors_by_label
from study.report.findings import findings
from study.report.page import render
from study.report.summary import summary
from study.result import Result
from study.sides import described_by

N_USERS, N_ITEMS, N = 80, 60, 4800
HOUR = 3600


def test_a_column_explains_what_was_planted_in_it() -> None:
    ratings, _, planted = by_description()
    found = {one.name: one for one in explained(train(ratings).model, ratings).columns}
    assert {"group", "age", "genre", "words", "year", "useless"} == set(found)
    for name in planted:
        assert 0.05 < found[name].share < 1.0
        assert found[name].share > 3 * max(found["useless"].share, found["age"].share)
    genre = found["genre"]
    assert genre.labels == tuple("abcdef")
    assert np.std(genre.effects) == pytest.approx(planted["genre"], rel=0.6)


def test_effects_of_time_are_told_in_rating_units() -> None:
    training, _, _ = by_time("sittings")
    found = explained(train(training).model, training)
    assert not found.columns
    most = max(found.scales, key=lambda one: one.std)
    assert (most.side, most.seconds) in {("user", 100.0), ("user", 1000.0)}
    assert 0.2 < most.std < 1.2
    assert len(found.times) == len(found.level)
    assert sum(found.level) == pytest.approx(0.0, abs=1e-4)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> Iterator[Result]:
    """A study of ratings by mood and genre; 4 items that the table has are not rated."""
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(N_USERS * N_ITEMS)[:N], N_ITEMS)
    times = 1.5e9 + np.round(draw.integers(0, 40, N) * 86_400 + draw.random(N) * HOUR)
    mood = draw.normal(0, 1.0, (N_USERS, 40))[users, ((times - 1.5e9) // 86_400).astype(int)]
    genre, age = np.arange(N_ITEMS + 4) % 4, draw.integers(20, 60, N_USERS)
    values = 3 + np.array([-1.0, -0.5, 0.5, 1.0])[genre[items]] + mood + draw.normal(0, 0.3, N)
    folder = tmp_path_factory.mktemp("context")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        set_epochs(patch, gradient=30, gibbs=60)
        data = load(
            {"user": users, "item": items, "rating": values, "time": times.astype(np.int64)},
            items={"item": np.arange(N_ITEMS + 4), "genre": [f"g{one}" for one in genre]},
            users={"user": np.arange(N_USERS), "age": age},
        )

        def hear(event: Event) -> None:
            if isinstance(event, Said):
                told.append(event.text)

        yield tune(data, trials=2, workers=1, on_event=hear)


def test_the_best_setting_is_tried_without_them(result: Result, told: list[str]) -> None:
    assert result.record.kinds == [Split.RANDOM, Split.LATEST]
    found = result.record.context
    assert found is not None
    assert list(found["rmse"]) == ["random", "latest"]
    for kind, most in (("random", 0.85), ("latest", 1.0)):
        errors = found["rmse"][kind]
        assert set(errors) == {"nothing", "times", "descriptions", "either"}
        assert errors["nothing"] < most * errors["either"]
    assert found["rmse"]["random"]["nothing"] < 1.01 * found["rmse"]["random"]["descriptions"]
    assert {one["name"] for one in found["columns"]} == {"genre", "age"}
    *most, last = (name for name, entry in SOLVERS.items() if not entry.uses_context)
    without = f"{', '.join(most)} and {last}"
    assert f"Times and descriptions: used by gibbs; {without} do without" in told
    assert any(text.startswith("Times and descriptions: RMSE ") for text in told)


def test_both_errors_are_kept_side_by_side(result: Result) -> None:
    record = result.record
    assert record.held_out is not None
    assert record.later_held_out is not None
    later = record.later_held_out
    assert later["rmse"][0] > 1.2 * record.held_out["rmse"][0]  # the mood of a day is not known
    assert later["recent_mean_rmse"] > 0
    assert later["recent_biases_rmse"] == pytest.approx(later["biases_rmse"])  # of the last year
    assert {one["label"] for one in record.held_out["by_label"]} >= {"g0", "g1", "g2", "g3"}
    text = summary(record)
    assert ", on what came later" in text


def test_what_is_asked_is_answered_as_such(result: Result, told: list[str]) -> None:
    users = np.arange(N_USERS).repeat(2)
    late = {"user": users, "item": users % N_ITEMS, "time": np.full(len(users), 1_600_000_000)}
    before = len(told)
    answers = result.predict(late)
    assert "Asked: later than all ratings; answered as such ratings that were held out" in told
    assert len(told) > before
    assert np.isfinite(np.asarray(answers["prediction"])).all()
    early = late | {"time": np.full(len(users), 1_500_000_000)}
    before = len(told)
    result.predict(early)
    assert not any(text.startswith("Asked") for text in told[before:])


def test_lists_are_at_the_level_of_predictions(result: Result) -> None:
    for user in (0, 1, N_USERS - 1):
        listed = result.recommend(user, items=3)
        answers = result.predict({"user": [user] * 3, "item": listed.item_ids})
        np.testing.assert_allclose(answers["prediction"], listed.predictions, rtol=0, atol=1e-6)


def test_items_that_nobody_rated_are_told_apart_by_what_is_known(result: Result) -> None:
    found = result.predict({"user": np.zeros(4, int), "item": np.arange(N_ITEMS, N_ITEMS + 4)})
    predictions = np.asarray(found["prediction"])
    assert (np.diff(predictions) > 0).all()  # as their genres are
    assert predictions[3] - predictions[0] > 1.0


def test_a_newcomer_may_be_described(result: Result) -> None:
    known = result.newcomer(about={"age": "30"}).recommend()
    assert len(known) == 10
    with pytest.raises(InputError, match="about: expected columns of the users' table, age, got"):
        result.newcomer(about={"height": "3"})
    numbered = result.newcomer(about={"age": 30}).recommend()
    assert numbered.item_ids.tolist() == known.item_ids.tolist()
    average = result.newcomer().recommend()
    for nothing in ("", " ", None, float("nan")):
        found = result.newcomer(about={"age": nothing}).recommend()  # type: ignore[dict-item]
        assert found.predictions.tolist() == average.predictions.tolist()
    for wrong in (["30"], True):
        with pytest.raises(InputError, match="about: age: expected a text or a number, got "):
            result.newcomer(about={"age": wrong})  # type: ignore[dict-item]


def test_a_label_of_numbers_is_of_those_that_are_nearest() -> None:
    values = torch.arange(30.0).double()
    rows = torch.arange(30)
    prices = of_numbers("price", np.where(values < 3, np.nan, values))
    few = of_numbers("stock", (values % 3).numpy())
    ratings = Ratings(
        n_users=1,
        n_items=30,
        user_index=torch.zeros_like(rows),
        item_index=rows,
        values=values,
        item_descriptions=(prices, few),
    )
    labels = labels_of(ratings, ratings)
    told = [label for _, column, label in labels if column == "price"]
    assert told[-1] == "missing"
    assert all(one.startswith("about ") for one in told[:-1])
    nearest = torch.from_numpy(labels["item", "price", told[1]]).nonzero()[:, 0].tolist()
    assert nearest
    assert abs(np.mean(nearest) - float(told[1].removeprefix("about "))) < 1.0
    assert [label for _, column, label in labels if column == "stock"] == ["0", "1", "2"]


def test_one_more_row_is_described_as_those_that_are_there() -> None:
    categories = of_categories("gender", ["F", "M"], np.array([0, 1] * 10))
    assert weights_of(categories, "M").tolist() == [0.0, 1.0]
    assert weights_of(categories, "m").tolist() == [0.0, 1.0]
    ages = of_categories("age", ["20", "30.5"], np.array([0, 1] * 10))
    with pytest.raises(ValueError, match="expected a number, got old"):
        weights_of(ages, "old")
    with pytest.raises(ValueError, match="expected one of F, M, got X"):
        weights_of(categories, "X")
    values = np.arange(30.0)
    numbers = of_numbers("age", values)
    for row in (0, 7, 29):
        torch.testing.assert_close(
            weights_of(numbers, str(row)), numbers.values[row], rtol=0, atol=0.02
        )
    assert weights_of(numbers, "50").tolist() == numbers.values[-1].tolist()
    with pytest.raises(ValueError, match="expected a number like those from 0 to 29, got 99"):
        weights_of(numbers, "99")
    several = of_several(
        "genres", ["a", "b"], np.arange(20), np.arange(20) % 2, np.ones(20, dtype=bool)
    )
    assert weights_of(several, "a|b").tolist() == [1.0, 1.0]


def test_somebody_is_described_as_a_table_has_it() -> None:
    days = [f"20{10 + n % 12}-0{1 + n % 9}-1{n % 9}" for n in range(60)]
    column = column_of("since", pa.array([*days, None]))
    assert isinstance(column, Numbers)
    assert column.kind == "date"
    since = of_numbers("since", column.values)
    for row, day in enumerate(days):
        found = described_by((since,), {"since": day})[0].values[0]
        torch.testing.assert_close(found, since.values[row], rtol=0, atol=0.02)
    missing = described_by((since,), {"since": ""})[0].values[0]
    assert torch.equal(missing, since.values[-1])
    with pytest.raises(InputError, match="about: since: expected a number, got soon"):
        described_by((since,), {"since": "soon"})


def test_the_report_shows_both_errors_and_what_was_brought() -> None:
    label = {"side": "item", "column": "genres", "ratings": 500, "biases_rmse": 1.0}
    labels: list[dict[str, Any]] = [
        label | {"label": HOSTILE, "rmse": [0.9, 0.8, 1.0]},
        label | {"label": "War", "rmse": [0.8, 0.7, 0.9]},
    ]
    record = full()
    kept = record.held_out
    assert kept is not None
    best = kept["trial"]
    later = {**kept, "rmse": [0.9123, 0.89, 0.93], "recent_mean_rmse": 1.3, "by_ahead": labels}
    record.study.set_user_attr(StudyView.splits.name, ["random", "latest"])
    record.study.set_user_attr(StudyView.later_held_out.name, later)
    record.study.set_user_attr(StudyView.held_out.name, {**kept, "by_label": labels})
    context = {
        "trial": best,
        "rmse": {
            "random": {"nothing": 0.85, "times": 0.87, "descriptions": 0.86, "either": 0.88},
            "latest": {"nothing": 0.90, "times": 0.92, "descriptions": 0.91, "either": 0.93},
        },
        "columns": [
            {"side": "item", "name": HOSTILE, "share": 0.25, "labels": ["a"], "effects": [-0.5]}
        ],
        "scales": [{"side": "user", "seconds": 86_400.0, "std": 0.123}],
        "times": [0.0, 1e8, 2e8],
        "level": [0.1, -0.2, 0.1],
    }
    record.study.set_user_attr(StudyView.context.name, context)
    text = render(findings(record))
    assert HOSTILE not in text
    page = Page(text)
    said = page.said()
    for figure in ("0.8601", "0.9123", "1.3000", "25.0 %", "0.123", "a −0.50", "users, 1 days"):
        assert figure in said, figure
    assert "RMSE, at random" in said
    assert "0.8700" in said
    assert page.said("h1").endswith("lower later")


def test_errors_by_label_have_a_row_for_each_with_numbers_in_order() -> None:
    def told(column: str, names: list[str]) -> list[dict[str, Any]]:
        one = {"side": "item", "column": column, "ratings": 500, "biases_rmse": 1.0}
        return [one | {"label": name, "rmse": [0.9, 0.8, 1.0]} for name in names]

    record = full()
    kept = record.held_out
    assert kept is not None
    labels = told("year", ["about 1996", "missing", "about 1950.6667", "about 1972"])
    labels += told("genre", ["Drama", "Adventure", "a name that is a long one"])
    record.study.set_user_attr(StudyView.held_out.name, {**kept, "by_label": labels})
    plots = {one.heading: one.plot.__html__() for one in errors_by_label(findings(record))}
    for heading, names in (
        ("By year of the item", ["about 1951", "about 1972", "about 1996", "missing"]),
        ("By genre of the item", ["Drama", "Adventure", "a name that is a …"]),
    ):
        rows = re.findall(r'y="([0-9.]+)" dy=[^>]*>([^<]+)<', plots[heading])
        assert [name for _, name in rows] == names
        places = [float(place) for place, _ in rows]
        assert min(np.diff(places)) >= 20  # pixels: no name touches the next


@pytest.mark.slow
def test_a_told_split_is_that_of_trials_and_finalists(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = {
        "user": draw.integers(0, 20, 400),
        "item": draw.integers(0, 20, 400),
        "rating": draw.integers(1, 6, 400).astype(float),
        "time": 1_500_000_000 + draw.integers(0, 10**7, 400),
    }
    url = f"sqlite:///{tmp_path}/study.db"
    found = tune(load(rows), trials=1, workers=1, split="time", storage=url, quiet=True)
    assert found.record.kinds == [Split.TIME]
    again = tune(load(rows), trials=2, workers=1, storage=url, quiet=True)
    assert again.record.kinds == [Split.TIME]
    with pytest.raises(InputError, match="was made with split=time; leave split= out"):
        tune(load(rows), trials=2, workers=1, split="random", storage=url, quiet=True)
    with pytest.raises(InputError, match="split: expected random, latest, time, got 'first'"):
        tune(load(rows), trials=2, split="first", storage=url, quiet=True)
    del rows["time"]
    with pytest.raises(InputError, match="split: latest was asked for, but the ratings have no"):
        tune(load(rows), trials=2, split="latest", storage=url, quiet=True)
