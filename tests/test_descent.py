"""Gradient descent a rating at a time, beside a slow loop, and the blocks that threads share."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from threading import Event, Thread

import numpy as np
import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.gradient import Gradient
from model.kernels import blocks, descent
from model.kernels.blocks import ENTRY, STRIPES
from model.kernels.descent import Descent, descend_block, vectors_of
from model.kernels.threads import n_threads, set_n_threads
from model.solvers import GradientConfig

CONFIG = GradientConfig(
    rank=3, learning_rate=0.03, weight_decay=0.05, bias_decay=0.01, initial_scale=0.3
)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = n_threads()
    yield
    set_n_threads(before)


def share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets threads share out even a few ratings."""
    for module in (blocks, descent):
        monkeypatch.setattr(module, "WORTH_SHARING", 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many_ratings() -> Ratings:
    draw = generator(7)
    return Ratings(
        n_users=90,
        n_items=50,
        user_index=torch.randint(90, (2000,), generator=draw),
        item_index=torch.randint(50, (2000,), generator=draw),
        values=torch.randn(2000, generator=draw).double(),
    )


def slow_steps(
    config: GradientConfig, users: list[int], items: list[int], targets: list[float], table: Tensor
) -> tuple[Tensor, float]:
    """The table after a step along the gradient of each rating's loss, by autograd."""
    table, total, rank = table.double(), 0.0, config.rank
    for u, i, target in zip(users, items, targets, strict=True):
        p, q = (table[row, :rank].clone().requires_grad_() for row in (u, i))
        b, c = table[u, -2].clone().requires_grad_(), table[i, -1].clone().requires_grad_()
        error = p @ q + b + c - target
        loss = error**2 + config.weight_decay * (p @ p + q @ q) + config.bias_decay * (b**2 + c**2)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for row, place, value in (
                (u, slice(0, rank), p),
                (i, slice(0, rank), q),
                (u, -2, b),
                (i, -1, c),
            ):
                table[row, place] -= config.learning_rate * value.grad
        total += error.item() ** 2
    return table, total


@pytest.mark.parametrize("rank", [1, 3, 14, 15, 40])
def test_steps_are_those_of_autograd(rank: int, few_ratings: Ratings) -> None:
    config = GradientConfig(
        rank=rank, learning_rate=0.03, weight_decay=0.05, bias_decay=0.01, initial_scale=0.3
    )
    solver = Gradient(config, few_ratings, device=torch.device("cpu"), seed=1)
    pairs = few_ratings.user_index, few_ratings.item_index + few_ratings.n_users
    users, items = (column.int() for column in pairs)
    targets = torch.randn(120, generator=generator(2))
    expected, total = slow_steps(
        config, users.tolist(), items.tolist(), targets.tolist(), solver._table
    )
    table = solver._table.clone()
    entries = np.empty(120, dtype=ENTRY)
    for field, column in zip(ENTRY.names, (users, items, targets), strict=True):
        entries[field] = column
    arrays = entries, table.numpy(), solver._rates().ravel().numpy()
    assert descend_block(0, 120, *arrays) == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(table.double(), expected, rtol=1e-4, atol=1e-5)


def test_an_epoch_is_a_step_at_each_rating_and_slower_the_next_time(few_ratings: Ratings) -> None:
    config = GradientConfig(
        rank=2,
        learning_rate=0.05,
        learning_rate_decay=0.0,
        weight_decay=0.0,
        initial_scale=0.1,
    )
    solver = Gradient(config, few_ratings, device=torch.device("cpu"), seed=0)
    epochs = solver.epochs(None)
    before = solver._table.clone()
    next(epochs)
    assert not torch.equal(solver._table, before)
    after = solver._table.clone()
    assert next(epochs).train_mse > 0
    assert torch.equal(solver._table, after)  # the pace is zero now


def blocks_of(shuffled: Descent) -> list[list[tuple[set[int], set[int], int]]]:
    """Users, items and number of ratings of the blocks of each diagonal."""
    return [
        [
            (
                set(shuffled._entries["user"][begin:end].tolist()),
                set(shuffled._entries["item"][begin:end].tolist()),
                end - begin,
            )
            for begin, end in blocks
        ]
        for blocks in shuffled._diagonals
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_a_diagonal_share_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    set_n_threads(threads)
    ratings = replace(many_ratings(), values=torch.arange(2000).double() * 2.0 + 3.0)
    shuffled = Descent(ratings, mean=3.0, scale=2.0, generator=generator())
    diagonals = blocks_of(shuffled)
    assert len(diagonals) == STRIPES
    assert sum(size for _, _, size in chain(*diagonals)) == 2000
    for diagonal in diagonals:
        assert len(diagonal) == STRIPES
        for users, items, _ in diagonal:
            others = [block for block in diagonal if block[0] is not users]
            assert all(not users & them and not items & those for them, those, _ in others)
    for side, n_rows in ((0, 90), (1, 50)):
        stripes = [len(block[side]) for block in diagonals[0]]
        assert max(stripes) <= -(-n_rows // STRIPES)
    rating = torch.from_numpy(shuffled._entries["target"].round().astype(int))
    assert rating.sort().values.tolist() == list(range(2000))
    begin, end = shuffled._diagonals[0][0]
    assert rating[begin:end].diff().sign().sum().abs() < 20  # in no order
    users, items = shuffled.places[ratings.user_index], shuffled.places[90 + ratings.item_index]
    assert users[rating].tolist() == shuffled._entries["user"].tolist()
    assert items[rating].tolist() == shuffled._entries["item"].tolist()
    assert shuffled.places.sort().values.tolist() == list(range(140))
    assert all(max(users) - min(users) < 12 for users, _, _ in chain(*diagonals))  # side by side


def test_a_few_ratings_stay_together() -> None:
    shuffled = Descent(many_ratings(), mean=0.0, scale=1.0, generator=generator())
    assert not shuffled._shared
    assert sum(size for _, _, size in chain(*blocks_of(shuffled))) == 2000


@pytest.mark.parametrize("shared", [False, True])
def test_how_many_threads_there_are_does_not_matter(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shared:
        share(monkeypatch)
    tables, errors = [], []
    for threads in (1, 3):
        set_n_threads(threads)
        solver = Gradient(CONFIG, many_ratings(), device=torch.device("cpu"), seed=4)
        epochs = solver.epochs(None)
        errors.append([next(epochs).train_mse for _ in range(3)])
        tables.append(solver._table)
    assert torch.equal(*tables)
    assert errors[0] == errors[1]
    assert errors[0][2] < errors[0][0]


def test_an_interrupt_while_waiting_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    shuffled = Descent(many_ratings(), mean=0.0, scale=1.0, generator=generator())
    waits = count()

    class Interrupted(Event):
        def wait(self, timeout: float | None = None) -> bool:
            if next(waits) == 20:
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(descent, "Event", Interrupted)
    raised: list[bool] = []

    def run() -> None:
        set_n_threads(3)
        with pytest.raises(KeyboardInterrupt):
            shuffled.epoch(torch.zeros(140, 16), torch.zeros(4, 17))
        raised.append(True)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert raised


def test_rows_become_whole_vectors() -> None:
    table = torch.arange(15.0).view(3, 5) + 1.0
    padded = vectors_of(table)
    assert padded.shape == (3, 16)
    assert torch.equal(padded[:, :3], table[:, :3])
    assert torch.equal(padded[:, -2:], table[:, -2:])
    assert not padded[:, 3:-2].any()
    assert torch.equal(vectors_of(padded), padded)
