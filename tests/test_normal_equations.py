"""The blocks of rows and their Gram matrices, beside a slow loop over the ratings."""

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.kernels import normal_equations
from model.kernels.normal_equations import PADDING, Block, gather, group, regressors

WIDTH = 5  # D + 1: a row has three factors and a bias


def groups(ratings: Ratings) -> list[Block]:
    return group(
        ratings.user_index,
        ratings.item_index,
        n_rows=ratings.n_users,
        n_others=ratings.n_items,
        width=WIDTH,
    )


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def slow_grams(
    ratings: Ratings, items: Tensor, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Σ w [φ, y - c] [φ, y - c]ᵀ of each user's ratings: (n_users, D + 1, D + 1) float64."""
    grams = torch.zeros(ratings.n_users, WIDTH, WIDTH, dtype=torch.float64)
    for rating, (u, i) in enumerate(zip(ratings.user_index, ratings.item_index, strict=True)):
        factors, bias = items[i, :-1].double(), items[i, -1].double()
        row = torch.cat([factors, torch.ones(1).double(), (targets[rating] - bias)[None].double()])
        grams[u] += torch.outer(row, row) * (1.0 if weights is None else weights[i].double())
    return grams


def grams(ratings: Ratings, items: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The same by blocks."""
    table = regressors(items, None if weights is None else weights.sqrt())
    padded = torch.cat([targets, torch.tensor([77.0])])  # the last one should not matter
    result = torch.full((ratings.n_users, WIDTH, WIDTH), torch.nan)
    for block in groups(ratings):
        cells = gather(block, table, padded)
        assert cells.shape == (*block.others.shape, WIDTH)
        result[block.rows] = cells.mT @ cells
    return result.double()


@pytest.fixture
def uneven() -> Ratings:
    """500 ratings of 60 users for 40 items: some of one user, a few of most, none of others."""
    generator = torch.Generator().manual_seed(1)
    users = (60 * torch.rand(500, generator=generator) ** 3).long()
    items = (40 * torch.rand(500, generator=generator) ** 2).long()
    return Ratings(
        n_users=60, n_items=40, user_index=users, item_index=items, values=torch.ones(500).double()
    )


@pytest.fixture(params=["as they are", "one row a block", "a few rows a block"])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many numbers a block may gather."""
    n = {"as they are": 1 << 18, "one row a block": 1, "a few rows a block": 300}[request.param]
    monkeypatch.setattr(normal_equations, "GATHERED_AT_ONCE", {"cpu": n})
    return n


def test_each_row_and_each_rating_is_in_one_place(uneven: Ratings, at_once: int) -> None:
    blocks = groups(uneven)
    rows = torch.cat([block.rows for block in blocks])
    assert rows.sort().values.tolist() == list(range(uneven.n_users))
    cells = torch.cat([block.ratings.flatten() for block in blocks])
    assert cells[cells < 500].sort().values.tolist() == list(range(500))
    for block in blocks:
        assert block.others.shape == block.ratings.shape
        owners = block.rows[:, None].expand_as(block.ratings)
        taken = block.ratings < 500
        ratings = block.ratings[taken]
        assert torch.equal(uneven.user_index[ratings], owners[taken])
        assert torch.equal(uneven.item_index[ratings], block.others[taken])
        assert (block.others[~taken] == uneven.n_items).all()
        assert (block.ratings[~taken] == 500).all()


def test_a_block_is_of_rows_alike_and_no_larger_than_asked(uneven: Ratings, at_once: int) -> None:
    counts = torch.bincount(uneven.user_index, minlength=uneven.n_users)
    assert counts.min() == 0  # there are users without ratings, and with many
    assert counts.max() > 50
    blocks = groups(uneven)
    for block in blocks:
        most, fewest = counts[block.rows].max().item(), counts[block.rows].min().item()
        assert block.ratings.shape[1] == most
        assert most <= PADDING * fewest + 8
        assert len(block.rows) == 1 or block.ratings.numel() * WIDTH <= at_once
    if at_once > 1000:
        assert len(blocks) < 10


@pytest.mark.parametrize("weighted", [False, True])
def test_grams_are_those_of_the_slow_loop(uneven: Ratings, at_once: int, weighted: bool) -> None:
    items, targets = random(uneven.n_items, WIDTH - 1), random(len(uneven))
    weights = random(uneven.n_items).exp() if weighted else None
    torch.testing.assert_close(
        grams(uneven, items, targets, weights),
        slow_grams(uneven, items, targets, weights),
        rtol=1e-4,
        atol=1e-4,
    )


def test_rows_without_ratings_have_empty_grams(few_ratings: Ratings) -> None:
    result = grams(few_ratings, random(15, WIDTH - 1), random(120), None)
    assert not result[4].any()
    assert result[torch.arange(12) != 4].any(2).any(1).all()


def test_the_same_pair_twice_counts_twice() -> None:
    twice = Ratings(
        n_users=2,
        n_items=1,
        user_index=torch.tensor([1, 1]),
        item_index=torch.tensor([0, 0]),
        values=torch.tensor([1.0, 2.0]).double(),
    )
    items, targets = random(1, WIDTH - 1), torch.tensor([1.0, 2.0])
    result = grams(twice, items, targets, None)
    torch.testing.assert_close(result, slow_grams(twice, items, targets), rtol=1e-5, atol=1e-5)
    assert result[1, -2, -2] == 2.0


def test_no_ratings_at_all_still_give_each_row_a_block() -> None:
    none = torch.empty(0, dtype=torch.int64)
    blocks = group(none, none, n_rows=3, n_others=2, width=WIDTH)
    assert torch.cat([block.rows for block in blocks]).sort().values.tolist() == [0, 1, 2]
    assert all(block.ratings.shape[1] == 0 for block in blocks)
