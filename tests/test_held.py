"""A model to hold: what it answers alone, from a file, to many threads, after more ratings."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from quick import set_epochs

from model.biases import SHRINKAGE, fit_biases
from model.dataset import UNKNOWN
from model.descriptions import weights_of
from model.solvers import SOLVERS
from storage.errors import InputError
from storage.files import read_arrays, write_arrays
from study import Model, best_predict, evaluate, export, load, recommend, tune
from study.answers.lists import list_scores
from study.record.attributes import StudyView
from study.result import Result

N_USERS, N_ITEMS, N = 60, 40, 1500
Outcome = tuple[int, str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("held")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    """A study of stars by named users of titled films, of which the last two nobody has rated."""
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(N_USERS * N_ITEMS)[:N], N_ITEMS)
    genre = np.arange(N_ITEMS + 2) % 2
    signal = 3 + draw.normal(0, 0.6, N_USERS)[users] + 1.2 * (genre[items] - 0.5)
    signal += 0.8 * draw.normal(size=N_USERS)[users] * draw.normal(size=N_ITEMS)[items]
    values = np.clip(np.round(signal + draw.normal(0, 0.4, N)), 1, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        set_epochs(patch, gradient=30, als=6, gibbs=12)
        patch.setattr("study.workers.team.suitable_workers", lambda *_: 1)
        data = load(
            {"who": [f"ü{u:02d}" for u in users], "film": items, "stars": values},
            columns="who,film,stars",
            items={
                "film": np.arange(N_ITEMS + 2),
                "title": [f"Film {one}" for one in range(N_ITEMS + 2)],
                "genre": [("good", "bad")[1 - one] for one in genre],
            },
            users={
                "who": [f"ü{u:02d}" for u in range(N_USERS)],
                "age": draw.integers(20, 60, N_USERS),
            },
        )
        return tune(data, trials=3, quiet=True)


@pytest.fixture(scope="module")
def made(result: Result) -> Model:
    return result.model(average=2)


@pytest.fixture(scope="module")
def path(made: Model, folder: Path) -> Path:
    return made.save(folder / "some.model")


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return Model.load(path)


@pytest.fixture
def pairs() -> dict[str, list[object]]:
    draw = np.random.default_rng(1)
    users = [f"ü{u:02d}" for u in draw.integers(0, N_USERS + 2, 200)]
    return {"who": list(users), "film": draw.integers(0, N_ITEMS + 3, 200).tolist()}


def test_it_answers_as_the_result_that_it_is_of(
    result: Result, model: Model, pairs: dict[str, list[object]]
) -> None:
    whole = result.predict(pairs, intervals=True, average=2)
    exact = model.predict(pairs, intervals=True, exact=True)
    assert list(exact) == ["who", "film", "prediction", "std", "lower", "upper"]
    for name in ("prediction", "std", "lower", "upper"):
        np.testing.assert_allclose(exact[name], whole[name], rtol=0, atol=2e-6)
    quick = model.predict(pairs)
    assert list(quick) == ["who", "film", "prediction"]
    assert np.abs(quick["prediction"] - whole["prediction"]).mean() < 0.05
    assert np.std(whole["prediction"]) > 0.3


def test_lists_and_reasons_are_printed_as_tables(model: Model) -> None:
    head, first, *_ = str(model.recommend("ü03", items=2)).splitlines()
    assert head.split() == [
        "rank",
        "film",
        "title",
        "prediction",
        "std",
        "lower",
        "upper",
        "ratings",
    ]
    item = model.recommend("ü03", items=1).item_ids[0]
    assert first.split()[:2] == ["1", str(item)]
    assert len(head) == len(first)
    assert str(model.similar(item, items=3)).count("\n") == 3
    why = model.explain("ü03", item)
    head, *lines = str(why).splitlines()
    assert head.split() == ["film", "title", "rating", "influence"]
    assert len(lines) == len(why) + len(why.descriptions)


def test_a_list_and_factors_are_of_one_or_more(model: Model) -> None:
    person = model.newcomer({1: 5, "nowhere": 4})
    for same in ([(1, 5), ["nowhere", 4]], pd.Series({1: 5, "nowhere": 4})):
        assert model.newcomer(same).given.items.tolist() == person.given.items.tolist()
    assert repr(person).startswith("<Person: 1 items rated, and 1 that are not known; of <Model: ")
    for ask in (lambda n: model.recommend("ü03", items=n), lambda n: model.similar(1, items=n)):
        with pytest.raises(InputError, match="items: expected 1 or more, got -1"):
            ask(-1)
    with pytest.raises(InputError, match="items: expected 1 or more, got 0"):
        person.recommend(items=0)
    with pytest.raises(InputError, match="rank: expected 1 or more, got 0"):
        model.factors(rank=0)


def test_a_file_brings_back_the_same(
    made: Model, model: Model, pairs: dict[str, list[object]]
) -> None:
    for exact in (False, True):
        one, other = (m.predict(pairs, intervals=True, exact=exact) for m in (made, model))
        for name in ("prediction", "lower"):
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=2e-6)
    assert model.recommend("ü03").titles == made.recommend("ü03").titles
    with pytest.raises(InputError, match=r"no/some\.model: no such folder"):
        made.save("no/some.model")
    assert model.card == made.card
    assert abs((date.today() - date.fromisoformat(model.card["made"])).days) <= 1
    assert model.card["settings"][0]["params"]["solver"] in SOLVERS
    assert "1,500 ratings" in repr(model)


def test_answers_come_in_the_kind_of_frame_that_asked(
    model: Model, pairs: dict[str, list[object]]
) -> None:
    frame = pd.DataFrame(pairs, index=np.arange(200) + 5)
    answers = model.predict(frame, intervals=True)
    assert answers.index.tolist() == frame.index.tolist()
    assert isinstance(model.predict(pl.DataFrame(pairs)), pl.DataFrame)
    assert isinstance(model.predict(pa.table(pairs)), pa.Table)
    expected = model.predict(pairs)["prediction"]
    np.testing.assert_array_equal(answers["prediction"], expected)
    alone = [
        model.predict({"who": [who], "film": [film]})["prediction"][0]
        for who, film in zip(*pairs.values(), strict=True)
    ][:20]
    np.testing.assert_array_equal(alone, expected[:20])


def test_pairs_in_a_file_are_read(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("who,film\nü01,3\nü02,4\n")
    assert model.predict(path).num_rows == 2
    path.write_text("film,who\n3,ü01\n")
    assert model.predict(path).num_rows == 1
    with pytest.raises(InputError, match="look swapped"):
        model.predict({"user": [3, 4], "item": ["ü01", "ü02"]})


def test_lists_of_one_and_of_many(model: Model) -> None:
    one = model.recommend("ü03", items=5)
    assert len(one) == 5
    assert one.lower is not None
    assert (one.lower <= one.predictions).all()
    columns = list(one.columns())
    assert columns == ["rank", "film", "title", "prediction", "std", "lower", "upper", "ratings"]
    some = model.recommend(["ü03", "ü05"], items=5).to_pydict()
    assert some["who"] == ["ü03"] * 5 + ["ü05"] * 5
    assert some["film"][:5] == one.item_ids.tolist()
    assert some["prediction"][:5] == one.predictions.tolist()
    everybody = model.recommend(items=2).to_pydict()
    assert everybody["who"] == [f"ü{u:02d}" for u in range(N_USERS) for _ in range(2)]
    rated = {film for film, _ in ratings_of(model, "ü03")}
    assert not rated & set(model.recommend("ü03", items=50).item_ids.tolist())
    assert rated <= set(model.recommend("ü03", items=50, rated=True).item_ids.tolist())
    assert set(model.recommend("ü03", among=[40, 41]).item_ids.tolist()) == {40, 41}
    with pytest.raises(InputError, match="user 'ü99'"):
        model.recommend(["ü03", "ü99"])


def test_a_result_lists_as_its_model_does(result: Result) -> None:
    renamed = result.titled({"5": "Fünf"})
    model = renamed.model()
    mine = result.recommend("ü03", items=3, without=[1], why=True)
    same = model.recommend("ü03", items=3, without=[1], why=True, exact=True)
    assert mine.item_ids.tolist() == same.item_ids.tolist()
    np.testing.assert_allclose(mine.predictions, same.predictions, atol=2e-6)
    assert [len(one) for one in mine.reasons] == [len(one) for one in same.reasons]
    assert mine.lower is None  # not calibrated
    person, other = (one.newcomer({1: 5.0, 2: 1.0}) for one in (result, model))
    told = person.predict([7])
    assert list(told) == ["prediction", "std"]
    np.testing.assert_allclose(told["prediction"], other.predict([7])["prediction"], atol=2e-6)
    assert renamed.similar("fünf", items=2).item_id == 5
    assert model.known.titles == {"5": "Fünf"}
    assert model.titled({"5": "Cinq"}).similar(5).title == "Cinq"
    with pytest.raises(InputError, match="why: expected one user"):
        model.recommend(["ü03", "ü05"], why=True)


def ratings_of(model: Model, user: str) -> list[tuple[int, float]]:
    row = int(model.known.users.index([user])[0])
    places = model.known.rated(row)
    items = model.known.items.values[model.known.ratings.item_index.numpy()[places]]
    return list(zip(items.tolist(), model.known.ratings.values[places].tolist(), strict=True))


def test_similar_items_and_by_the_draws(model: Model) -> None:
    quick, exact = (model.similar("Film 3", items=8, exact=one) for one in (False, True))
    assert quick.title == "Film 3"
    assert len(set(quick.item_ids.tolist()) & set(exact.item_ids.tolist())) >= 7
    np.testing.assert_allclose(quick.similarities, exact.similarities, atol=0.05)


def test_somebody_new_gets_a_model(model: Model) -> None:
    good = dict.fromkeys((1, 3, 5), 5.0) | dict.fromkeys((0, 2, 4), 1.0)
    person = model.newcomer(good, about={"age": "30"})
    answers = person.predict([7, 9, 11, 6, 8, 10])
    assert answers["prediction"][:3].mean() > answers["prediction"][3:].mean() + 0.3
    assert not set(person.recommend(items=50).item_ids.tolist()) & set(good)
    table = pd.DataFrame({"film": list(good), "rating": list(good.values())})
    again = model.newcomer(table, about={"age": "30"})
    np.testing.assert_allclose(again.predict([7])["prediction"], answers["prediction"][:1])
    titled = model.newcomer({f"Film {film}": rating for film, rating in good.items()})
    assert (
        titled.predict(["film 7"])["prediction"] == model.newcomer(good).predict([7])["prediction"]
    )
    with pytest.raises(InputError, match="item 'Film 99': not among the 42 items"):
        titled.reasons([1, "Film 99"])
    with pytest.warns(UserWarning, match="1 of the items that were named is not known"):
        model.recommend(["ü03", "ü05"], among=[40, "Film 41", "Film 99"])
    nobody = model.newcomer()
    assert nobody.predict([7])["std"][0] > answers["std"][0]
    with pytest.raises(InputError, match="expected a rating from 1 to 5"):
        model.newcomer({1: 9.0})


def test_why(model: Model) -> None:
    found = model.explain("ü03", "Film 7")
    assert found.user_id == "ü03"
    assert found.title == "Film 7"
    assert {*zip(found.item_ids.tolist(), found.ratings.tolist(), strict=True)} == {
        *ratings_of(model, "ü03")
    }
    assert (np.diff(np.abs(found.influences)) <= 0).all()
    assert list(found.columns()) == ["film", "title", "rating", "influence"]
    person = model.newcomer({1: 5.0, 3: 5.0, 2: 1.0})
    theirs = person.explain(7)
    assert sorted(theirs.item_ids.tolist()) == [1, 2, 3]
    assert theirs.influences.max() > 0
    assert {one.side for one in theirs.descriptions} == {"item"}  # nothing was told of them
    assert [one.labels for one in found.descriptions if one.column == "genre"] == [("good",)]
    (age,) = model.known.ratings.user_descriptions
    between = next(row for row in range(N_USERS) if ((age.values[row] > 0).sum() == 2).item())
    found = model.explain(f"ü{between:02d}", 7)
    (labels,) = (one.labels for one in found.descriptions if one.column == "age")
    assert labels[0] not in age.labels  # the age, not a number near it
    torch.testing.assert_close(weights_of(age, labels[0]), age.values[between], atol=1e-4, rtol=0)


def test_why_of_somebody_who_told_of_themselves(model: Model) -> None:
    about, nobody = {"age": "57"}, model.newcomer()
    person = model.newcomer(about=about)
    (told,) = (one for one in person.explain(7).descriptions if one.side == "user")
    assert [one.descriptions for one in person.reasons([7])] == [(told,)]
    assert person.reasons([7])[0].told(3) == f"age 57 {told.effect:+.2f}"
    assert (told.column, told.labels) == ("age", ("57",))
    more = person.predict([7])["prediction"] - nobody.predict([7])["prediction"]
    assert told.effect == pytest.approx(more[0], abs=0.02)
    assert told.effect != 0
    rated = model.newcomer({1: 5.0, 3: 5.0, 2: 1.0}, about=about).explain(7)
    (told,) = (one for one in rated.descriptions if one.side == "user")
    assert told.labels == ("57",)
    assert len(rated) == 3
    with pytest.raises(InputError, match="about: age: expected a number like those from 20 to 59"):
        model.newcomer(about={"age": "1969"})


def test_biases_alone_answer_as_much_as_models_tell_no_more(
    model: Model, pairs: dict[str, list[object]]
) -> None:
    """Those of who is known, new, and of later ratings; a list shows what pairs are answered."""
    none = replace(model.levels, weight=1.0, slope=1.0)
    as_they_are, half, biased = (
        replace(model, levels=replace(none, weight=weight)) for weight in (1.0, 0.5, 0.0)
    )
    known = model.known
    index = known.index(model.asked(pairs))
    alone = fit_biases(known.ratings).predict(index).numpy()
    shifts = none.at(*known.counts(index))
    expected = np.clip(alone + shifts, *known.range)
    for exact in (False, True):
        answers = [
            one.predict(pairs, exact=exact)["prediction"] for one in (as_they_are, half, biased)
        ]
        np.testing.assert_allclose(answers[2], expected, atol=1e-6)
        inside = np.all([(answer > 1) & (answer < 5) for answer in answers], axis=0)
        middle = (answers[0] + answers[2]) / 2
        np.testing.assert_allclose(answers[1][inside], middle[inside], atol=1e-5)

    found = biased.recommend("ü03", items=5)
    asked = {"who": ["ü03"] * 5, "film": found.item_ids}
    np.testing.assert_allclose(found.predictions, biased.predict(asked)["prediction"], atol=1e-6)

    mean = known.biases.global_mean.item()
    of_item = known.biases.item_bias[known.item_row(7)].item()
    rest = 5.0 - mean - known.biases.item_bias[known.item_row(1)].item()
    person = biased.newcomer({1: 5.0})
    expected = (
        mean
        + of_item
        + rest / (1 + SHRINKAGE)
        + none.at(np.array([1]), known.item_counts[[known.item_row(7)]])
    )
    np.testing.assert_allclose(person.predict([7])["prediction"], expected, atol=1e-6)

    without = biased.newcomer({})  # what a rating carries is what the answer loses without it
    lost = person.predict([7])["prediction"] - without.predict([7])["prediction"]
    shift = none.at(np.array([1, 0]), known.item_counts[[known.item_row(7)] * 2])
    for found in (person.explain(7), *person.reasons([7])):
        np.testing.assert_allclose(found.influences, lost - (shift[0] - shift[1]), atol=1e-6)
    whole = as_they_are.explain("ü03", 7)
    alone, both = (one.reasons("ü03", [7])[0] for one in (biased, half))
    by_item = [dict(zip(one.item_ids, one.influences, strict=True)) for one in (whole, alone, both)]
    for item, influence in by_item[2].items():
        assert influence == pytest.approx((by_item[0][item] + by_item[1][item]) / 2, abs=0.02)
    effects = [
        sum(abs(e.effect) for e in one.explain("ü03", 7).descriptions)
        for one in (as_they_are, half, biased)
    ]
    assert effects[1] == pytest.approx(effects[0] / 2, abs=1e-4)
    assert effects[2] == 0

    level = replace(biased.levels, all=0.2, by_item=(0.4, 0.3, 0.2, 0.1, 0.1, 0.0))
    biased = replace(biased, levels=level)
    none = level
    handed = biased.factors(rank=2)  # nothing but biases, at their level
    assert handed.error < 1e-4
    answers = biased.predict(pairs)["prediction"]
    rows = (index.user_index >= 0) & (index.item_index >= 0)
    users, items = index.user_index[rows], index.item_index[rows]
    rebuilt = handed.mean + handed.users["bias"][users] + handed.items["bias"][items]
    np.testing.assert_allclose(rebuilt.clip(1, 5), answers[rows.numpy()], atol=1e-3)

    later = biased.update({"who": ["neu"] * 3, "film": [1, 3, 5], "stars": [5, 5, 5]})
    joined = fit_biases(later.known.ratings).predict(later.known.index(later.asked([("neu", 7)])))
    shift = none.at(np.array([3]), later.known.item_counts[[later.known.item_row(7)]])
    assert later.predict([("neu", 7)])["prediction"] == pytest.approx(joined.numpy() + shift)


def test_the_weight_that_a_study_keeps_counts_in_all_that_answers(
    result: Result, pairs: dict[str, list[object]]
) -> None:
    record = result.record
    kept = record.held_out
    assert kept is not None
    before = result.predict(pairs, average=2)["prediction"]
    try:
        levels = {**kept["levels"], "weight": 0.4}
        record.keep(StudyView.held_out, {**kept, "levels": levels})
        whole = result.predict(pairs, intervals=True, average=2)
        model = result.model(average=2)
        listed = result.recommend("ü03", items=5).predictions
    finally:
        record.keep(StudyView.held_out, kept)
    assert np.abs(whole["prediction"] - before).max() > 0.1
    exact = model.predict(pairs, intervals=True, exact=True)
    for name in ("prediction", "std", "lower", "upper"):
        np.testing.assert_allclose(exact[name], whole[name], rtol=0, atol=2e-6)
    assert model.levels.weight == 0.4
    alike = model.recommend("ü03", items=5, exact=True)
    np.testing.assert_allclose(listed, alike.predictions, atol=0.2)  # of another average
    row = np.array([model.known.users.index(np.array(["ü03"])).item()])
    scores = list_scores(
        lambda some: model.predictor(exact=True)(some)[0], model.known, row, levels=model.levels
    )
    assert model.known.items.values[scores[0].argmax()] == alike.item_ids[0]


def test_more_ratings_are_taken_in(model: Model) -> None:
    more = {
        "who": ["neu"] * 6 + ["ü03"] * 3 + [f"ü{u:02d}" for u in range(10)],
        "film": [1, 3, 5, 0, 2, 4, 36, 37, 38] + [99] * 10,
        "stars": [5, 5, 5, 1, 1, 1, 5, 5, 5] + [5] * 10,
    }
    after = model.update(more)
    before = model.predict({"who": ["ü20"], "film": [99]})["prediction"]
    assert after.predict({"who": ["ü20"], "film": [99]})["prediction"] > before + 0.2
    films = after.predict({"who": ["neu"] * 4, "film": [7, 9, 6, 8]})["prediction"]
    assert films[:2].mean() > films[2:].mean()
    assert 99 in after.recommend("ü20", items=50).item_ids
    assert len(after.known.ratings) > N
    assert after.card["updates"][0]["ratings"] == 19
    assert after.card["updates"][0]["made"] >= model.card["made"]
    assert "updates" not in model.card
    described = [
        {d.column for d in after.explain(*pair).descriptions} for pair in (("ü03", 7), ("neu", 99))
    ]
    assert described == [{"genre", "age"}, set()]  # nobody told what they are
    assert repr(after).endswith(f" items; updated to {after.known.summary}>")
    without = after.forget("neu")
    assert repr(without).endswith(f" items; updated to {without.known.summary}>")
    assert without.known.summary != after.known.summary
    with pytest.raises(InputError, match="user 'neu'"):
        model.recommend("neu")
    assert len(model.update([("neu", 99, 5)]).known.ratings) == len(model.known.ratings) + 1
    mine = {"a": ["neu"], "b": [99], "c": [5]}
    assert len(model.update(mine, columns="a,b,c").known.ratings) == len(model.known.ratings) + 1
    for wrong, columns, said in (
        (mine, None, "name them in that order, like columns='a,b,c'"),
        (mine, "a,b", "columns: expected three, of user, item and rating"),
        ([("neu", 99)], None, "a rating is missing; such pairs can be predicted, not learned"),
    ):
        with pytest.raises(InputError, match=said):
            model.update(wrong, columns=columns)
    with pytest.raises(InputError, match=r"from 1 to 5.* got 7"):
        model.update({"who": ["a", "b"], "film": [1, 2], "stars": [7, 7]})


def test_more_ratings_of_whom_nobody_knows_are_doubted(model: Model) -> None:
    titled = model.titled({"3": "Drei", "5": "7"})
    with pytest.raises(InputError, match="expected the ids of items, got the title 'drei', of it"):
        titled.update({"who": ["ü03", "ü04"], "film": ["drei", "99"], "stars": [5, 4]})
    numbered = titled.update({"who": ["ü03"], "film": [7], "stars": [5]})  # an id, no title
    assert len(numbered.known.items) == len(model.known.items)
    swapped = {"who": [3, 5, 99], "film": ["ü03", "ü04", "neu"], "stars": [5, 4, 3]}
    with pytest.raises(InputError, match=r"users and items look swapped.*got users like '3'"):
        model.update(swapped)
    strange = {"who": ["a", "b", "c", "d"], "film": [101, 102, 103, 104], "stars": [5, 4, 3, 1]}
    with pytest.raises(InputError, match=r"expected some users or items of .* of 4 ratings none"):
        model.update(strange)
    with pytest.raises(InputError, match="ratings: expected a file, or a data frame, got None"):
        model.update(None)
    with pytest.raises(InputError, match="ratings: item 3: expected a number, got '5'"):
        model.newcomer({3: "5"})
    late = {"who": ["ü03"], "film": [3], "stars": [5], "day": ["soon"]}
    with pytest.raises(InputError, match="expected a time in column 'day'"):
        replace(model, known=replace(model.known, time_name="day")).update(late)
    far = "b-sixteen-bytes-and-more"
    longer = model.update({"who": ["ü03", "u" + far], "film": [far, "3"], "stars": [5, 4]})
    asked = {"who": ["ü03", "u" + far, "ü04"], "film": ["3", far, "4"]}
    known = longer.known.index(longer.asked(asked))
    assert (known.user_index != UNKNOWN).all()
    assert (known.item_index != UNKNOWN).all()
    assert np.isfinite(longer.predict(asked)["prediction"]).all()
    newcomer = longer.newcomer({far: 5.0, "3": 4.0, "4": 1.0})  # the first has no loadings
    listed = newcomer.recommend(items=2)
    assert len(listed) == 2
    strange["who"][0] = "ü03"
    after = model.update(strange)
    assert after.card["updates"][0]["new"] == {"users": 3, "items": 4}


@pytest.mark.slow
def test_forty_threads_at_once(
    model: Model, pairs: dict[str, list[object]], result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = model.predict(pairs, intervals=True)["lower"]
    threads = torch.get_num_threads()
    attributes = dict(result.study.user_attrs)

    def ask(n: int) -> bool:
        assert len(model.recommend("ü03")) == 10
        assert len(model.newcomer({n % 40: 4.0}).recommend()) == 10
        return bool((model.predict(pairs, intervals=True)["lower"] == expected).all())

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(ask, range(40)))
    print("alive")
    assert not sys.stdout.closed
    assert capsys.readouterr().out == "alive\n"
    assert torch.get_num_threads() == threads
    assert result.study.user_attrs == attributes


def test_factors_rebuild_predictions(model: Model, folder: Path) -> None:
    factors = model.factors()
    users, items = (
        np.column_stack([one[name] for name in one if name.startswith("factor_")])
        for one in (factors.users, factors.items)
    )
    everything = factors.mean + factors.users["bias"][:, None] + factors.items["bias"]
    everything = everything + users @ items.T
    asked = {
        "who": np.repeat(factors.users["who"], len(items)).tolist(),
        "film": np.tile(factors.items["film"], len(users)),
    }
    predicted = np.asarray(model.predict(asked)["prediction"]).reshape(everything.shape)
    rms = float(np.sqrt(np.square(everything - predicted).mean()))
    assert rms == pytest.approx(factors.error, abs=0.01)
    assert rms < 0.1
    assert model.factors(rank=1).error > factors.error
    shared = users.T @ users
    assert np.abs(shared - np.diag(np.diag(shared))).max() < 1e-3  # one rotation


def test_the_commands_save_and_export(
    result: Result,
    folder: Path,
    outcome_of: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    data = result.ratings.in_files(folder / "kept")
    words = ["--data", data.data, "--items", data.items, "--users", data.users]
    words += ["--columns", ",".join(data.columns or ())] if data.columns else []
    words += ["--study-name", result.record.name]
    code, out, err = outcome_of(best_predict.main, *words, "--save-model", "x.model")
    assert (code, err) == (0, "")
    assert "Wrote: x.model, a model to hold and to serve, " in out
    assert not Path("mat_comp_ans").exists()
    assert len(Model.load("x.model").recommend("ü03")) == 10
    code, out, err = outcome_of(
        export.main, "--model", "x.model", "--items", "i.parquet", "--users", "u.csv", "--rank", 3
    )
    assert (code, err) == (0, "")
    assert parquet.read_table("i.parquet").column_names[:4] == [
        "film",
        "ratings",
        "bias",
        "factor_1",
    ]
    assert len(Path("u.csv").read_text().splitlines()) == N_USERS + 1
    assert "42 items, bias and 3 factors each" in out
    Path("test.csv").write_text("who,film,stars\nü03,41,5\nü05,41,4\n")
    code, out, err = outcome_of(evaluate.main, "--model", "x.model", "--test", "test.csv")
    assert (code, err) == (0, "")
    assert out.startswith("Model: x.model, ")
    rmse = Model.load("x.model").evaluate("test.csv").errors.rmse.value
    assert f"{rmse:.4f}" in out
    code, _, err = outcome_of(export.main, "--model", "x.model", "--items", "x.model")
    assert code == 2
    assert "one that is used here" in err
    code, _, err = outcome_of(export.main, "--model", "x.model")
    assert (code, "--items, --users, or both" in err) == (2, True)


def test_the_commands_answer_by_a_saved_model(
    model: Model,
    path: Path,
    outcome_of: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a folder that has no study, no database and no ratings."""
    monkeypatch.chdir(tmp_path)
    rated, _ = ratings_of(model, "ü05")[0]
    Path("pairs.csv").write_text(f"who,film,stars\nü03,41,5\nü05,{rated},4\nnobody,40,3\n")
    asked = "--model", path, "--queries", "pairs.csv"
    code, out, err = outcome_of(
        best_predict.main, *asked, "--out", "answers.csv", "--intervals", "sure.csv"
    )
    assert (code, "Scored against: column stars of pairs.csv\nRMSE: " in out) == (0, True)
    assert "Queries: pairs.csv, user who, item film" in out
    assert ", 1 of unknown users or items\n" in out
    expected = model.predict("pairs.csv", intervals=True).to_pandas()
    pd.testing.assert_frame_equal(pd.read_csv("sure.csv"), expected, atol=1e-6)
    columns = ["who", "film", "prediction"]
    pd.testing.assert_frame_equal(pd.read_csv("answers.csv"), expected[columns], atol=1e-6)
    assert err.startswith("study.best_predict: 1 of the 3 pairs of pairs.csv are among the rat")
    Path("true").write_text("0\n4\n9\n")
    _, _, err = outcome_of(best_predict.main, *asked, "--truth", "true")
    assert "2 of 3 ratings, such as 0, are not within 1 to 5, as those of " in err
    Path("true").write_text("5\n4\n3\n")
    code, told, _ = outcome_of(best_predict.main, *asked, "--truth", "true", "--json", "--quiet")
    assert f"RMSE: {json.loads(told)['score']['rmse']['value']:.4f}" in out
    code, out, err = outcome_of(recommend.main, "--model", path, "--user", "ü03", "--json")
    listed = json.loads(out)
    assert (code, listed["model"]) == (0, str(path))
    own = model.recommend("ü03")
    assert [one["film"] for one in listed["items"]] == own.item_ids.tolist()
    assert [one["upper"] for one in listed["items"]] == pytest.approx(list(own.upper))
    Path("titles.csv").write_text("film,title\n5,Fünf\n")
    code, out, err = outcome_of(
        recommend.main, "--model", path, "--similar", "fünf", "--titles", "titles.csv"
    )
    assert (code, err) == (0, "")
    assert "\nLike 5 (film), Fünf\n" in out
    Path("mine.csv").write_text("rating,title\n5,Film 7\n1,Film 8\n3,Film 99\n2,film 8\n")
    code, out, err = outcome_of(recommend.main, "--model", path, "--ratings", "mine.csv")
    assert (code, err) == (0, "")
    said = (
        "For a new user who has rated 2 of the items, 1 of them more than once, whose mean counts, "
        "and 1 that the data do not have, such as 'Film 99'"
    )
    assert said in " ".join(out.split())
    for main, more, wrong in (
        (recommend.main, ("--user", "ü03", "--data", "x"), "--data"),
        (recommend.main, ("--user", "ü03", "--setting-of", "x"), "--setting-of"),
        (best_predict.main, ("--queries", "pairs.csv", "--average", 2), "--average"),
        (evaluate.main, ("--test", "pairs.csv", "--study-name", "x"), "--study-name"),
    ):
        code, out, err = outcome_of(main, "--model", path, *more)
        assert (code, out) == (2, "")
        assert f"Expected no {wrong} beside --model, which answers without a study; " in err
    code, _, err = outcome_of(best_predict.main, "--model", path)
    assert (code, "Expected --queries FILE" in err) == (2, True)
    assert {one.name for one in tmp_path.iterdir()} == {
        *("pairs.csv", "answers.csv", "sure.csv", "true", "mat_comp_ans", "titles.csv"),
        "mine.csv",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (
            lambda path: path.write_bytes(b"film,stars\n1,2\n"),
            "expected a saved model, got another file",
        ),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            "expected a saved model, got another file",
        ),
        (lambda path: path.write_bytes(_flipped(path.read_bytes())), "does not match its digest"),
        (lambda path: _with(path, format=99), "of format 1, got 99, of a newer version"),
        (lambda path: _with(path, format=0), "of format 1, got 0, of an older version"),
        (lambda path: _with(path, format=None), "got other arrays"),
        (lambda path: _with(path, levels=None), "expected a model of this version"),
    ],
)
def test_another_file_is_refused_in_a_line(
    change: Callable[[Path], Any], message: str, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.model"
    other.write_bytes(path.read_bytes())
    change(other)
    with pytest.raises(InputError, match=message) as raised:
        Model.load(other)
    assert str(raised.value).startswith(f"{other}: ")
    assert "\n" not in str(raised.value)


def _flipped(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def _with(path: Path, **changed: object) -> None:
    arrays, metadata = read_arrays(path)
    write_arrays(path, arrays, metadata | changed)
