"""A person who is taken out: what others are answered stays, and nothing of theirs is left."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.dataset import Description, Ratings
from model.forgetting import ratings_without_user
from model.solver import Model as Trained
from model.solvers import SOLVERS, make_solver
from model.users import of_users
from storage.errors import InputError
from study import Model, forget, load, run, tune
from tests.pairs import pairs_of

Outcome = tuple[int, str, str]
ROW = 30


@pytest.mark.parametrize("name", ["als", "gibbs", "timed"])
def test_others_are_predicted_as_before(name: str, planted: tuple[Ratings, Ratings, float]) -> None:
    ratings = planted[0][torch.arange(2000)]
    age = Description(name="age", labels=("age",), values=torch.arange(150.0)[:, None])
    ratings = replace(ratings, user_descriptions=(age,))
    if name == "timed":
        draw = np.random.default_rng(0)
        ratings = replace(ratings, times=torch.from_numpy(draw.uniform(0, 2e6, 2000).round()))
    entry = SOLVERS["als" if name == "als" else "gibbs"]
    solver = make_solver(
        replace(entry.default, rank=2), ratings, device=torch.device("cpu"), seed=0
    )
    next(epoch for epoch in solver.epochs(None) if epoch.number == 8)
    rows = torch.arange(150)
    after = of_users(solver.model, rows[rows != ROW])
    assert after
    others = ratings[ratings.user_index != ROW]
    left = ratings_without_user(ratings, ROW)
    assert len(left) == len(others)
    assert left.n_users == 149
    assert left.user_descriptions[0].values[ROW].item() == ROW + 1
    before = solver.model.predict(others)
    torch.testing.assert_close(after.predict(left), before, rtol=0, atol=1e-6)
    torch.testing.assert_close(after.std(left), solver.model.std(others), rtol=0, atol=1e-6)
    unknown = pairs_of(torch.full((100,), -1), torch.arange(100))
    assert torch.equal(after.predict(unknown), solver.model.predict(unknown))
    assert (sizes(solver.model), sizes(after)) == ({150}, {149})


def sizes(model: Trained) -> set[int]:
    """How many rows there are in tables of users, without that of who is unknown."""
    state = model.state_dict()
    names = [name for name in state if name.endswith(("user_bias", "user_noise"))]
    assert names
    return {state[name].shape[-1] - 1 for name in names}


def test_a_person_leaves_models_caches_and_kept_predictions(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    few_epochs: None,
    outcome_of: Callable[..., Outcome],
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(40 * 30)[:600], 30)
    lines = [f"u{u:02d},{i},{draw.integers(1, 6)}" for u, i in zip(users, items, strict=True)]
    Path("ratings.csv").write_text("\n".join(["user,item,rating", *lines, ""]))
    result = tune(load("ratings.csv"), trials=3, quiet=True)
    result.model().save("some.model")
    before = Model.load("some.model")
    pairs = {"user": ["u03", "u05"], "item": [3, 4]}
    expected = before.predict(pairs, intervals=True)
    assert list(Path("runs/models").iterdir())
    code, out, err = outcome_of(forget.main, "--user", "u04", "--model", "some.model")
    assert (code, err) == (0, "")
    n = sum(line.startswith("u04,") for line in lines)
    assert f"some.model, without u04 and their {n} ratings now" in out
    assert "the finalists' predictions of ratings-" in out
    assert "Remains: your files of ratings and of users" in out
    after = Model.load("some.model")
    for name in ("prediction", "lower", "upper"):
        np.testing.assert_allclose(after.predict(pairs, intervals=True)[name], expected[name])
    assert len(after.recommend("u05")) == 10
    assert "u04" in before.known.users.values
    assert "u04" not in after.known.users.values
    with pytest.raises(InputError, match="user 'u04'"):
        after.recommend("u04")
    assert not list(Path("runs/models").iterdir())
    assert not list(Path("runs/cache").glob("*.arrow"))
    assert b"u04" not in Path("some.model").read_bytes()
    result.predict(pairs)  # goes on, and trains again
    code, out, err = outcome_of(forget.main, "--user", "nobody", "--model", "some.model")
    assert code == 2
    assert "which does not know nobody" in out
    assert "user 'nobody': in no model" in err
    code, _, err = outcome_of(forget.main)
    assert (code, "Expected --user ID" in err) == (2, True)


def test_a_person_leaves_what_was_read_with_columns_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome_of: Callable[..., Outcome]
) -> None:
    """By a command that was refused then, beside no database."""
    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text("user,item,rating\nu1,7,3\nu2,7,4\nu1,8,5\n")
    asked = "--data", "ratings.csv", "--columns", "item,user,rating", "--items", "items.csv"
    Path("items.csv").write_text("item,genre\n7,a\n8,b\n")
    assert outcome_of(run.main, *asked)[0] == 2
    (kept,) = Path("runs/cache").glob("*.arrow")
    assert b"u1" in kept.read_bytes()
    code, out, err = outcome_of(forget.main, "--user", "u1")
    assert (code, err) == (0, "")
    assert "Removed: 1 models and parsed files" in out
    assert not kept.exists()
    code, _, err = outcome_of(forget.main, "--user", "u1")
    assert (code, "no such database" in err) == (2, True)
