"""Fixtures that several test files share."""

import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from quick import set_epochs

from model.dataset import Ratings

settings.register_profile("same every time", derandomize=True, database=None)
settings.load_profile("same every time")

WriteFile = Callable[[str | bytes], Path]
Outcome = tuple[int, str, str]
Once = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors are tiny here, and threads that wait for a busy core take several times as long."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_counts() -> None:
    """Ctrl-C is not ignored, as it is in what a shell runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in this process if no number of workers is told, where they can be patched."""
    monkeypatch.setattr("study.workers.team.suitable_workers", lambda *_: 1)


@pytest.fixture
def outcome_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls a command with arguments: its exit code, standard output and standard error."""

    def called(command: Callable[[list[str]], None], *arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return called


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials end early, and the best meet once: what they come to is not what matters."""
    set_epochs(monkeypatch, gradient=30, als=6, gibbs=4)
    monkeypatch.setattr("study.workers.race.FEW", 0)
    monkeypatch.setattr("study.workers.race.N_ROUNDS", 1)


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Writes a ratings file, newlines as they are, and returns its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "mat_comp"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's or another Chromium, if there is one."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def few_ratings() -> Ratings:
    """120 ratings of 12 users for 15 items; user 4 and item 7 have none."""
    draw = np.random.default_rng(1)
    pairs = draw.choice(11 * 14, 120, replace=False)
    users, items = np.divmod(pairs, 14)
    return Ratings(
        n_users=12,
        n_items=15,
        user_index=torch.from_numpy(users + (users >= 4)),
        item_index=torch.from_numpy(items + (items >= 7)),
        values=torch.from_numpy(draw.integers(1, 11, 120) / 2.0),
    )


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Calls a function with a new folder of that name in one of the processes that share the
    tests out: what it came to, in all of them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def call(name: str, function: Callable[[Path], Any]) -> Any:
        kept = base / f"{name}.pickle"
        with FileLock(base / f"{name}.lock"):
            if not kept.exists():
                (base / name).mkdir()
                kept.write_bytes(pickle.dumps(function(base / name)))
            return pickle.loads(kept.read_bytes())

    return call


@pytest.fixture(scope="session")
def planted() -> tuple[Ratings, Ratings, float]:
    """Ratings drawn from factors of rank 2 and biases: (training, test, noise's deviation)."""
    n_users, n_items, noise_std = 150, 100, 0.5
    draw = np.random.default_rng(2)
    signal = (
        3.0
        + draw.normal(0, 0.5, (n_users, 1))
        + draw.normal(0, 0.5, n_items)
        + draw.normal(size=(n_users, 2)) @ draw.normal(size=(2, n_items))
    )
    users, items = np.divmod(draw.permutation(n_users * n_items)[:9000], n_items)
    ratings = Ratings(
        n_users=n_users,
        n_items=n_items,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(signal[users, items] + draw.normal(0, noise_std, len(users))),
    )
    rows = torch.arange(len(ratings))
    return ratings[rows[:8000]], ratings[rows[8000:]], noise_std
