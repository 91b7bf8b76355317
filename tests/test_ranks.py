"""Commands under `torchrun`: two processes that share the users out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from optuna.storages import RDBStorage
from pyarrow import csv
from pyarrow.parquet import read_table, write_table

ROOT = Path(__file__).resolve().parent.parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
OURS = re.compile(r"(?m)^study\.\w+: .*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ratings of factors in a folder of two files, pairs with ratings in another."""
    draw = np.random.default_rng(0)
    pairs = draw.permutation(200 * 60)[:5_000]
    users, items = np.divmod(pairs, 60)
    users[4_300:4_320] = 999  # who has no ratings
    signal = (draw.normal(size=(1_000, 2)) @ draw.normal(size=(2, 60)))[users, items]
    rated = 3.5 + signal + draw.normal(0, 0.5, len(pairs))
    table = pa.table({"user": users, "item": items, "rating": rated.round(2)})
    for name in ("ratings", "pairs"):
        (tmp_path / name).mkdir()
    write_table(table.slice(0, 2_500), tmp_path / "ratings/a.parquet", row_group_size=700)
    write_table(table.slice(2_500, 1_700), tmp_path / "ratings/b.parquet", row_group_size=700)
    csv.write_csv(table.slice(4_200, 300), tmp_path / "pairs/a.csv")
    csv.write_csv(table.slice(4_500), tmp_path / "pairs/b.csv")
    return tmp_path


def ended(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def called(folder: Path, *words: str) -> str:
    done = ended(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_ranks_tune_and_predict_in_the_order_of_the_queries(folder: Path) -> None:
    told = called(folder, *TORCHRUN, "study.run", "--data", "ratings", "--trials", "2")
    assert told.startswith("Ranks: 2\nData: ratings, 4,200 ratings, 200 users, 60 items, ")
    assert told.count("Finished: 2 trials") == 1
    assert "\nFinalists: meet on all ranks, which cannot train gradient\n" in told
    assert told.count("Finalists, round 1: 1 setting on a fresh split, trial ") == 1
    command = re.search(r"Next: torchrun --standalone --nproc-per-node 2 -m (.*)", told)
    assert command and command[1] == (
        "study.best_predict --data ratings --queries PAIRS.csv --out answers.csv"
    )
    alone = called(folder, "-m", "study.run", "--data", "ratings", "--trials", "2")
    assert "2 of 2 trials finished, nothing left to run" in alone
    asked = ("study.best_predict", "--data", "ratings", "--queries", "pairs")
    told = called(folder, *TORCHRUN, *asked, "--out", "two.csv", "--intervals", "two-sure.parquet")
    assert "Queries: pairs, user user, item item, rating rating, 20 of unknown" in told
    assert told.count("Wrote: two.csv, 800 predictions") == 1
    assert told.count("\nRMSE: ") == 1
    assert "trained for" in told
    models, of_two = folder / "runs/models", folder / "runs/of-two"
    models.rename(of_two)
    told = called(folder, "-m", *asked, "--out", "one.csv")
    assert "trained for" in told
    one, two = (csv.read_csv(folder / name) for name in ("one.csv", "two.csv"))
    for name in ("user", "item"):
        assert one[name].equals(two[name])
    far = np.abs(np.subtract(one["prediction"], two["prediction"]))
    assert 0 < far.mean() < 0.01  # sums in another order differ in their last digits
    assert read_table(folder / "two-sure.parquet")["user"].equals(one["user"])
    told = called(folder, *TORCHRUN, *asked, "--out", "answers/")  # by the model of one
    assert "loaded, trained before" in told
    assert "trained for" not in told
    parts = read_table(folder / "answers")
    keys = [("user", "ascending"), ("item", "ascending")]
    mine, theirs = parts.sort_by(keys), one.sort_by(keys)
    assert mine["item"].equals(theirs["item"])
    assert np.allclose(mine["prediction"], theirs["prediction"], atol=1e-6)
    assert len(list((folder / "answers").iterdir())) == 2
    shutil.rmtree(models)
    of_two.rename(models)
    told = called(folder, "-m", *asked, "--out", "again.csv", "--intervals", "sure.csv")
    assert "loaded, trained before" in told
    assert "trained for" not in told
    again = csv.read_csv(folder / "again.csv")
    assert np.allclose(again["prediction"], two["prediction"], atol=1e-6)


def test_bad_input_ends_the_first_rank_before_anything_is_taken_down() -> None:
    program = (
        "import atexit, os; atexit.register(os.abort);"
        "from study.run import main; main(['--nonsense'])"
    )
    ranks = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **ranks},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
def test_bad_input_is_one_line_of_the_first_rank(folder: Path) -> None:
    (folder / "ratings" / "c.parquet").write_bytes(b"PAR1 and no more")
    users, items = np.divmod(np.random.default_rng(2).permutation(8 * 60)[:300], 60)
    wide = pa.table({"user": users, "item": items, "rating": users % 5})
    write_table(wide, folder / "wide.parquet")
    RDBStorage(f"sqlite:///{folder}/empty.db")
    of_none = ("study.best_predict", "--data", "wide.parquet", "--storage", "sqlite:///empty.db")
    for words, said in (
        (("study.run", "--data", "ratings"), "study.run: ratings/c.parquet: cannot be read as"),
        (("study.recommend", "--user", "1"), "study.recommend: expected one process, got 2 ranks"),
        (of_none, "study.best_predict: study 'ratings-"),
    ):
        done = ended(folder, *TORCHRUN, *words)
        assert done.returncode == 1
        lines = OURS.findall(done.stderr)
        assert len(lines) == 1
        assert lines[0].startswith(said)
        assert "exitcode  : 2" in done.stderr
    assert done.stdout == (
        "Ranks: 2\nItems are many more than users, and every rank has a row of each: with\n"
        "--columns item,user,rating ranks share them out in place of users\n"
    )
    assert not (folder / "runs").exists()
