"""Intervals of predictions: what they cover, the file they go to, and the models behind them."""

import csv
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from numpy.typing import NDArray
from records import ask, new_record

from model.dataset import Ratings, index_ratings
from model.solver import Solver
from model.solvers import (
    ORIGINAL,
    SOLVERS,
    ALSConfig,
    Config,
    GibbsConfig,
    GradientConfig,
    make_solver,
)
from model.splits import Split, Without, split
from model.world import ALONE
from storage.database import open_storage, parse_storage_url
from storage.errors import InputError
from storage.predictions import asked_ids, write_columns
from storage.ratings import RatingsTable
from storage.sources import Sources
from study import best_predict
from study.answers.ensemble import LITTLE, Ensemble
from study.answers.intervals import COVERAGE, Calibration, calibrate
from study.answers.retraining import load_or_train
from study.inputs import Data, Totals, load_data
from study.record.ranking import Setting, best_settings
from study.record.seeds import setting_seed
from study.record.studies import default_name, identity, open_study
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler
from study.sides import Side

CONFIGS: dict[str, Config] = {
    "als": ALSConfig(rank=2, weight_decay=0.03, bias_decay=0.01),
    "gradient": GradientConfig(
        rank=2,
        learning_rate=0.02,
        learning_rate_decay=0.97,
        weight_decay=0.03,
        bias_decay=0.01,
        batch_size=500,
        initial_scale=0.1,
    ),
    "gibbs": GibbsConfig(rank=2, noise_dof=20.0, n_features=8, likelihood="both"),
}
EPOCHS = {"als": 8, "gradient": 25, "gibbs": 40}
N_USERS, N_ITEMS = 150, 100

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]
Plant = Callable[..., optuna.Study]


@pytest.fixture(autouse=True)
def few_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    gibbs = replace(SOLVERS["gibbs"], retraining_epochs=EPOCHS["gibbs"])
    monkeypatch.setitem(SOLVERS, "gibbs", gibbs)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Ratings]:
    """The ratings of every training that was begun, as they come."""
    begun: list[Ratings] = []

    def make_and_count(
        config: Config, training: Ratings, *, device: torch.device, seed: int
    ) -> Solver:
        begun.append(training)
        return make_solver(config, training, device=device, seed=seed)

    monkeypatch.setattr("study.answers.retraining.make_solver", make_and_count)
    return begun


def tried(study: optuna.Study, config: Config, mse: float) -> None:
    """Adds a completed trial of a setting."""
    trial = ask(study, config)
    attributes = {
        "stopped": "last epoch",
        "best_epoch": EPOCHS[trial.params["solver"]],
        "validation_mse": mse,
        "validation_rmse": math.sqrt(mse),
        "seconds": 0.5,
    }
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    study.tell(trial, mse)


def data_of(ratings: Ratings) -> Data:
    """Ratings of users 1, 2, … and items 1, 2, … without queries."""
    users, items = ratings.user_index.numpy() + 1, ratings.item_index.numpy() + 1
    nobody = np.empty(0, np.int32)
    table = RatingsTable.from_columns(
        user_ids=users.astype(np.int32),
        item_ids=items.astype(np.int32),
        ratings=ratings.values.numpy(),
        query_user_ids=nobody,
        query_item_ids=nobody,
    )
    indexed, user_ids, item_ids = index_ratings(table.user_ids, table.item_ids, table.ratings)
    return Data(
        source="test",
        sources=Sources(),
        table=table,
        ratings=indexed,
        user_side=Side(ids=user_ids, n_rated=len(user_ids)),
        item_side=Side(ids=item_ids, n_rated=len(item_ids)),
        totals=Totals.of(table, user_ids, item_ids, ALONE),
    )


def ensemble_of(data: Data, folder: Path, *solvers: str, mse: float = 0.3) -> Ensemble:
    """The settings of these solvers, the first the best."""
    record = new_record()
    study = record.study
    study.set_user_attr("ratings_digest", data.table.digest)
    for place, solver in enumerate(solvers):
        tried(study, CONFIGS[solver], mse + place * 1e-12)
    return Ensemble(
        settings=best_settings(study, len(solvers)),
        data=data,
        record=record,
        folder=folder,
        device=torch.device("cpu"),
    )


Planted = tuple[Ratings, Ratings, float]


# Of 1000 ratings 90 % lie inside up to ±1 %, and the quantile of 800 is off by as much: ±4 % is
# nearly three standard deviations, and with seeds that are fixed the outcome is the same each time.
@pytest.mark.parametrize(
    "solvers", [("als",), ("gradient",), ("gibbs",), ("als", "gradient")], ids="+".join
)
def test_nine_held_out_ratings_of_ten_lie_inside(
    planted: Planted, tmp_path: Path, solvers: tuple[str, ...]
) -> None:
    training, test, noise_std = planted
    ensemble = ensemble_of(data_of(training), tmp_path, *solvers)
    predictions, spread = ensemble.predict(test)
    columns = calibrate(ensemble).intervals(predictions, spread)
    truth = test.values.numpy()
    inside = (columns["lower"] <= truth) & (truth <= columns["upper"])
    assert COVERAGE == 0.9
    assert inside.mean() == pytest.approx(0.9, abs=0.04)
    error = predictions - truth
    assert np.sqrt(np.square(error / columns["std"]).mean()) == pytest.approx(1, abs=0.1)
    assert columns["std"].mean() > noise_std
    assert columns["upper"].max() <= training.values.max()
    assert columns["lower"].min() >= training.values.min()


def test_intervals_of_a_sampler_are_wider_where_it_knows_less(
    planted: Planted, tmp_path: Path
) -> None:
    training, test, _ = planted
    few = training.user_index < 20  # of them only every eighth rating is left
    every_eighth = torch.arange(len(training)) % 8 == 0
    ensemble = ensemble_of(data_of(training[~few | every_eighth]), tmp_path, "gibbs")
    _, spread = ensemble.predict(test)
    sparse = test.user_index.numpy() < 20
    assert spread[sparse].mean() > 1.2 * spread[~sparse].mean()


@pytest.mark.parametrize("solver", ["als", "gibbs"])
def test_the_calibration_is_the_quantile_of_what_was_held_out(
    planted: Planted, tmp_path: Path, trained: list[Ratings], solver: str
) -> None:
    data = data_of(planted[0])
    ensemble = ensemble_of(data, tmp_path, solver)
    found = calibrate(ensemble)
    assert (found.n_ratings, found.doubt) == (800, "")
    (training,) = trained

    def pairs(ratings: Ratings) -> NDArray[np.int64]:
        return (ratings.user_index * N_ITEMS + ratings.item_index).numpy()

    held_out = data.ratings[torch.from_numpy(~np.isin(pairs(data.ratings), pairs(training)))]
    assert len(held_out) == 800
    assert not np.isin(pairs(held_out), pairs(split(data.ratings, seed=0)[1])).all()
    setting = ensemble.settings[0]
    solved = make_solver(
        setting.config, training, device=torch.device("cpu"), seed=seed_of(ensemble)
    )
    for _ in itertools.islice(solved.epochs(None), EPOCHS[solver]):
        pass
    predicted, spread = (
        figures.numpy()
        for figures in (
            solved.model.predict(held_out),
            solved.model.std(held_out),
        )
    )
    if solver == "als":  # it knows no spread of its own
        spread = spread * setting.trial.user_attrs["validation_mse"] ** 0.5
    errors = predicted - held_out.values.numpy()
    assert_kept(ensemble, predicted, errors, spread)
    score = np.sort(np.abs(errors) / spread)
    assert found.quantile == pytest.approx(score[math.ceil(801 * 0.9) - 1], rel=1e-9)
    assert found.std_factor == pytest.approx(math.sqrt(np.mean(score**2)), rel=1e-9)
    assert (found.lowest, found.highest) == (data.table.ratings.min(), data.table.ratings.max())
    assert held_out.values.min() > found.lowest


def assert_kept(
    ensemble: Ensemble,
    predicted: NDArray[np.float64],
    errors: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """What the study keeps is how well intervals hold on the 800 errors of a split."""
    kept, score = ensemble.record.calibration, np.abs(errors) / spread
    assert kept is not None
    assert (kept["trials"], kept["ratings"]) == ([0], 800)
    assert [level for level, _ in kept["levels"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    for level, share in kept["levels"]:
        halves = score[::2], score[1::2]
        inside = [
            mine <= np.sort(others)[math.ceil(401 * level) - 1]
            for mine, others in (halves, halves[::-1])
        ]
        assert share == pytest.approx(np.mean(inside), abs=1e-6)
    std = spread * math.sqrt(np.mean(score**2))
    groups = np.array_split(np.argsort(std, kind="stable"), 10 if np.ptp(std) > 0 else 1)
    for found, rows in zip(kept["by_std"], groups, strict=True):
        assert found["ratings"] == len(rows)
        assert found["std"] == pytest.approx(math.sqrt(np.mean(std[rows] ** 2)), abs=1e-6)
        assert found["rmse"] == pytest.approx(math.sqrt(np.mean(errors[rows] ** 2)), abs=1e-6)
    reach = np.sort(score)[math.ceil(801 * 0.9) - 1] * spread
    lowest, highest = ensemble.data.table.ratings.min(), ensemble.data.table.ratings.max()
    width = np.minimum(predicted + reach, highest) - np.maximum(predicted - reach, lowest)
    assert kept["width"] == pytest.approx(width.mean(), abs=1e-6)


def seed_of(ensemble: Ensemble) -> int:
    return setting_seed(ensemble.record.seed, ensemble.settings[0].config)


def test_of_a_few_held_out_ratings_the_largest_error_counts(
    few_ratings: Ratings, tmp_path: Path
) -> None:
    """Of 5 ratings 90 % are all: more is not to be had."""
    ensemble = ensemble_of(data_of(few_ratings[torch.arange(50)]), tmp_path, "als")
    found = calibrate(ensemble)
    assert found.std_factor < found.quantile < math.inf
    assert found.doubt.startswith("intervals that rest on 5 held-out ratings may be far too wide")
    predictions, spread = np.array([3.0]), np.ones(1)
    columns = found.intervals(predictions, spread)
    assert columns["upper"] == min(3.0 + found.quantile, 5.0)


def test_one_held_out_rating_is_enough_to_calibrate(few_ratings: Ratings, tmp_path: Path) -> None:
    """It is then its own half, and lies on the edge of its interval."""
    ensemble = ensemble_of(data_of(few_ratings[torch.arange(10)]), tmp_path, "als")
    assert calibrate(ensemble).n_ratings == 1
    kept = ensemble.record.calibration
    assert kept is not None
    assert [share for _, share in kept["levels"]] == [1.0] * 6


def test_only_of_few_ratings_there_is_a_doubt() -> None:
    calibration = Calibration(std_factor=1.0, quantile=2.0, lowest=1.0, highest=5.0, n_ratings=100)
    assert calibration.doubt == ""
    assert "on 99 held-out ratings may" in replace(calibration, n_ratings=99).doubt
    assert "on 1 held-out rating may" in replace(calibration, n_ratings=1).doubt


def test_intervals_are_scaled_spreads_within_the_range() -> None:
    calibration = Calibration(std_factor=2.0, quantile=3.0, lowest=1.0, highest=5.0, n_ratings=100)
    columns = calibration.intervals(np.array([3.0, 4.0, 1.2]), np.array([0.5, 1.0, 0.1]))
    assert list(columns) == ["prediction", "std", "lower", "upper"]
    np.testing.assert_allclose(columns["prediction"], [3.0, 4.0, 1.2])
    np.testing.assert_allclose(columns["std"], [1.0, 2.0, 0.2])
    np.testing.assert_allclose(columns["lower"], [1.5, 1.0, 1.0])
    np.testing.assert_allclose(columns["upper"], [4.5, 5.0, 1.5])


def test_an_average_has_the_mean_prediction_and_the_mean_variance(
    planted: Planted, tmp_path: Path
) -> None:
    training, test, _ = planted
    data = data_of(training[torch.arange(2000)])
    every = [
        ensemble_of(data, tmp_path / "+".join(solvers), *solvers).predict(test)
        for solvers in (("als",), ("gradient",), ("gibbs",), ("als", "gradient", "gibbs"))
    ]
    (predictions, spreads) = (np.stack(figures) for figures in zip(*every, strict=True))
    np.testing.assert_allclose(predictions[3], predictions[:3].mean(0), rtol=1e-12)
    np.testing.assert_allclose(spreads[3], np.sqrt((spreads[:3] ** 2).mean(0)), rtol=1e-12)


@pytest.mark.parametrize(
    "solvers",
    [
        ("als",),
        ("gibbs",),
        ("gibbs", "als"),
    ],
    ids="+".join,
)
def test_intervals_scale_with_the_ratings(
    planted: Planted, tmp_path: Path, solvers: tuple[str, ...]
) -> None:
    training, test, _ = planted
    training = training[torch.arange(2000)]
    half_widths = []
    for scale in (1.0, 16.0):
        data = data_of(replace(training, values=training.values * scale))
        ensemble = ensemble_of(data, tmp_path / f"times {scale:g}", *solvers, mse=0.3 * scale**2)
        _, spread = ensemble.predict(test)
        half_widths.append(calibrate(ensemble).quantile * spread / scale)
    np.testing.assert_allclose(half_widths[1], half_widths[0], rtol=1e-4)


def test_members_of_an_average_keep_to_the_range_before_their_mean_is_taken(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain form does not keep to it by itself."""
    training, test, _ = planted
    monkeypatch.setitem(CONFIGS, "plain", ORIGINAL)
    ensemble = ensemble_of(data_of(training[torch.arange(300)]), tmp_path, "plain")
    predictions, _ = ensemble.predict(test)
    values = training.values[:300].numpy()
    assert predictions.min() >= values.min()
    assert predictions.max() == values.max()


# The command itself.


@pytest.fixture
def call(outcome_of: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls best_predict in an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.answers.intervals.FEWEST", 70)

    return partial(outcome_of, best_predict.main)


QUERIES = [(205, 7), (5, 300), (103, 7), (5, 300), (397, 301), (400, 14), (400, 2)]


@pytest.fixture
def study_of(call: Call) -> Plant:
    """Makes ./mat_comp and a study of it whose best settings are those of the solvers given.

    Users have the ids 5, 12, 19, …, items 7, 14, …; queries ask for others too, in no order.
    """

    def make(*solvers: str, queries: list[tuple[int, int]] = QUERIES) -> optuna.Study:
        draw = np.random.default_rng(7)
        users, items = np.divmod(draw.permutation(57 * 43)[:700], 43)
        signal = 3 + draw.normal(0, 0.7, 57)[users] + draw.normal(0, 0.7, 43)[items]
        ratings = np.clip(np.round(signal + draw.normal(0, 0.5, 700)), 1, 5)
        lines = ["400 301 700"]
        lines += [
            f"{7 * u + 5} {7 * i + 7} {r:g}" for u, i, r in zip(users, items, ratings, strict=True)
        ]
        lines += [str(len(queries)), *(f"{user} {item}" for user, item in queries)]
        Path("mat_comp").write_text("\n".join(lines) + "\n")
        data = load_data(None, runs=Path("runs"))
        wanted = identity(data.table.digest, split(data.ratings, seed=0)[1], seed=0)
        storage = open_storage(parse_storage_url("sqlite:///runs/study.db"))
        study = open_study(
            storage,
            default_name(data.table),
            wanted,
            about="a test",
            sampler=SlotSampler(0),
            pruner=SolverMedianPruner(),
        ).study
        for place, solver in enumerate(solvers):
            tried(study, CONFIGS[solver], 0.5 + place / 100)
        return study

    return make


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("solver", CONFIGS)
def test_a_row_a_query_the_same_from_saved_models(
    call: Call, study_of: Plant, solver: str, trained: list[Ratings]
) -> None:
    study_of(solver)
    code, out, err = call("--intervals", "intervals.csv")
    assert (code, err) == (0, "")
    assert "Wrote: intervals.csv, 90 % intervals" in out
    assert [len(ratings) for ratings in trained] == [700, 630]
    said = f"Trial 0, {solver}, without held-out ratings, trained for {EPOCHS[solver]} epochs"
    assert said in out
    assert Path("intervals.csv").read_text().startswith("user,item,prediction,std,lower,upper")
    rows = rows_of("intervals.csv")
    assert [(int(row["user"]), int(row["item"])) for row in rows] == QUERIES
    assert [row["prediction"] for row in rows] == Path("mat_comp_ans").read_text().split()
    for row in rows:
        prediction, std, lower, upper = (
            float(row[name]) for name in ("prediction", "std", "lower", "upper")
        )
        assert 1 <= lower < prediction < upper <= 5
        assert 0.3 < std < 2
    stds = {row["std"] for row in rows}
    # of als and gradient one of each kind: known, unknown user, unknown item, both
    assert len(stds) == (len(set(QUERIES)) if solver == "gibbs" else 4)

    first = [Path(name).read_bytes() for name in ("mat_comp_ans", "intervals.csv")]
    models = sorted((path.name, path.stat().st_mtime_ns) for path in Path("runs/models").iterdir())
    assert len(models) == 2
    code, out, _ = call("--intervals", "again.csv", "--out", "again")
    assert code == 0
    assert out.count("loaded, trained before") == 2
    assert "without held-out ratings, loaded, trained before" in out
    assert len(trained) == 2
    assert [Path(name).read_bytes() for name in ("again", "again.csv")] == first
    assert models == sorted(
        (path.name, path.stat().st_mtime_ns) for path in Path("runs/models").iterdir()
    )

    for name, _ in models:  # damaged ones are made again
        content = bytearray(Path("runs/models", name).read_bytes())
        content[-5] ^= 1
        Path("runs/models", name).write_bytes(content)
    call("--intervals", "third.csv", "--out", "third")
    assert len(trained) == 4
    assert [Path(name).read_bytes() for name in ("third", "third.csv")] == first


def test_a_saved_model_is_that_of_one_recipe(
    planted: Planted, tmp_path: Path, trained: list[Ratings]
) -> None:
    data = data_of(planted[0][torch.arange(300)])
    ensemble = ensemble_of(data, tmp_path, "als")
    (setting,) = ensemble.settings
    longer = replace(setting, best_epoch=9)

    def model(one: Setting = setting, without: Without | None = None) -> bool:
        """Whether it was found saved."""
        return load_or_train(
            one,
            data,
            folder=tmp_path,
            record=ensemble.record,
            device=torch.device("cpu"),
            without=without,
        )[1]

    def each() -> list[bool]:
        splits = [Without(Split.RANDOM, 0), Without(Split.RANDOM, 1), Without(Split.ITEMS, 0)]
        found = [model(), model(longer), *(model(without=one) for one in splits)]
        for name, other in (("seed", 1), ("ratings_digest", "of others")):
            before = ensemble.record.study.user_attrs[name]
            ensemble.record.study.set_user_attr(name, other)
            found.append(model())
            ensemble.record.study.set_user_attr(name, before)
        return found

    assert each() == [False] * 7
    assert each() == [True] * 7
    n_items = len(trained.pop(4))
    assert 200 < n_items <= 270
    assert [len(ratings) for ratings in trained] == [300, 300, 270, 270, 300, 300]


def test_without_intervals_nothing_is_trained_for_them(
    call: Call, study_of: Plant, trained: list[Ratings]
) -> None:
    study_of("als")
    code, out, _ = call()
    assert code == 0
    assert "intervals" not in out
    assert [len(ratings) for ratings in trained] == [700]


def test_intervals_of_an_average(call: Call, study_of: Plant, trained: list[Ratings]) -> None:
    study_of("als", "gradient")
    answers = []
    for average in (1, 2):
        assert call("--intervals", "intervals.csv", "--average", average)[0] == 0
        answers.append(np.loadtxt("mat_comp_ans"))
        assert [float(row["prediction"]) for row in rows_of("intervals.csv")] == list(answers[-1])
    assert [len(ratings) for ratings in trained] == [700, 630, 700, 630]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


def test_no_queries_no_rows(call: Call, study_of: Plant) -> None:
    study_of("gibbs", queries=[])
    code, _, err = call("--intervals", "intervals.csv")
    assert (code, err) == (0, "")
    assert Path("intervals.csv").read_text().split() == ["user,item,prediction,std,lower,upper"]


def everything() -> dict[str, bytes]:
    """All files; of the database the first bytes, as its journal comes and goes."""
    files = {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    files["runs/study.db"] = files["runs/study.db"][:16]
    return {name: content for name, content in files.items() if "study.db-" not in name}


@pytest.mark.parametrize("path", ["mat_comp", "truth", "runs/study.db", "answers", "link"])
def test_intervals_do_not_go_where_something_else_is(
    call: Call, study_of: Plant, path: str
) -> None:
    study_of("als")
    Path("truth").write_text("3\n" * len(QUERIES))
    Path("answers").write_text("mine\n")
    Path("link").symlink_to("mat_comp")
    before = everything()
    code, _, err = call("--truth", "truth", "--out", "answers", "--intervals", path)
    assert code == 2
    assert err.startswith(f"study.best_predict: {path}: expected a file of its own")
    assert len(err.splitlines()) == 1
    assert everything() == before


@pytest.mark.parametrize("intervals", ["answers", "./answers", "runs/../answers"])
def test_answers_and_intervals_need_two_files_even_new_ones(
    call: Call, study_of: Plant, intervals: str
) -> None:
    study_of("als")
    before = everything()
    code, _, err = call("--out", "answers", "--intervals", intervals)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert everything() == before


@pytest.mark.parametrize("path", [".", "mat_comp/intervals.csv", "x" * 300, "pipe"])
def test_intervals_that_cannot_be_written_are_one_line_before_any_work(
    call: Call, study_of: Plant, trained: list[Ratings], path: str
) -> None:
    study_of("als")
    os.mkfifo("pipe")
    before = everything()
    code, out, err = call("--intervals", path)
    assert code == 2
    assert out == ""
    assert err.startswith(f"study.best_predict: {path}: ")
    assert len(err.splitlines()) == 1
    assert trained == []
    assert everything() == before


def test_a_full_disk_leaves_the_old_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "intervals.csv"
    path.write_text("old")
    ids = np.array([3, 1], np.int32)
    table = RatingsTable.from_columns(
        user_ids=ids,
        item_ids=ids,
        ratings=np.array([1.0, 2.0]),
        query_user_ids=ids,
        query_item_ids=ids[::-1],
    )
    columns = {"prediction": np.array([1.0, -0.1234567]), "std": np.array([1e-9, 12345.5])}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            write_columns(path, [*asked_ids(table), *columns.items()])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

    write_columns(path, [*asked_ids(table), *columns.items()])
    assert path.read_text().splitlines() == [
        "user,item,prediction,std",
        "3,1,1.000000,0.000000",
        "1,3,-0.123457,12345.500000",
    ]


def test_who_is_unknown_gets_wider_intervals_that_hold(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    users, items = np.divmod(draw.permutation(150 * 60)[:6000], 60)
    signal = 3 + draw.normal(0, 0.8, 150)[users] + draw.normal(0, 0.3, 60)[items]
    data = data_of(index_ratings(users, items, signal + draw.normal(0, 0.3, 6000))[0])
    ensemble = ensemble_of(data, tmp_path, "als", mse=0.1)
    calibration = calibrate(ensemble)
    new = np.abs(draw.normal(0, 0.8, 5000) + draw.normal(0, 0.3, 5000))  # a stranger's ratings
    spread = np.ones(3) * 0.3
    columns = calibration.intervals(np.full(3, 3.0), spread, np.array([0, 1, 3]))
    known, stranger, both = columns["upper"] - columns["prediction"]
    assert known < 0.7 < stranger < both * 1.01
    assert (new <= stranger).mean() == pytest.approx(0.9, abs=0.03)
    assert columns["std"][1] == pytest.approx(math.hypot(0.8, 0.3), rel=0.1)


@pytest.mark.parametrize("n_few", [60, 6])
def test_who_has_a_few_ratings_gets_intervals_of_their_own_if_there_are_enough(
    tmp_path: Path, n_few: int
) -> None:
    """The noise of users who rate 8 items is more than that of those who rate 60."""
    draw = np.random.default_rng(6)
    users = np.concatenate([np.repeat(np.arange(100), 60), np.repeat(np.arange(n_few) + 100, 8)])
    items = np.concatenate([draw.permutation(60)[: 60 if u < 100 else 8] for u in np.unique(users)])
    noise = np.where(users < 100, 0.3, 0.6 if n_few == 60 else 3.0)
    values = 3 + draw.normal(0, 0.3, 60)[items] + draw.normal(0, noise)
    ensemble = ensemble_of(data_of(index_ratings(users, items, values)[0]), tmp_path, "als")
    spread = np.full(2, math.sqrt(0.3))  # the trial's RMSE
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("study.answers.intervals.FEWEST", 30)
        calibration = calibrate(ensemble)
    columns = calibration.intervals(np.full(2, 3.0), spread, np.array([0, LITTLE]))
    much, little = columns["upper"] - columns["prediction"]
    if n_few == 6:
        assert much == little
        assert calibration.std_factor > 1.2 * 0.3 / spread[0]  # they count among the others
        return
    assert much == pytest.approx(1.64 * 0.3, rel=0.15)
    assert 1.64 * 0.6 < little < 4 * much  # what is not known of them comes on top


def test_what_is_unknown_of_a_query_is_told(planted: Planted, tmp_path: Path) -> None:
    training = planted[0]
    kept = (training.user_index > 0) | (torch.arange(len(training)) % 9 == 0)
    data = data_of(training[kept])
    table = replace(
        data.table,
        query_user_ids=np.array([2, 10**6, 2, 10**6, 1]),
        query_item_ids=np.array([1, 1, 10**6, 10**6, 1]),
    )
    ensemble = ensemble_of(replace(data, table=table), tmp_path, "als")
    assert (data.table.user_ids == 1).sum() < 10
    assert ensemble.kinds().tolist() == [0, 1, 2, 3, LITTLE]
