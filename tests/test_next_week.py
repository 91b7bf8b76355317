"""Next week's ratings: a study begins with what last week's found, or its settings are borrowed."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from pyarrow.csv import write_csv
from records import ask, new_record

from model.dataset import Ratings
from model.solvers import SOLVERS, Config, make_solver
from model.splits import Split
from storage.database import open_storage, parse_storage_url
from storage.errors import InputError
from storage.ratings import RatingsTable
from study import best_predict, find, load, recommend, tune
from study.answers.ensemble import Ensemble
from study.answers.levels import Levels
from study.events import Event, Said
from study.record.attributes import Sample, StudyView, TrialView
from study.record.beginning import begin
from study.record.likeness import Hashed
from study.record.parameters import SPACE_VERSION, to_params
from study.record.record import Record
from study.report.findings import findings
from study.report.tables import about
from study.search.sampler import QUICKEST_FIRST
from study.tuning import DEFAULT_STORAGE

N_USERS, N_ITEMS = 40, 25
ALS = [replace(SOLVERS["als"].default, rank=rank) for rank in (2, 3)]
GIBBS = [replace(SOLVERS["gibbs"].default, rank=rank) for rank in range(2, 10)]

Columns = dict[str, Any]


def week(n: int, *, users: str = "", seed: int = 0) -> Columns:
    """The first n ratings of one draw of all pairs, as a table."""
    draw = np.random.default_rng(seed)
    user, item = np.divmod(draw.permutation(N_USERS * N_ITEMS), N_ITEMS)
    taste = draw.normal(0, 0.6, N_USERS)[user] + draw.normal(0, 0.6, N_ITEMS)[item]
    ratings = np.clip(np.round(3 + taste + draw.normal(0, 0.5, len(user))), 1, 5)
    return {
        "user_id": [f"{users}{one}" for one in user[:n]],
        "movie_id": item[:n].tolist(),
        "rating": ratings[:n].tolist(),
    }


def table_of(columns: Columns) -> RatingsTable:
    return load(columns).table


def some(columns: Columns, rows: Any) -> Columns:
    return {name: np.array(values)[rows] for name, values in columns.items()}


def study_of(
    table: RatingsTable, configs: Sequence[Config], storage: BaseStorage, name: str = "last week"
) -> Record:
    """A study of ratings in which each setting is better than the one before it."""
    record = new_record(name=name, storage=storage)
    record.keep(StudyView.ratings_digest, table.digest)
    record.keep(StudyView.space_version, SPACE_VERSION)
    record.keep(StudyView.sample, Hashed(table).sample())
    add(record, configs)
    return record


def add(record: Record, configs: Sequence[Config]) -> None:
    """Adds trials, each better than the one before it."""
    for config in configs:
        trial = ask(record.study, config)
        mse = 1 - trial.number / 100
        for attribute, value in zip(TrialView.OF_A_RESULT, (mse, mse, 3, "", 1.0), strict=True):
            trial.set_user_attr(attribute.name, value)
        record.study.tell(trial, mse)


def made(storage: BaseStorage, table: RatingsTable, name: str = "this week", **more: Any) -> Record:
    """A study of ratings that has just been made."""
    record = new_record(name=name, storage=storage)
    record.keep(StudyView.ratings_digest, table.digest)
    begin(record, Hashed(table), kinds=more.pop("kinds", [Split.RANDOM]), **more)
    return record


def said(events: Sequence[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Said))


# Which ratings are nearly the same


def test_a_sample_is_small_and_is_the_same_whatever_the_order() -> None:
    columns = week(900)
    sample = Hashed(table_of(columns)).sample()
    assert sample == Hashed(table_of(some(columns, slice(None, None, -1)))).sample()
    assert [sample[part]["of"] for part in ("users", "items", "ratings")] == [N_USERS, N_ITEMS, 900]
    assert len(sample["ratings"]["hashes"]) == 2732  # 256 of 8 bytes, in base64


@pytest.mark.parametrize("block", [1 << 20, 100])
def test_what_is_shared_is_told_from_the_sample(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.record.likeness.BLOCK", block)
    sample = Hashed(table_of(week(900))).sample()

    def shared(columns: Columns, of: Sample = sample) -> int:
        return Hashed(table_of(columns)).shared_with(of)

    assert shared(week(900)) == shared(week(950)) == 900
    assert shared(some(week(1000), slice(200, None))) == pytest.approx(700, abs=75)  # of a year
    assert Hashed(table_of(week(950))).shared_with(None) == 0


@pytest.mark.parametrize("side", ["user_id", "movie_id"])
def test_nine_in_ten_of_its_people_and_items_are_to_be_there(side: str) -> None:
    whole = week(900)
    ids = np.array(whole[side], int)
    sample = Hashed(table_of(whole)).sample()
    n = ids.max() + 1
    assert Hashed(table_of(some(whole, ids < 0.92 * n))).shared_with(sample) > 700
    assert Hashed(table_of(some(whole, ids < 0.85 * n))).shared_with(sample) == 0


def more_ids(columns: Columns) -> Columns:
    """With an id that is no number, so that all are texts."""
    return {name: [*values, *new] for (name, values), new in zip(columns.items(), NEW, strict=True)}


NEW: list[list[Any]] = [["7", "new"], [101, 7], [3.0, 4.0]]
OTHERS = {
    "other people": week(900, users="x"),
    "the same ids, other ratings": week(900, seed=1),
    "some of the people": some(week(900), np.array(week(900)["user_id"], int) < 12),
    "the first third": week(300),
    "another scale": week(900) | {"rating": [10 * one for one in week(900)["rating"]]},
}


@pytest.mark.parametrize("columns", OTHERS.values(), ids=OTHERS)
def test_other_ratings_are_not_nearly_the_same(columns: Columns) -> None:
    whole, other = Hashed(table_of(week(900))), Hashed(table_of(columns))
    assert other.shared_with(whole.sample()) == 0
    assert whole.shared_with(other.sample()) == 0


def test_ids_may_turn_into_texts() -> None:
    columns = week(900)
    numbers = columns | {"user_id": list(map(int, columns["user_id"]))}
    assert table_of(numbers).users.dtype.kind == "i"
    sample = Hashed(table_of(numbers)).sample()
    assert Hashed(table_of(more_ids(columns))).shared_with(sample) == 900


# What a study begins with


def test_the_best_settings_of_last_week_come_first_then_ours() -> None:
    storage, table = InMemoryStorage(), table_of(week(950))
    study_of(table_of(week(900)), [*GIBBS, SOLVERS["als"].default], storage)
    record = made(storage, table)
    best = [SOLVERS["als"].default, *GIBBS[:3:-1]]
    assert record.begins_with == {
        "study": "last week",
        "settings": [to_params(config) for config in best],
    }
    first = list(dict.fromkeys([*best, *QUICKEST_FIRST]))
    assert len(first) == len(best) + len(QUICKEST_FIRST) - 1
    for config in first:
        trial = ask(record.study)
        assert trial.params == to_params(config)
        record.study.tell(trial, 1.0)


def test_what_begins_at_once_takes_the_settings_in_order() -> None:
    storage = InMemoryStorage()
    study_of(table_of(week(900)), GIBBS, storage)
    record = made(storage, table_of(week(950)))
    trials = [record.study.ask() for _ in range(3)]
    found = [record.study.sampler.propose(record.study, record.trial(t.number)) for t in trials]  # type: ignore[attr-defined]
    assert found == [to_params(config) for config in GIBBS[:-4:-1]]


def test_it_is_settled_once() -> None:
    storage, table = InMemoryStorage(), table_of(week(950))
    before = study_of(table_of(week(900)), GIBBS[:3], storage)
    record = made(storage, table)
    kept = record.begins_with
    assert kept is not None
    trial = ask(before.study, GIBBS[7])
    trial.set_user_attr("validation_mse", 0.1)
    before.study.tell(trial, 0.1)
    assert begin(record, Hashed(table), kinds=[Split.RANDOM]) == kept
    assert begin(record, Hashed(table), kinds=[Split.RANDOM], fresh=True) == kept
    assert record.begins_with == kept


def test_the_study_with_most_in_common_counts_and_of_equal_ones_the_newest() -> None:
    storage = InMemoryStorage()
    study_of(table_of(week(850)), GIBBS[:1], storage, "older")
    study_of(table_of(week(900)), GIBBS[1:2], storage, "old")
    study_of(table_of(week(900)), GIBBS[2:3], storage, "again")
    study_of(table_of(week(880)), GIBBS[3:4], storage, "between")
    study_of(table_of(week(950)), [], storage, "nothing tried")
    begins = made(storage, table_of(week(960))).begins_with
    assert begins == {"study": "again", "settings": [to_params(GIBBS[2])]}


def test_a_second_study_of_the_same_ratings_begins_anew() -> None:
    storage, table = InMemoryStorage(), table_of(week(950))
    study_of(table_of(week(900)), GIBBS, storage)
    study_of(table, GIBBS, storage, "this week")
    anew = {"study": "", "settings": []}
    assert made(storage, table, "beside it").begins_with == anew
    assert made(storage, table_of(week(960)), "fresh", fresh=True).begins_with == anew
    assert made(storage, table_of(week(960)), "and again").begins_with == anew


def test_another_search_space_is_told() -> None:
    storage = InMemoryStorage()
    study_of(table_of(week(900)), GIBBS, storage).keep(StudyView.space_version, "another")
    begins = made(storage, table_of(week(950))).begins_with
    assert begins is not None
    assert (begins["study"], begins["settings"]) == ("", [])
    assert begins["note"] == "last week is of nearly the same ratings, but of another search space"


def test_of_each_kind_of_split_the_best_come_in_turn() -> None:
    storage = InMemoryStorage()
    record = study_of(table_of(week(900)), GIBBS[:4], storage)
    record.keep(StudyView.splits, ["random", "latest"])
    order = {Split.RANDOM: [3, 2, 1, 0], Split.LATEST: [0, 3, 1, 2]}
    for kind, trials in order.items():
        record.keep(
            record.ranking_of(kind),
            {
                "of": 4,
                "decided": True,
                "trials": trials,
                "rmse": [1.0] * 4,
                "rounds": [1] * 4,
                "best_epochs": [3] * 4,
                "average": 1,
                "average_gain": [0.0],
            },
        )
    begins = made(storage, table_of(week(950)), kinds=[*order]).begins_with
    assert begins is not None
    assert begins["settings"] == [to_params(GIBBS[rank]) for rank in (3, 0, 2, 1)]


@pytest.fixture
def folder(few_epochs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which trials take next to no time."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def last_week(folder: Path) -> Iterator[Record]:
    """A study of 900 ratings, where `tune` looks for it."""
    storage = open_storage(parse_storage_url(DEFAULT_STORAGE))
    yield study_of(table_of(week(900)), [*ALS, GIBBS[0]], storage)


def test_the_same_call_goes_on_in_the_same_way(last_week: Record) -> None:
    first, events = [GIBBS[0], *ALS[::-1]], list[Event]()
    new = tune(week(950), trials=1, on_event=events.append)
    assert "Begins with: last week, its best 3 settings" in said(events)
    assert new.record.trials()[0].params == to_params(GIBBS[0])
    with pytest.raises(InputError, match="began with last week; leave fresh= out"):
        tune(week(950), trials=3, fresh=True, quiet=True)
    optuna.delete_study(study_name="last week", storage=last_week.storage)
    again = tune(week(950), trials=3, quiet=True)
    assert [trial.params for trial in again.record.trials()] == [to_params(one) for one in first]
    assert again.best is not None
    assert again.best.config in first
    told = about(findings(again.record))
    assert "Begun with the best settings of last week, of like ratings." in told


def test_another_search_space_is_told_once_more(last_week: Record) -> None:
    last_week.keep(StudyView.space_version, "another")
    events = list[Event]()
    tune(week(950), trials=1, on_event=events.append)
    assert "Begins anew: last week is of nearly the same ratings, but of" in said(events)


def test_a_missing_study_is_answered_with_what_may_be_meant(last_week: Record) -> None:
    with pytest.raises(InputError, match=r"is last week: python -m study\.run begins"):
        find(week(950))
    with pytest.raises(InputError, match=r"did you mean study_name='last week'\?"):
        find(week(900))


# Settings that are borrowed


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ratings every training for an answer has had, as they come."""
    counts: list[int] = []

    def make_and_count(config: Config, training: Ratings, **named: Any) -> object:
        counts.append(len(training))
        return make_solver(config, training, **named)

    monkeypatch.setattr("study.answers.retraining.make_solver", make_and_count)
    return counts


PAIRS = {"user_id": ["3", "9"], "movie_id": [4, 11]}


@pytest.mark.filterwarnings("ignore:intervals that rest on")
def test_settings_of_another_study_are_trained_on_these_ratings(
    last_week: Record, trained: list[int]
) -> None:
    levels = Levels(all=0.0, by_user=(0.0,) * 6, by_item=(0.0,) * 5 + (-0.25,)).to_keep()
    last_week.keep(StudyView.held_out, {"levels": levels})  # type: ignore[typeddict-item]
    before = dict(last_week.study.user_attrs)
    result = find(week(950), setting_of="last week", quiet=True)
    assert result.is_borrowed
    assert result.best_setting == to_params(GIBBS[0])
    assert "settings of study last week" in repr(result)
    answers = result.predict(PAIRS)
    assert trained == [950]  # what the finalists were off holds for nearly the same ratings
    own = Ensemble.of_best(
        last_week, result.ratings, None, folder=Path("other"), device=result.device
    )
    plain, _ = own.predict(result.asked(PAIRS).queries)
    assert answers["prediction"] == pytest.approx(plain - 0.25)
    result.predict(PAIRS, intervals=True)
    assert trained == [950, 950, 855]
    assert last_week.study.user_attrs == before
    assert find(week(900), study_name="last week").is_borrowed is False
    assert find(week(900), setting_of="last week").is_borrowed is False


def test_models_of_other_ratings_never_mix(last_week: Record, trained: list[int]) -> None:
    for n in (900, 950, 950, 900):
        find(week(n), setting_of="last week", quiet=True).predict(PAIRS)
    assert trained == [900, 950]


def test_what_ratings_unlike_its_own_are_off_is_found_anew(
    last_week: Record, trained: list[int]
) -> None:
    last_week.keep(StudyView.held_out, {"levels": Levels.none().to_keep()})  # type: ignore[typeddict-item]
    result = find(week(600, seed=1), setting_of="last week", quiet=True)
    result.predict(PAIRS)
    assert trained == [600, 540]
    assert result.record.held_out is None


def test_what_cannot_be_borrowed(last_week: Record) -> None:
    with pytest.raises(InputError, match="did you mean last week"):
        find(week(950), setting_of="las week")
    with pytest.raises(InputError, match="setting_of: expected no study_name= beside it"):
        find(week(950), setting_of="last week", study_name="mine")
    last_week.keep(StudyView.splits, ["latest"])
    with pytest.raises(InputError, match="made with split=latest, and these ratings have no times"):
        find(week(950), setting_of="last week")


def test_the_commands_borrow_too(last_week: Record, outcome_of: Callable[..., Any]) -> None:
    write_csv(pa.table(week(950)), "ratings-2.csv")
    write_csv(pa.table(PAIRS), "pairs.csv")
    told = ("--data", "ratings-2.csv", "--setting-of", "last week")
    code, out, err = outcome_of(
        best_predict.main, *told, "--queries", "pairs.csv", "--out", "answers.csv"
    )
    assert (code, err) == (0, "")
    assert "Settings of: last week, tuned on nearly the same ratings\n" in out
    assert Path("answers.csv").read_text().count("\n") == 3
    code, out, err = outcome_of(recommend.main, *told, "--user", "3")
    assert (code, err) == (0, "")
    assert "loaded, trained before" in out
    code, _, err = outcome_of(recommend.main, *told, "--user", "3", "--study-name", "mine")
    assert (code, err) == (
        2,
        "study.recommend: --setting-of: expected no --study-name beside it\n",
    )


# What stays beside the database


def aged() -> set[str]:
    """Whatever models there are, which were used two days ago from now on."""
    then = time.time() - 2 * 86_400
    paths = [*Path("runs/models").iterdir()]
    for path in paths:
        os.utime(path, (then, then))
    return {path.name for path in paths}


@pytest.mark.filterwarnings("ignore:intervals that rest on")
def test_models_of_settings_that_no_longer_answer_go(
    last_week: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.answers.retraining.MOST", 5)

    def answered(*, n: int = 900, **more: Any) -> str:
        events = list[Event]()
        find(week(n), on_event=events.append, **more).predict(PAIRS, intervals=True)
        return said(events)

    assert "Removed" not in answered(study_name="last week")
    before = aged()
    answered(n=950, setting_of="last week")
    others = aged() - before
    assert (len(before), len(others)) == (2, 2)
    add(last_week, GIBBS[1:4])  # as many as leave the first among the finalists
    assert "Removed" not in answered(study_name="last week")
    own = aged() - others
    assert own > before
    add(last_week, GIBBS[4:7])
    assert "Removed from runs/: 2 files that nothing uses now, " in answered(study_name="last week")
    now = {path.name for path in Path("runs/models").iterdir()}
    assert now > (own - before) | others
    assert not now & before


def test_how_much_stays_is_told(last_week: Record) -> None:
    find(week(900), setting_of="last week", quiet=True).predict(PAIRS)
    (old,) = aged()
    events = list[Event]()
    find(week(950), setting_of="last week", keep="1kB", on_event=events.append).predict(PAIRS)
    assert "Removed from runs/: 1 file unused for longest, " in said(events)
    assert old not in {path.name for path in Path("runs/models").iterdir()}
    with pytest.raises(InputError, match=r"^keep: expected a size such as 2GB, 500MB or 0, got 'a"):
        tune(week(900), keep="all")
