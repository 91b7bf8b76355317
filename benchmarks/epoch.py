"""How long an epoch takes at the original's setting, beside the loop that one writes first.

    python -m benchmarks.epoch --data FILE [--repeats 5]

The first loop: `nn.Embedding` tables, `MSELoss`, `Adam`, a `DataLoader` over single ratings. Both
do the same arithmetic on the same ratings, by turns in one run; medians are compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from model.dataset import Ratings
from model.gradient import Gradient
from model.solvers import ORIGINAL, GradientConfig
from model.splits import split
from study.inputs import load_data


class FirstModel(nn.Module):
    """The model that one writes first: tables of factors, and their product."""

    def __init__(self, n_users: int, n_items: int, rank: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, rank)
        self.items = nn.Embedding(n_items, rank)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """The (n,) ratings of (n,) pairs."""
        product: Tensor = (self.users(user) * self.items(item)).sum(1)
        return product


def first_loop(
    training: Ratings, config: GradientConfig = ORIGINAL
) -> tuple[FirstModel, Callable[[], float]]:
    """A model, and a function that trains it for an epoch and gives the training MSE."""
    model = FirstModel(training.n_users, training.n_items, config.rank)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    loss_function = nn.MSELoss()
    dataset = TensorDataset(training.user_index, training.item_index, training.values.float())
    loader = DataLoader(dataset, batch_size=config.batch_size, shuffle=True)

    def epoch() -> float:
        total = 0.0
        for user, item, rating in loader:
            optimizer.zero_grad()
            loss = loss_function(model(user, item), rating)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rating)
        return total / len(training)

    return model, epoch


def solver(training: Ratings) -> Callable[[], float]:
    """The same of our solver."""
    epochs = Gradient(ORIGINAL, training, device=torch.device("cpu"), seed=0).epochs(None)
    return lambda: next(epochs).train_mse


def main() -> None:
    """Prints seconds an epoch, their ratio, and the training MSE that both arrive at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    training, _ = split(load_data(options.data, runs=Path("runs")).ratings, seed=0)
    contestants = {"DataLoader loop": first_loop(training)[1], "gradient solver": solver(training)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    mse = dict.fromkeys(contestants, 0.0)
    for _ in range(options.repeats):
        for name, epoch in contestants.items():
            began = time.perf_counter()
            mse[name] = epoch()
            seconds[name].append(time.perf_counter() - began)
    print(f"{len(training):,} ratings, {torch.get_num_threads()} threads")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s an epoch, training MSE {mse[name]:.3f} after the last")
    print(f"ratio: {medians['DataLoader loop'] / medians['gradient solver']:.1f}")


if __name__ == "__main__":
    main()
