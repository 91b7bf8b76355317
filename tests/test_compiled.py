"""The compiled regressions beside those in PyTorch, which the slow loops of other tests hold."""

from collections.abc import Iterator
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.kernels import compiled_normal_equations as compiled
from model.kernels import sparse
from model.kernels.compiled_normal_equations import Compiled
from model.kernels.normal_equations import (
    Batched,
    Given,
    Parts,
    Prior,
    Regressions,
    Solution,
    squared_errors,
)
from model.kernels.sparse import grouped
from model.kernels.threads import n_threads, set_n_threads
from model.regressions import regressions


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(sparse, "WORK", 500)  # so that there is something to share out
    before = n_threads()
    set_n_threads(request.param)
    yield request.param
    set_n_threads(before)


@pytest.fixture
def uneven() -> Ratings:
    """3000 ratings of 150 users for 40 items: hundreds of one user, none of others."""
    draw = torch.Generator().manual_seed(1)
    return Ratings(
        n_users=150,
        n_items=40,
        user_index=(150 * torch.rand(3000, generator=draw) ** 4).long(),
        item_index=(40 * torch.rand(3000, generator=draw) ** 2).long(),
        values=torch.ones(3000).double(),
    )


def solved(
    kind: type[Compiled | Batched], ratings: Ratings, width: int, **given: Tensor
) -> Solution:
    sizes = {"n_rows": ratings.n_users}
    if kind is Batched:
        sizes["n_others"] = ratings.n_items
    side: Regressions = kind(ratings.user_index, ratings.item_index, **sizes)
    return side.solve(**problem(ratings, width), **given)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(ratings: Ratings, width: int) -> dict[str, Tensor]:
    root = normal(width, width, seed=1)
    return {
        "others": normal(ratings.n_items, width, seed=2),
        "targets": normal(len(ratings), seed=3),
        "precision": root @ root.mT + torch.eye(width),
        "right": normal(ratings.n_users, width, seed=4),
    }


# Around a vector of sixteen and a tile of four, with the target as one more column.
@pytest.mark.parametrize("width", [1, 2, 3, 4, 14, 15, 16, 17, 33, 49, 97])
@pytest.mark.parametrize("options", ["plain", "everything"])
def test_solutions_are_those_of_pytorch(
    width: int, options: str, uneven: Ratings, threads: int
) -> None:
    given: dict[str, Tensor] = {}
    if options == "everything":
        given = {
            "decay": normal(width, seed=5).square(),
            "weights": normal(uneven.n_users, seed=6).exp(),
            "other_weights": normal(uneven.n_items, seed=7).exp(),
            "noise": normal(uneven.n_users, width, seed=8),
        }
    residuals = [torch.full((len(uneven),), torch.nan) for _ in range(2)]
    ours = solved(Compiled, uneven, width, residuals=residuals[0], **given)
    expected = solved(Batched, uneven, width, residuals=residuals[1], **given)
    for field in fields(Solution):
        torch.testing.assert_close(
            getattr(ours, field.name), getattr(expected, field.name), rtol=2e-3, atol=2e-4
        )
    torch.testing.assert_close(*residuals, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [1, 4, 17, 33])
@pytest.mark.parametrize("kind", [Compiled, Batched])
def test_three_steps_come_to_the_same_as_one(
    kind: type[Compiled | Batched],
    width: int,
    uneven: Ratings,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "SUMMED_AT_ONCE", 1000)
    sizes = {"n_rows": 150} | ({"n_others": 40} if kind is Batched else {})
    side: Parts = kind(uneven.user_index, uneven.item_index, **sizes)
    given = problem(uneven, width)
    rest = {
        "decay": normal(width, seed=5).square(),
        "weights": normal(150, seed=6).exp(),
        "noise": normal(150, width, seed=8),
    }
    of_others = Given(given["others"], given["targets"], normal(40, seed=7).exp())
    residuals = [torch.full((len(uneven),), torch.nan) for _ in range(2)]
    expected = side.solve(
        **given, **rest, other_weights=of_others.other_weights, residuals=residuals[0]
    )
    prior = Prior(
        precision=given["precision"],
        right=given["right"],
        counts=torch.bincount(uneven.user_index, minlength=150),
        **rest,
    )
    for begin, end in side.cuts(width):
        sums = side.sums((begin, end), of_others)
        means, draws = side.solve_sums(sums, prior.of(begin, end))
        torch.testing.assert_close(means, expected.means[begin:end])
        torch.testing.assert_close(draws, expected.draws[begin:end])
        errors = side.errors((begin, end), of_others, draws, residuals[1])
        for one, rtol in ((errors, 1e-4), (squared_errors(sums, draws), 1e-3)):
            squares = expected.squared_errors[begin:end]
            torch.testing.assert_close(one, squares, rtol=rtol, atol=0)
    torch.testing.assert_close(*residuals)


@pytest.mark.parametrize("work", [1, 100, 1 << 20])
def test_how_many_threads_there_are_does_not_matter(
    work: int, uneven: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "WORK", work)
    before, solutions = n_threads(), []
    for threads in (1, 4):
        set_n_threads(threads)
        solutions.append(solved(Compiled, uneven, 9, noise=normal(150, 9, seed=8)))
    set_n_threads(before)
    for field in fields(Solution):
        assert torch.equal(*(getattr(solution, field.name) for solution in solutions))


def test_a_long_row_is_summed_without_losing_digits() -> None:
    n = 300_000
    one = Ratings(
        n_users=1,
        n_items=3,
        user_index=torch.zeros(n, dtype=torch.int64),
        item_index=torch.arange(n) % 3,
        values=torch.ones(n).double(),
    )
    others, targets = normal(3, 2), 1 + normal(n, seed=1)
    given = {"precision": torch.eye(2), "right": torch.zeros(1, 2)}
    side = Compiled(one.user_index, one.item_index, n_rows=1)
    found = side.solve(others, targets, **given)
    phi = torch.stack([others[:, 0], torch.ones(3)], 1).double()[one.item_index]
    rest = (targets - others[one.item_index, 1]).double()
    exact = torch.linalg.solve(phi.mT @ phi + torch.eye(2), phi.mT @ rest)
    torch.testing.assert_close(found.means[0].double(), exact, rtol=1e-4, atol=1e-4)
    error = (rest - phi @ found.means[0].double()).square().sum()
    assert found.squared_errors.item() == pytest.approx(error.item(), rel=1e-5)


def test_a_pivot_that_rounding_loses_gives_a_finite_solution() -> None:
    """Two factors that are the same but for rounding, weighed a hundred million times."""
    ratings = Ratings(
        n_users=20,
        n_items=30,
        user_index=torch.arange(600) % 20,
        item_index=torch.arange(600) % 30,
        values=torch.ones(600).double(),
    )
    others = normal(30, 1).repeat(1, 3)
    others[:, 1] *= 1 + 1e-7
    targets = normal(600, seed=1)
    found = Compiled(ratings.user_index, ratings.item_index, n_rows=20).solve(
        others,
        targets,
        precision=1e-6 * torch.eye(3),
        right=torch.zeros(20, 3),
        weights=torch.full((20,), 1e8),
        noise=normal(20, 3, seed=2),
    )
    assert found.draws.isfinite().all()
    # Whichever of the like factors it leans on, what they fit is what least squares fit.
    for user in range(20):
        rows = ratings.item_index[ratings.user_index == user]
        phi = torch.stack([others[rows, 0], torch.ones(len(rows))], 1).double()
        rest = (targets[ratings.user_index == user] - others[rows, 2]).double()
        exact = phi @ torch.linalg.lstsq(phi, rest[:, None]).solution[:, 0]
        ours = phi @ torch.stack([found.means[user, :2].sum(), found.means[user, 2]]).double()
        torch.testing.assert_close(ours, exact, rtol=0, atol=0.02)


def test_ratings_are_grouped_in_their_order() -> None:
    first, others, places = grouped(
        *(torch.tensor(x).numpy() for x in ([2, 0, 2, 3], [5, 6, 7, 8])), 5
    )
    assert first.tolist() == [0, 1, 1, 3, 4, 4]
    assert others.tolist() == [6, 5, 7, 8]
    assert places.tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize("n_rows", [0, 3])
def test_no_ratings_leave_the_prior(n_rows: int) -> None:
    none = torch.empty(0, dtype=torch.int64)
    side = regressions(none, none, n_rows=n_rows, n_others=2)
    assert isinstance(side, Compiled)
    right = normal(n_rows, 2)
    found = side.solve(normal(2, 2), torch.empty(0), precision=2 * torch.eye(2), right=right)
    torch.testing.assert_close(found.means, right / 2)
    assert not found.squared_errors.any()
