"""Several processes, each with some of the users, beside one that has all."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.ranks import of_users as of_some
from model.dataset import Pairs, Ratings
from model.descriptions import of_categories, of_numbers
from model.explained import explained
from model.kernels.threads import set_n_threads
from model.logarithmic import has_heavy_tail
from model.posterior import Posterior
from model.solvers import ALSConfig, Config, GibbsConfig, load_state, make_solver
from model.splits import Split, Without
from model.users import joined, of_users
from model.world import ALONE, World
from storage.errors import InputError
from study.workers.crew import Crew
from study.workers.held_out import round_of
from tests.ranks import on_ranks

SIZE = 3
CUTS = 0, 0, 37, 90  # of users: one rank has none with ratings
N_UNRATED = 4  # users who are described alone, of all ranks in turn
N_USERS, N_ITEMS, SWEEPS = CUTS[-1], 40, 3
CONFIGS: dict[str, Config] = {
    "als": ALSConfig(rank=4, weight_decay=0.1, bias_decay=0.05),
    "both": GibbsConfig(rank=4, noise_dof=10.0, n_features=6),
}
CASES = [  # both likelihoods stand for one
    ("ratings alone", "als"),
    ("ratings alone", "both"),
    ("in context", "both"),
    ("heavy tails", "als"),
]
CPU = torch.device("cpu")


def ratings_of(kind: str) -> Ratings:
    """3,000 ratings of five stars; with times and descriptions if the kind says so."""
    draw = torch.Generator().manual_seed(0)
    places = torch.randperm(N_USERS * N_ITEMS, generator=draw)[:3000].sort().values
    users, items = places // N_ITEMS, places % N_ITEMS
    taste = torch.randn(N_USERS, 3, generator=draw) @ torch.randn(3, N_ITEMS, generator=draw)
    signal = 3 + taste[users, items] + 0.5 * torch.randn(3000, generator=draw)
    ratings = Ratings(
        n_users=N_USERS,
        n_items=N_ITEMS,
        user_index=users,
        item_index=items,
        values=signal.round().clamp(1, 5).double(),
    )
    if kind == "heavy tails":
        return replace(ratings, values=(1.5 * signal).exp().double())
    if kind != "in context":
        return ratings
    days = torch.randint(0, 60, (3000,), generator=draw) * 86400.0
    minutes = torch.randint(0, 3, (3000,), generator=draw) * 60.0
    ages = np.random.default_rng(0).uniform(10, 70, N_USERS + N_UNRATED)
    kinds = np.arange(N_ITEMS) % 3
    return replace(
        ratings,
        n_users=len(ages),
        times=(1e9 + days + minutes).double(),
        user_descriptions=(of_numbers("age", ages),),
        item_descriptions=(of_categories("genre", ["drama", "comedy", "horror"], kinds),),
    )


def shard(ratings: Ratings, world: World) -> Ratings:
    """The ratings of this rank's users."""
    if world.size == 1:
        return ratings
    return of_some(ratings, users_of(ratings, world.rank), world)


def users_of(ratings: Ratings, rank: int) -> Tensor:
    """The users of a rank, who is described alone behind the others."""
    unrated = torch.arange(CUTS[-1], ratings.n_users)
    return torch.cat([torch.arange(CUTS[rank], CUTS[rank + 1]), unrated[rank::SIZE]])


def trained(world: World) -> dict[str, Any]:
    """What a rank comes to: errors of each sweep, predictions, items' rows."""
    found: dict[str, Any] = {}
    for kind, name in CASES:
        own = shard(ratings_of(kind), world)
        training, validation = own[own.item_index % 7 > 0], own[own.item_index % 7 == 0]
        solver = make_solver(CONFIGS[name], training, device=CPU, seed=5)
        for epoch in solver.epochs(validation):
            told = epoch.train_mse, epoch.validation_mse
            found[f"{kind}, {name}, {epoch.number}"] = told, epoch.validation_predictions
            if epoch.number == SWEEPS:
                break
        newcomers = Pairs(user_index=torch.full((N_ITEMS,), -1), item_index=torch.arange(N_ITEMS))
        found[f"{kind}, {name}, unknown"] = solver.model.predict(newcomers)
        found[f"{kind}, {name}, model"] = dict(solver.model.state_dict())
        found[f"{kind}, {name}, told"] = solver.model.predict(validation)
        if isinstance(solver.model, Posterior):
            found[f"{kind}, {name}, std"] = solver.model.std(validation)
            if kind == "in context":
                found["explained"] = explained(solver.model, training)
    return found


def led(world: World) -> dict[str, Any]:
    """What the first rank hears from all, of a round of finalists; nothing on others."""
    crew = Crew(shard(ratings_of("in context"), world))
    if world.rank:
        crew.follow()
        return {}
    with pytest.raises(InputError, match="of all"):
        crew.all(refuse, "of all")
    without = Without(Split.LATEST, seed=3, window=1)
    epochs = crew.epochs(CONFIGS["both"], without, device=CPU, seed=5)
    last = [next(epochs) for _ in range(2)][-1]
    epochs.close()
    assert last.validation_predictions is not None
    answer = last.validation_predictions.numpy()
    done = crew.all(round_of, without, answer, answer=answer)
    crew.release()
    return {"epoch": last, "round": done, "n_ratings": crew.n_ratings}


def refuse(_crew: Crew, why: str) -> None:
    raise InputError(why)


def work(world: World) -> bytes:
    """What a rank comes to, pickled: tensors as such are handed on in memory of who is gone."""
    rank = world.rank
    set_n_threads(2 if rank == 1 else 1)
    crossed = {
        "sum": world.sum(torch.tensor([rank, 1.0])),
        "most": world.most(torch.tensor([rank, -rank])),
        "gathered": world.gathered(torch.full((rank, 2), rank)),
        "exchanged": world.exchanged(torch.arange(3) + 10 * rank, [1, 0, 2]),
        "everyones": world.everyones(f"rank {rank}"),
        "shared_sum": world.shared_sum(torch.arange(8.0).view(4, 2) * (rank + 1))(),
        "error": error_of(world, rank),
    }
    return pickle.dumps(crossed | trained(world) | {"led": led(world)})


def error_of(world: World, rank: int) -> str:
    """What a rank raises when the last two fail."""
    try:
        world.together(lambda: 1 // (rank == 0), ZeroDivisionError)
    except ZeroDivisionError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def ranks(once: Callable[..., Any]) -> list[dict[str, Any]]:
    return [pickle.loads(one) for one in once("world", lambda _: on_ranks(SIZE, work))]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return trained(ALONE) | {"led": led(ALONE)}


def test_what_crosses(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["sum"].tolist() == [3, 3]
        assert rank["most"].tolist() == [2, 0]
        assert rank["gathered"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert rank["everyones"] == ["rank 0", "rank 1", "rank 2"]
        assert rank["error"].startswith("integer")
    assert [rank["exchanged"].tolist() for rank in ranks] == [
        [0, 10, 20],
        [],
        [1, 2, 11, 12, 21, 22],
    ]
    shares = torch.cat([rank["shared_sum"] for rank in ranks])
    torch.testing.assert_close(shares, 6 * torch.arange(8.0).view(4, 2))


def test_heavy_tails_are_seen_on_all_ranks_or_none() -> None:
    assert has_heavy_tail(ratings_of("heavy tails"))
    assert not has_heavy_tail(ratings_of("ratings alone"))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_first_sweeps_are_those_of_one_process(
    kind: str, name: str, ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    """Row by row: the ranks' predictions, one below the other, are those of one process."""
    order = by_rank(ratings_of(kind))
    for sweep in range(1, SWEEPS + 1):
        key = f"{kind}, {name}, {sweep}"
        (train_mse, validation_mse), predictions = alone[key]
        for rank in ranks:
            assert rank[key][0] == pytest.approx((train_mse, validation_mse), rel=1e-4)
        together = torch.cat([rank[key][1] for rank in ranks])
        torch.testing.assert_close(together, predictions[order], rtol=1e-4, atol=2e-3)
    for what in ("unknown", "std"):
        key = f"{kind}, {name}, {what}"
        if what == "std" and key in alone:
            together = torch.cat([rank[key] for rank in ranks])
            torch.testing.assert_close(together, alone[key][order], rtol=0, atol=2e-3)
        elif what == "unknown":
            for rank in ranks:
                torch.testing.assert_close(rank[key], alone[key], rtol=1e-4, atol=2e-3)


def by_rank(ratings: Ratings) -> Tensor:
    """Where the validation ratings of all ranks, one below the other, stand in one process."""
    validation = ratings[ratings.item_index % 7 == 0]
    return torch.bucketize(validation.user_index, torch.tensor(CUTS[1:]), right=True).argsort(
        stable=True
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_models_of_ranks_are_one_and_one_is_theirs(
    kind: str, name: str, ranks: list[dict[str, Any]]
) -> None:
    ratings = ratings_of(kind)
    validation = ratings[ratings.item_index % 7 == 0]
    solver = "als" if name == "als" else "gibbs"
    parts = [load_state(solver, rank[f"{kind}, {name}, model"]) for rank in ranks]
    whole = joined(parts)
    assert whole is not None
    users = [users_of(ratings, rank) for rank in range(SIZE)]
    whole = of_users(whole, torch.cat(users).argsort())
    assert whole is not None
    predictions = whole.predict(validation)
    told = torch.cat([rank[f"{kind}, {name}, told"] for rank in ranks])
    torch.testing.assert_close(predictions[by_rank(ratings)], told, rtol=0, atol=1e-6)
    order = torch.arange(ratings.n_users - 1, -1, -1)
    turned = of_users(whole, order)
    assert turned is not None
    others = replace(validation, user_index=order[validation.user_index])
    torch.testing.assert_close(turned.predict(others), predictions, rtol=0, atol=1e-6)
    for part, whose in zip(parts, users, strict=True):
        own = of_users(whole, whose)
        assert own is not None
        state = own.state_dict()
        assert state.keys() == part.state_dict().keys()
        for key, table in part.state_dict().items():
            torch.testing.assert_close(state[key], table, rtol=1e-3, atol=1e-3)


def test_finalists_of_ranks_are_those_of_one_process(
    ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    found, expected = ranks[0]["led"], alone["led"]
    assert found["n_ratings"] == expected["n_ratings"] == 3000
    one, other = found["epoch"], expected["epoch"]
    assert one.number == other.number == 2
    assert one.validation_mse == pytest.approx(other.validation_mse, rel=1e-4)
    near = {"rtol": 1e-4, "atol": 2e-3}
    torch.testing.assert_close(one.validation_predictions, other.validation_predictions, **near)
    mine, theirs = vars(found["round"]), vars(expected["round"])
    assert len(mine["best"]) == len(mine["labels"]["item", "genre", "drama"]) > 200
    mine, theirs = (one | vars(one.pop("residuals")) for one in (mine, theirs))
    assert mine.pop("labels").keys() == theirs.pop("labels").keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(mine[name], values, rtol=1e-4, atol=5e-3, err_msg=name)


def test_what_is_explained_is_what_one_process_explains(
    ranks: list[dict[str, Any]], alone: dict[str, Any]
) -> None:
    expected = alone["explained"]
    for rank in ranks:
        for mine, theirs in zip(rank["explained"].columns, expected.columns, strict=True):
            assert (mine.side, mine.name, mine.labels) == (theirs.side, theirs.name, theirs.labels)
            assert mine.share == pytest.approx(theirs.share, rel=2e-3)
            assert mine.effects == pytest.approx(theirs.effects, abs=2e-3)
        assert rank["explained"].level == pytest.approx(expected.level, abs=2e-3)
