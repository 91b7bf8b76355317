"""Trainings that are stopped go on, and come to what they would have come to."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from model.dataset import Pairs, Ratings
from model.solver import Resumable, Solver
from model.solvers import ALSConfig, Config, GibbsConfig, make_solver
from model.world import ALONE, World
from study import load, tune
from study.answers import checkpoints
from study.answers.checkpoints import Checkpoints, Ended, final_path
from tests.planted_ratings import by_time

CPU = torch.device("cpu")
SWEEPS = 24
CONFIGS: dict[str, Config] = {
    "als": ALSConfig(rank=3, weight_decay=0.1, bias_decay=0.05),
    "gibbs": GibbsConfig(rank=3, noise_dof=10.0, n_features=4),
}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """With times, in half stars."""
    training, _, _ = by_time("days", n_users=40)
    return replace(training, values=(training.values * 2).round() / 2)


def solver_of(name: str, ratings: Ratings) -> Solver:
    return make_solver(CONFIGS[name], ratings, device=CPU, seed=3)


def swept(solver: Solver, to: int, after: Callable[[int, Solver], None] = lambda *_: None) -> None:
    for epoch in solver.epochs(None):
        after(epoch.number, solver)
        if epoch.number == to:
            return


def of(folder: Path, world: World = ALONE) -> Checkpoints:
    return Checkpoints(folder / "study-0123456789abcdef.safetensors", {"seed": 3}, world)


@pytest.mark.parametrize("stopped", [3, 20])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_goes_on_comes_to_the_same(
    name: str, stopped: int, ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    whole = solver_of(name, ratings)
    swept(whole, SWEEPS)
    kept = of(tmp_path)
    assert kept.restore(solver_of(name, ratings)) == 0
    swept(solver_of(name, ratings), stopped, kept.after)
    assert [final_path(path) for path in tmp_path.iterdir()] == [kept.path]
    again = solver_of(name, ratings)
    assert isinstance(again, Resumable)
    assert of(tmp_path).restore(again) == stopped
    swept(again, SWEEPS)
    pairs = Pairs(
        user_index=torch.arange(40), item_index=torch.arange(40), times=ratings.times[:40]
    )
    assert torch.equal(again.model.predict(pairs), whole.model.predict(pairs))
    assert torch.equal(again.model.std(pairs), whole.model.std(pairs))
    kept.forget()
    assert not list(tmp_path.iterdir())


def test_nothing_is_kept_before_it_is_time(ratings: Ratings, tmp_path: Path) -> None:
    swept(solver_of("als", ratings), 3, of(tmp_path).after)
    assert not list(tmp_path.iterdir())


def test_a_wish_to_end_is_granted_after_the_state_is_kept(ratings: Ratings, tmp_path: Path) -> None:
    kept, taken = of(tmp_path), []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    try:
        with pytest.raises(Ended) as ended, kept.catching():
            signal.raise_signal(signal.SIGTERM)
            swept(solver_of("als", ratings), 3, kept.after)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    assert taken == [signal.SIGTERM]  # who takes it elsewhere hears of it
    assert of(tmp_path).restore(solver_of("als", ratings)) == 1


def test_a_damaged_part_counts_as_none(
    ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    swept(solver_of("als", ratings), 2, of(tmp_path).after)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert of(tmp_path).restore(solver_of("als", ratings)) == 0


def test_ranks_go_on_from_what_all_of_them_have(
    ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rank had kept its sweep 2 when the other died: both go on from sweep 1."""

    class BesideOne(World):
        size = 2

        def everyones(self, value: object) -> list[object]:  # type: ignore[override]
            return [value, {1}] if isinstance(value, set) else [value, False]

    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    kept = of(tmp_path, BesideOne())
    swept(solver_of("als", ratings), 2, kept.after)
    assert len(list(tmp_path.iterdir())) == 2  # the older stays until all have the newer
    assert of(tmp_path, BesideOne()).restore(solver_of("als", ratings)) == 1


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder with a study of ratings in two files, and a command that answers on two ranks.

    The command keeps what it needs to go on all the time.
    """
    monkeypatch.chdir(tmp_path)
    training, _, _ = by_time("days", n_users=60)
    ids = training.user_index.tolist(), training.item_index.tolist(), training.values.tolist()
    lines = [f"{u},{i},{r:.1f}\n" for u, i, r in zip(*ids, strict=True)]
    Path("ratings").mkdir()
    for part in range(2):
        Path(f"ratings/{part}.csv").write_text("user,item,rating\n" + "".join(lines[part::2]))
    Path("pairs.csv").write_text("user,item\n" + "".join(f"{u},{u % 80}\n" for u in range(60)))
    Path("often.py").write_text(
        "import sys\nfrom study.answers import checkpoints\nfrom study.best_predict import main\n"
        "checkpoints.EVERY = 0.0\nmain(sys.argv[1:])\n"
    )
    tune(load("ratings"), trials=3, quiet=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = ["often.py", "--data", "ratings", "--queries", "pairs.csv"]
    return [sys.executable, *torchrun, *asked]


def begun(command: list[str]) -> "subprocess.Popen[str]":
    """The command, once each of its ranks has kept a state."""
    running = subprocess.Popen(
        [*command, "--out", "stopped"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pattern = "*.epoch-*.safetensors"
    until = time.monotonic() + 60
    while len({path.name[:-30] for path in Path("runs/models").glob(pattern)}) < 2:
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.02)
    return running


def answers(command: list[str], out: str) -> list[float]:
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in Path(out).read_text().split()]


@pytest.mark.slow
def test_ranks_go_on_when_one_of_them_is_killed(study: list[str]) -> None:
    """torchrun starts them again, and they come to what they would have come to."""
    expected = answers(study, "whole")
    for path in Path("runs/models").iterdir():
        path.unlink()
    running = begun([*study[:3], "--max-restarts", "1", *study[3:]])
    psutil.Process(running.pid).children()[1].kill()
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    ours = [line for line in said.splitlines() if line.startswith("study.best_predict")]
    assert ours == [
        "study.best_predict: another rank has ended, or cannot be reached; what was finished "
        "before is kept"
    ]
    found = [float(line) for line in Path("stopped").read_text().split()]
    assert found == pytest.approx(expected, abs=1e-6)
    assert not list(Path("runs/models").glob("*.epoch-*"))
