"""Predictions as biases and one product of factors, in one rotation: to hand on.

    r̂_ui ≈ μ + b_u + c_i + p_u · q_i

with μ, b and c the means of all predictions, of those of each user and of each item, and p_u · q_i
the truncated singular value decomposition of the rest, its singular values shared out to both sides
as their roots. Draws of a sampler have factors in rotations of their own, and ordered levels make
predictions of them that are no product at all. The rows of a compact form (`compact`) nearly span
what the rest lies in, so that one pass over the predictions, some users at a time, finds it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.compact import Compact
from model.dataset import Pairs
from model.kernels.threads import in_threads

RANK = 64
AT_ONCE = 1 << 20  # predictions that are held together
SAMPLE = 200_000  # pairs that tell how near the product comes


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Biases and factors of all users and items that the model knows."""

    mean: float  # μ
    user_bias: Tensor  # (n_users,) float32, b
    item_bias: Tensor  # (n_items,) float32, c
    user_factors: Tensor  # (n_users, r) float32, p
    item_factors: Tensor  # (n_items, r) float32, q
    error: float  # root mean square difference from the predictions, over pairs at random

    @classmethod
    def of(
        cls,
        model: Compact,
        *,
        rank: int = RANK,
        seed: int = 0,
        answer: Callable[[Tensor, Pairs], Tensor] = lambda predicted, _: predicted,
    ) -> "Factors":
        """Those that come nearest to the predictions of a model.

        Args:
            model: the one.
            rank: of the factors, at most.
            seed: of the pairs that tell how near they come.
            answer: what predictions of pairs become, but for a factor and biases the same.
        """
        n_users = len(model.parts[0].user_bias) - 1
        basis = _basis(model)  # (n_items, k)
        n_items, items = len(basis), torch.arange(len(basis))
        step = max(1, AT_ONCE // n_items)

        def of_users(start: int) -> tuple[Tensor, Tensor, Tensor]:
            users = torch.arange(start, min(start + step, n_users))
            pairs = Pairs(
                user_index=users.repeat_interleave(n_items), item_index=items.repeat(len(users))
            )
            block = answer(model.predict(pairs), pairs).reshape(len(users), n_items)
            return block.mean(1), block.sum(0), block @ basis

        rows, sums, products = zip(*in_threads(of_users, range(0, n_users, step)), strict=True)
        of_user, of_item = torch.cat(rows), torch.stack(sums).sum(0) / n_users
        mean = of_user.mean()
        user_bias, item_bias = of_user - mean, of_item - mean
        rest = torch.cat(products) - torch.outer(user_bias + mean, basis.sum(0))
        rest = rest - item_bias @ basis
        u, s, vh = torch.linalg.svd(rest, full_matrices=False)
        roots = s[:rank].sqrt()
        found = cls(
            mean=mean.item(),
            user_bias=user_bias.float(),
            item_bias=item_bias.float(),
            user_factors=(u[:, :rank] * roots).float(),
            item_factors=(basis @ vh[:rank].mT * roots).float(),
            error=0.0,
        )
        generator = torch.Generator().manual_seed(seed)
        pairs = Pairs(
            user_index=torch.randint(n_users, (SAMPLE,), generator=generator),
            item_index=torch.randint(n_items, (SAMPLE,), generator=generator),
        )
        difference = found.predict(pairs) - answer(model.predict(pairs), pairs)
        return cls(**{**vars(found), "error": difference.square().mean().sqrt().item()})

    def predict(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 products of pairs, with their biases."""
        users, items = pairs.user_index, pairs.item_index
        product = torch.linalg.vecdot(self.user_factors[users], self.item_factors[items])
        found = self.mean + self.user_bias[users] + self.item_bias[items] + product
        return torch.as_tensor(found).double()


def _basis(model: Compact) -> Tensor:
    """(n_items, k) float64 orthonormal columns, which span the items' factors and biases."""
    columns = [torch.cat([part.item_factors, part.item_bias[:, None]], 1) for part in model.parts]
    rows = torch.cat(columns, 1)[:-1].double()
    basis: Tensor = torch.linalg.qr(torch.cat([rows, torch.ones(len(rows), 1)], 1)).Q
    return basis
