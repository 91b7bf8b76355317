"""The model: a rating as global mean, biases and the product of a user's and an item's factors.

    r̂_ui = μ + b_u + c_i + p_u · q_i, clipped to [lowest, highest]

Koren, Bell & Volinsky 2009 (Matrix Factorization Techniques for Recommender Systems), eq. 4.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from model.dataset import Pairs
from model.fold_in import ridge
from model.similarity import correlations
from model.world import ALONE, World


class Factorization(nn.Module):
    """Predicts the rating of any (user, item) pair, in rating units.

    The last row of each table stands for whoever has no ratings, and index -1 reaches it.
    """

    global_mean: Tensor
    lowest: Tensor
    highest: Tensor
    spread: Tensor  # the RMSE on ratings that were held out; 1 until somebody knows it
    # (2, 2) what a user's squared factors, and the squared bias, cost beside squared errors of
    # ratings: with each rating, and once
    penalty: Tensor

    def __init__(self, n_users: int, n_items: int, rank: int) -> None:
        super().__init__()
        self.user_factors = nn.Parameter(torch.zeros(n_users + 1, rank))
        self.item_factors = nn.Parameter(torch.zeros(n_items + 1, rank))
        self.user_bias = nn.Parameter(torch.zeros(n_users + 1))
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1))
        self.register_buffer("global_mean", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("lowest", torch.tensor(-torch.inf, dtype=torch.float64))
        self.register_buffer("highest", torch.tensor(torch.inf, dtype=torch.float64))
        self.register_buffer("spread", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("penalty", torch.zeros(2, 2, dtype=torch.float64))

    def forward(self, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n,) float64 predicted ratings of (n,) int64 pairs of indices."""
        users = user_index % len(self.user_bias)
        items = item_index % len(self.item_bias)
        dot = torch.linalg.vecdot(
            self.user_factors.index_select(0, users), self.item_factors.index_select(0, items)
        )
        biases = self.user_bias.index_select(0, users) + self.item_bias.index_select(0, items)
        deviation: Tensor = biases + dot
        return torch.clamp(self.global_mean + deviation.double(), self.lowest, self.highest)

    @torch.no_grad()
    def predict(self, pairs: Pairs) -> Tensor:
        """`forward` without gradients, in blocks: the (n,) ratings of any number of pairs."""
        return torch.cat([self(some.user_index, some.item_index) for some in pairs.blocks()])

    def std(self, pairs: Pairs) -> Tensor:
        """The same `spread` for every pair: of one pair in particular it knows nothing."""
        return self.spread.expand(len(pairs))

    @torch.no_grad()
    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities of every item to one."""
        return correlations(self.user_factors[:-1], self.item_factors[:-1], item)

    @torch.no_grad()
    def fold_in(
        self, item_index: Tensor, values: Tensor, *, seed: int, about: Tensor | None = None
    ) -> Self:
        """The model of one user, of index 0, who gave (n,) values to (n,) items.

        The user's row is the one of least loss, the items' rows as they are; without ratings it is
        that of who has none. Nothing is drawn, and nothing follows from descriptions.
        """
        folded = type(self)(1, len(self.item_bias) - 1, self.user_factors.shape[1])
        factors, bias = self.user_factors[-1:], self.user_bias[-1:]
        if len(values):
            each, once = self.penalty
            decay = (len(values) * each + once).repeat_interleave(
                torch.tensor([self.user_factors.shape[1], 1])
            )
            rest = values - self.global_mean - self.item_bias[item_index]
            row = ridge(self.item_factors[item_index].double(), rest, decay).float()[None]
            factors, bias = row[:, :-1], row[:, -1]
        state = self.state_dict()
        state["user_factors"] = torch.cat([factors, self.user_factors[-1:]])
        state["user_bias"] = torch.cat([bias, self.user_bias[-1:]])
        folded.load_state_dict(state)
        return folded

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The model that `state_dict` was taken of, on the CPU."""
        n_users, rank = state["user_factors"].shape
        model = cls(n_users - 1, len(state["item_bias"]) - 1, rank)
        model.load_state_dict(dict(state))
        return model


def average_unseen(rows: Tensor, unseen: Tensor, world: World = ALONE) -> Tensor:
    """The (n + 1, columns) table of (n, columns) rows: who has no ratings becomes the average.

    Args:
        rows: the rows of users, or of items.
        unseen: (n,) bool, which of them have no ratings.
        world: of ranks that have the rows of a side between them.
    """
    n_seen = world.sum((~unseen).sum())
    average = world.sum(rows[~unseen].sum(0)) / n_seen
    return torch.cat([torch.where(unseen[:, None], average, rows), average[None]])
