"""How well users are predicted who were not in the training and are folded in by a few ratings.

    python -m benchmarks.newcomers --data FILE [--solver gibbs] [--users 40] [--seed 0]

A fifth of each user's ratings is held out. One model is trained on the rest of all users, another
without the users that are measured, who are then folded in by 0, 5, 20 and all of what is left of
their ratings: the RMSE on what was held out of these users.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.ranking import hold_out, trained
from model.solver import Model
from model.solvers import SOLVERS
from study.inputs import load_data

COUNTS = (0, 5, 20, None)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--solver", choices=tuple(SOLVERS), default="gibbs")
    parser.add_argument("--users", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data, runs=Path("runs"))
    training, held_out = hold_out(data.ratings, options.seed)
    draw = np.random.default_rng(options.seed)
    users = torch.from_numpy(draw.choice(training.n_users, options.users, replace=False))
    whole = trained(options.solver, training, options.seed)
    without = training[~torch.isin(training.user_index, users)]
    model = trained(options.solver, without, options.seed)

    def rmse_folded(count: int | None) -> float:
        """Of every user's first ratings, so many, in random order."""
        errors = []
        for user in users:
            known = torch.nonzero(training.user_index == user)[:, 0]
            known = known[torch.from_numpy(draw.permutation(len(known)))][:count]
            folded = model.fold_in(training.item_index[known], training.values[known], seed=0)
            errors.append(_errors(folded, 0, user))
        return torch.cat(errors).square().mean().sqrt().item()

    def _errors(model: Model, row: int | torch.Tensor, user: torch.Tensor) -> torch.Tensor:
        mine = held_out[held_out.user_index == user]
        rows = torch.zeros_like(mine.user_index) + row
        return model.predict(replace(mine, user_index=rows)) - mine.values

    print("| | RMSE |")
    print("|---|---|")
    for count in COUNTS:
        name = "all their ratings" if count is None else f"{count} ratings"
        print(f"| folded in by {name} | {rmse_folded(count):.4f} |", flush=True)
    errors = torch.cat([_errors(whole, user, user) for user in users])
    print(f"| trained with their ratings | {errors.square().mean().sqrt().item():.4f} |")


if __name__ == "__main__":
    main()
