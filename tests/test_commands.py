"""The two commands as a user calls them: the main job, and every kind of bad input."""

import csv
import gzip
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from records import set_lease

from storage.database import open_storage, parse_storage_url
from study import best_predict, run
from study.record.liveness import this_worker
from study.record.record import Record
from study.search.sampler import SlotSampler, suggest

GOOD = "3 4 8\n1 1 5\n1 2 3\n1 3 4\n2 1 4\n2 2 2\n2 4 5\n3 1 1\n3 3 2\n2\n3 2\n3 4\n"

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]


@pytest.fixture
def call(
    few_epochs: None, outcome_of: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Calls a command in an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    return outcome_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A mat_comp file of 40 users, 25 items, 500 ratings and 30 queries."""
    draw = np.random.default_rng(0)
    pairs = draw.choice(40 * 25, 530, replace=False)
    users, items = np.divmod(pairs, 25)
    ratings = np.clip(np.round(3 + draw.normal(size=40)[users] + draw.normal(0, 1, 530)), 1, 5)
    lines = ["40 25 500"]
    lines += [f"{u + 1} {i + 1} {r:g}" for u, i, r in zip(users, items, ratings, strict=True)][:500]
    lines += ["30"] + [f"{u + 1} {i + 1}" for u, i in zip(users[500:], items[500:], strict=True)]
    path = tmp_path / "data" / "mat_comp"
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "data" / "truth").write_text("".join(f"{rating:g}\n" for rating in ratings[500:]))
    return path


def study_names(storage: BaseStorage) -> list[str]:
    """The names of the studies themselves, without their finalists'."""
    names = optuna.get_all_study_names(storage)
    return [name for name in names if not name.endswith("-finalists")]


def suggested(study: optuna.Study) -> optuna.Trial:
    """A trial that has its parameters and is not done."""
    study.sampler = SlotSampler(0)
    trial = study.ask()
    suggest(trial)
    return trial


def the_record(url: str = "sqlite:///runs/study.db") -> Record:
    storage = open_storage(parse_storage_url(url))
    (name,) = study_names(storage)
    return Record(optuna.load_study(study_name=name, storage=storage), storage)


def the_study(url: str = "sqlite:///runs/study.db") -> optuna.Study:
    return the_record(url).study


def test_the_main_job(call: Call, data: Path) -> None:
    code, out, err = call(run.main, "--data", data, "--trials", 6)
    assert (code, err) == (0, "")
    assert out.startswith(f"Data: {data}, 500 ratings, 40 users, 25 items, 30 queries\n")
    assert " | 6 of 6, best " in out
    gain = r"^(Gain|Loss|No gain) over (biases alone|the mean rating).*, on (a|\d) fresh splits?$"
    assert re.search(gain, out, re.M)
    beside = (
        r"^RMSE on the validation ratings, which chose it:\n +it +\d.*\n +original's setting +\d"
    )
    assert re.search(beside, out, re.M)
    assert "optuna-dashboard sqlite:///runs/study.db" in out
    assert f"python -m study.best_predict --data {data}" in out

    code, out, err = call(best_predict.main, "--data", data, "--truth", data.parent / "truth")
    assert (code, err) == (0, "")
    predictions = np.loadtxt("mat_comp_ans")
    assert predictions.shape == (30,)
    assert (predictions >= 1).all()
    assert (predictions <= 5).all()
    truth = np.loadtxt(data.parent / "truth")
    rmse = np.sqrt(np.mean((predictions - truth) ** 2))
    assert f"RMSE: {rmse:.4f}  (95 % interval " in out
    assert "MAE: " in out
    assert "MSE: " in out

    with next(Path("runs").glob("*.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(6))
    assert rows[0]["gradient_rank"] == "25"
    assert rows[0]["gradient_form"] == "plain"


def test_a_study_that_has_its_trials_says_so(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 2)[0] == 0
    code, out, _ = call(run.main, "--data", data, "--trials", 2)
    assert code == 0
    assert "2 of 2 trials finished, nothing left to run" in out
    assert len(the_study().trials) == 2
    assert call(run.main, "--data", data, "--trials", 3)[0] == 0
    assert len(the_study().trials) == 3


def test_a_study_that_has_more_trials_than_are_asked_for_runs_nothing(
    call: Call, data: Path
) -> None:
    assert call(run.main, "--data", data, "--trials", 6)[0] == 0
    record = the_record()
    study, storage = record.study, record.storage
    ranking = study.user_attrs["finalists"]
    study.set_user_attr("finalists", ranking | {"of": 5})  # as if the last came to no new finalist
    names = optuna.get_all_study_names(storage)
    runs = [len(optuna.load_study(study_name=n, storage=storage).trials) for n in names]
    code, out, _ = call(run.main, "--data", data, "--trials", 3)
    assert code == 0
    assert "6 trials finished, more than the 3 asked for, nothing left to run" in out
    assert runs == [len(optuna.load_study(study_name=n, storage=storage).trials) for n in names]
    assert the_study().user_attrs["finalists"] == ranking


def test_trials_left_running_are_failed_and_done_again(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 2)[0] == 0
    record = the_record()
    dead = suggested(record.study)
    lease = {**this_worker(3), "pid": 2**22 - 1}
    set_lease(record, dead.number, lease)
    code, out, _ = call(run.main, "--data", data, "--trials", 4)
    assert code == 0
    assert f"trial 2: process {2**22 - 1} on {lease['host']} is gone; its setting is tried" in out
    trials = the_study().trials
    assert [trial.state for trial in trials].count(TrialState.FAIL) == 1
    assert len(trials) == 5
    assert trials[3].params == trials[2].params
    assert trials[3].user_attrs["retry_of"] == 2


def test_a_study_is_joined_by_others_that_run_it(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 2)[0] == 0
    record = the_record()
    study = record.study
    theirs = suggested(study)
    lease = {"host": "elsewhere", "machine": "another", "pid": 1, "started": 1.0, "beat": 1}
    set_lease(record, theirs.number, lease)
    code, out, _ = call(best_predict.main, "--data", data)
    assert code == 0
    assert "still running: the best so far" in out

    def finish() -> None:
        while len(the_study().trials) < 4:
            time.sleep(0.05)
        found = {"validation_mse": 9.0, "validation_rmse": 3.0, "best_epoch": 1, "seconds": 0.5}
        for name, value in (found | {"stopped": "none"}).items():
            theirs.set_user_attr(name, value)
        study.tell(theirs, 9.0)

    thread = threading.Thread(target=finish)
    thread.start()
    assert call(run.main, "--data", data, "--trials", 4)[0] == 0
    thread.join()
    assert [trial.state for trial in the_study().trials] == [TrialState.COMPLETE] * 4


def test_the_same_ratings_find_their_study_in_any_file(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 2)[0] == 0
    header, *lines = data.read_text().splitlines()
    shuffled = Path("other.gz")
    with gzip.open(shuffled, "wt") as file:
        file.write("\n".join([header, *reversed(lines[:500]), "1", "1 1"]).replace(" ", "\t"))
    code, out, _ = call(run.main, "--data", shuffled, "--trials", 2)
    assert code == 0
    assert "2 of 2 trials finished" in out


@pytest.mark.slow
def test_one_database_holds_studies_of_several_data_sets(call: Call, data: Path) -> None:
    other = Path("other")
    other.write_text(GOOD)
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0
    assert call(run.main, "--data", other, "--trials", 2)[0] == 0
    names = study_names(open_storage(parse_storage_url("sqlite:///runs/study.db")))
    assert len(names) == 2
    assert "1 of 1 trials" in call(run.main, "--data", data, "--trials", 1)[1]
    for command in (run.main, best_predict.main):
        code, _, err = call(command, "--data", data, "--study-name", next(iter(names[1:])))
        assert code == 2
        assert "belongs to other ratings" in err


def test_the_split_belongs_to_the_study(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 1, "--seed", 5)[0] == 0
    first = the_study().user_attrs["split_digest"]
    assert call(run.main, "--data", data, "--trials", 2)[0] == 0  # the seed is the study's own
    assert the_study().user_attrs["split_digest"] == first
    code, _, err = call(run.main, "--data", data, "--trials", 3, "--seed", 6)
    assert code == 2
    assert "was made with --seed 5, got --seed 6" in err
    assert len(the_study().trials) == 2


@pytest.mark.slow
def test_the_built_in_data_and_its_noise_floor(call: Call) -> None:
    code, out, _ = call(run.main, "--trials", 2)
    assert code == 0
    assert out.startswith("Data: built-in demo, 60,000 ")
    code, out, _ = call(best_predict.main)
    assert code == 0
    assert "Noise floor: RMSE 0.8000" in out
    assert len(Path("mat_comp_ans").read_text().splitlines()) == 6000


def test_a_mat_comp_here_is_taken(call: Call) -> None:
    Path("mat_comp").write_text(GOOD)
    code, out, _ = call(run.main, "--trials", 1)
    assert code == 0
    assert out.startswith("Data: mat_comp, 8 ratings")


def test_predictions_keep_to_the_range_even_of_the_plain_form(
    call: Call, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.answers.levels.WORTH", np.inf)  # its slope is as it is
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0
    assert call(best_predict.main, "--data", data)[0] == 0
    answers = np.loadtxt("mat_comp_ans")
    assert answers.min() == 1
    assert answers.max() == 5


def test_a_database_that_fails_is_one_line(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0
    with sqlite3.connect("runs/study.db") as connection:
        connection.execute("ALTER TABLE trials RENAME COLUMN state TO lost")
    connection.close()
    for command in (run.main, best_predict.main):
        code, _, err = call(command, "--data", data)
        assert code == 1
        assert "no such column: trials.state" in err
        assert len(err.splitlines()) == 1


def test_a_database_whose_making_was_cut_short_is_made_whole(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0
    with sqlite3.connect("runs/study.db") as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (name,) in connection.execute(query).fetchall():
            if name not in ("studies", "trials"):
                connection.execute(f"DROP TABLE {name}")
        connection.execute("DELETE FROM trials")
        connection.execute("DELETE FROM studies")
    connection.close()
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0


@pytest.mark.parametrize("precious", ["data/mat_comp", "data/truth", "runs/study.db"])
def test_what_is_read_is_not_written_over(call: Call, data: Path, precious: str) -> None:
    assert call(run.main, "--data", data, "--trials", 1)[0] == 0
    is_database = precious.endswith(".db")
    before = the_study().trials if is_database else Path(precious).read_bytes()
    code, _, err = call(
        best_predict.main, "--data", data, "--truth", data.parent / "truth", "--out", precious
    )
    assert code == 2
    assert "expected a file of its own" in err
    # SQLite may fold its journal into the file whenever it is read.
    assert before == (the_study().trials if is_database else Path(precious).read_bytes())


@pytest.mark.parametrize("suffix", ["csv", "html"])
@pytest.mark.parametrize("precious", ["data", "database"])
def test_a_study_named_like_a_file_that_is_read_does_not_write_over_it(
    call: Call, data: Path, suffix: str, precious: str
) -> None:
    path = data.rename(data.parent / f"mine.{suffix if precious == 'data' else 'txt'}")
    database = data.parent / f"{'mine' if precious == 'database' else 'study'}.{suffix}"
    before = path.read_bytes()
    code, out, err = call(
        run.main, "--data", path, "--storage", f"sqlite:///{database}", "--study-name", "mine"
    )
    assert (code, len(err.splitlines())) == (2, 1)
    assert "Study:" not in out
    assert f"mine.{suffix}: expected a file of its own, got one that is used here" in err
    assert path.read_bytes() == before


def test_what_others_wrote_does_not_steer_the_terminal(call: Call, data: Path) -> None:
    optuna.create_study(
        study_name="theirs\x1b]0;owned\x07\n",
        storage=open_storage(parse_storage_url("sqlite:///runs/study.db")),
    )
    code, _, err = call(best_predict.main, "--data", data)
    assert (code, err.count("\n")) == (2, 1)
    assert "theirs\N{REPLACEMENT CHARACTER}]0;owned" in err
    assert err.rstrip("\n").isprintable()


def test_a_file_of_any_name(call: Call, data: Path) -> None:
    path = data.rename(os.fsdecode(os.fsencode(data.parent) + b"/\xff\x1b[31m\n"))
    code, out, err = call(run.main, "--data", path, "--trials", 1)
    assert (code, err) == (0, "")
    assert "\x1b" not in out.partition("Next:")[0]
    assert the_study().user_attrs["data"].isprintable()
    out_file = os.fsdecode(b"\xfe")
    code, out, err = call(best_predict.main, "--data", path, "--out", out_file)
    assert (code, err) == (0, "")
    assert Path(out_file).exists()


def test_no_queries_is_no_error(call: Call) -> None:
    Path("mat_comp").write_text(GOOD.replace("\n2\n3 2\n3 4\n", "\n0\n"))
    assert call(run.main, "--trials", 2)[0] == 0
    code, out, _ = call(best_predict.main)
    assert code == 0
    assert "0 predictions" in out
    assert Path("mat_comp_ans").read_text() == ""


def test_unknown_users_and_items_get_sensible_answers(call: Call) -> None:
    Path("mat_comp").write_text(GOOD.replace("3 4 8", "9 9 8").replace("3 2\n3 4", "9 1\n9 9"))
    assert call(run.main, "--trials", 2)[0] == 0
    assert call(best_predict.main)[0] == 0
    answers = np.loadtxt("mat_comp_ans")
    assert ((answers > 1) & (answers < 5)).all()


def test_equal_ratings_are_predicted(call: Call) -> None:
    lines = [line.split() for line in GOOD.splitlines()]
    text = "\n".join(
        " ".join([*line[:2], "4"] if 0 < i < 9 else line) for i, line in enumerate(lines)
    )
    Path("mat_comp").write_text(text)
    assert call(run.main, "--trials", 3)[0] == 0
    assert call(best_predict.main)[0] == 0
    assert np.loadtxt("mat_comp_ans") == pytest.approx(4)


def test_repeated_pairs_are_counted_in_the_first_lines(call: Call) -> None:
    Path("mat_comp").write_text(GOOD.replace("3 3 2\n2\n", "1 1 1\n2\n"))
    code, out, _ = call(run.main, "--trials", 1)
    assert code == 0
    assert "Repeated: 1 lines rate a pair again" in "\n".join(out.splitlines()[:2])


def test_predictions_repeat_from_the_saved_model(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 4)[0] == 0
    _, out, _ = call(best_predict.main, "--data", data, "--out", "first")
    assert "trained for" in out
    _, out, _ = call(best_predict.main, "--data", data, "--out", "second")
    assert "loaded, trained before" in out
    assert Path("first").read_bytes() == Path("second").read_bytes()
    for model in Path("runs/models").iterdir():
        content = bytearray(model.read_bytes())
        content[-5] ^= 1
        model.write_bytes(content)
    _, out, _ = call(best_predict.main, "--data", data, "--out", "third")
    assert "trained for" in out
    assert Path("third").read_bytes() == Path("first").read_bytes()


@pytest.mark.slow
def test_an_average_is_the_mean_of_its_models(call: Call, data: Path) -> None:
    assert call(run.main, "--data", data, "--trials", 6)[0] == 0
    _, out, _ = call(best_predict.main, "--data", data, "--average", 3)
    assert out.count("trained for") + out.count("loaded") == 3
    averaged = np.loadtxt("mat_comp_ans")
    call(best_predict.main, "--data", data, "--average", 1)
    assert not np.allclose(np.loadtxt("mat_comp_ans"), averaged)
    code, out, _ = call(best_predict.main, "--data", data, "--average", 99)
    said = re.search(
        r"Average: of (\d); the study has no more settings that the pruner let go on; validation "
        r"RMSE of the worst, trial (\d): ([\d.]+) % above the first\n",
        out,
    )
    assert said
    rmse = [float(one) for one in re.findall(r"validation RMSE (\d+\.\d{4}), ", out)]
    assert len(rmse) == int(said[1])
    assert float(said[3]) == pytest.approx(100 * (max(rmse) / rmse[0] - 1), abs=0.1)
    assert code == 0


def test_time_is_up(call: Call, data: Path) -> None:
    code, out, _ = call(run.main, "--data", data, "--timeout", 0)
    assert code == 0
    assert "Time is up after 1 of 100 trials: the same command goes on\n" in out
    assert call(best_predict.main, "--data", data)[0] == 0


def test_the_setting_of_a_trial_that_the_timeout_cut_is_tried_again(call: Call, data: Path) -> None:
    _, out, _ = call(run.main, "--data", data, "--timeout", 0)
    assert " after 1 epoch, cut by the timeout:\n" in out
    code, out, _ = call(run.main, "--data", data, "--trials", 3)
    assert code == 0
    assert "cut by the timeout" not in out
    (cut, *others) = the_study().trials
    (again,) = (trial for trial in others if trial.user_attrs.get("retry_of") == cut.number)
    assert again.params == cut.params
    assert again.user_attrs["validation_mse"] < cut.user_attrs["validation_mse"]
    call(run.main, "--data", data, "--trials", 4, "--timeout", 0)
    code, out, _ = call(run.main, "--data", data, "--trials", 4)
    assert (code, "Finished: 4 trials" in out) == (0, True)
    assert all(trial.state.is_finished() for trial in the_study().trials)
    assert len(others) == 2


BAD_OPTIONS = {
    "--trials 0": "'--trials': expected a whole number, 1 or more, got '0'",
    "--trials many": "'--trials': expected a whole number, 1 or more, got 'many'",
    "--timeout -1": "'--timeout': expected a number, 0 or more, got '-1'",
    "--timeout nan": "'--timeout': expected a number, 0 or more, got 'nan'",
    "--seed -1": "'--seed': expected a whole number, 0 or more, got '-1'",
    "--device tpu": "'--device': 'tpu' is not one of",
    "--storage runs/study.db": "did you mean sqlite:///runs/study.db?",
    "--storage nonsense://x/y": "knows no database 'nonsense'",
    "--storage sqlite://": "in memory",
    "--storage sqlite:///file::memory:?uri=true": "expected sqlite:/// and a path",
    "--storage sqlite:///x.db?timeout=abc": "expected sqlite:/// and a path",
    "--study-name a\udcff": "expected text in UTF-8",
    f"--study-name {'x' * 501}": "expected at most 500 characters, got 501",
    "--data missing": "missing: no such file",
    "--data .": ".: expected a file, or a folder with files, got an empty one",
    "--no-such-option": "No such option",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_bad_options_are_one_line(call: Call, options: str) -> None:
    code, out, err = call(run.main, *options.split())
    assert code == 2
    assert out == ""
    assert BAD_OPTIONS[options] in err
    assert len(err.splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a table, or a header"),
        (GOOD.replace("1 1 5", "0 1 5"), "mat_comp:2: expected as user a whole number, 1 to 3"),
        ("1 1 1\n1 1 5\n0\n", "expected at least 2 different pairs rated"),
        ("2 2 2\n1 1 5\n1 1 4\n0\n", "expected at least 2 different pairs rated"),
    ],
)
def test_bad_data_is_one_line_and_makes_nothing(call: Call, content: str, message: str) -> None:
    Path("mat_comp").write_text(content)
    code, out, err = call(run.main, "--trials", 1)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("runs").exists()


def test_cuda_where_there_is_none(call: Call) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, _, err = call(run.main, "--device", "cuda")
    assert code == 2
    assert err == "study.run: --device: cuda was asked for, but PyTorch finds no GPU here\n"


def test_a_foreign_database_is_left_as_it_is(call: Call) -> None:
    with sqlite3.connect("foreign.db") as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = Path("foreign.db").read_bytes()
    for command in (run.main, best_predict.main):
        code, _, err = call(command, "--storage", "sqlite:///foreign.db")
        assert code == 2
        assert "expected an Optuna database, got one with tables customers" in err
    assert Path("foreign.db").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["foreign.db"]


def test_a_database_folder_that_cannot_be_made(call: Call) -> None:
    Path("file").touch()
    code, _, err = call(run.main, "--storage", "sqlite:///file/study.db", "--trials", 1)
    assert code == 2
    assert "cannot be made" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--average", "0"], "'--average': expected a whole number, 1 or more, got '0'"),
        (["--truth", "short"], "short: expected 2 ratings, one a query, got 1"),
        (["--truth", "missing"], "missing: no such file"),
        (["--out", "."], "expected a file to write, got a directory"),
        (["--out", "a" * 300], "cannot be written"),
        (["--out", "mat_comp/answers"], "mat_comp/answers: cannot be written"),
        (["--study-name", "other"], "study 'other' of mat_comp: not in this database"),
        (["--storage", "sqlite:///other.db"], "sqlite:///other.db: no such database"),
    ],
)
def test_bad_wishes_for_predictions(call: Call, options: list[str], message: str) -> None:
    Path("mat_comp").write_text(GOOD)
    Path("mat_comp_ans").write_text("kept\n")
    Path("short").write_text("4\n")
    assert call(run.main, "--trials", 1)[0] == 0
    code, out, err = call(best_predict.main, *options)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert Path("mat_comp_ans").read_text() == "kept\n"
    assert not Path("other.db").exists()


def test_a_study_without_a_finished_trial(call: Call) -> None:
    Path("mat_comp").write_text(GOOD)
    assert call(run.main, "--trials", 1)[0] == 0
    record = the_record()
    attributes = record.study.user_attrs
    optuna.delete_study(study_name=record.name, storage=record.storage)
    empty = optuna.create_study(study_name=record.name, storage=record.storage)
    for key, value in attributes.items():
        empty.set_user_attr(key, value)
    code, _, err = call(best_predict.main)
    assert code == 2
    assert "no trial has finished yet" in err
    assert not Path("mat_comp_ans").exists()
