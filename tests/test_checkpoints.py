"""Trainings that are stopped go on, and come to what they would have come to."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.dataset import Pairs, Ratings
from model.solver import Resumable, Solver
from model.solvers import ALSConfig, Config, GibbsConfig, make_solver
from model.world import ALONE, World
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


@pytest.mark.parametrize("stopped", [3, 9, 20])
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
