"""A small held model, as a study's best settings would leave it."""

from dataclasses import replace

import numpy as np
import torch

from model.compact import Compact
from model.dataset import Ids, Ratings
from model.descriptions import of_numbers
from model.solvers import SOLVERS, make_solver
from storage.files import TEXT
from study.answers.intervals import Calibration, Scale
from study.answers.levels import Levels
from study.held import Model
from study.known import Known

N_USERS, N_ITEMS, RANK = 60, 40, 2


def held_model(*, seed: int = 0, titled: bool = True, shift: float = 0.0) -> Model:
    """A model of drawn ratings, 1 to 5: users are u0, u1, …, items 100, 101, …; ages are known.

    Args:
        seed: of ratings and training.
        titled: whether items have titles, Night 0 (1960), Night 1 (1961), … and Amélie.
        shift: what is added to all ratings.
    """
    draw = np.random.default_rng(seed)
    signal = draw.normal(size=(N_USERS, RANK)) @ draw.normal(size=(RANK, N_ITEMS))
    users, items = np.divmod(draw.permutation(N_USERS * N_ITEMS)[:1200], N_ITEMS)
    values = (3 + signal[users, items] + draw.normal(0, 0.5, len(users))).round().clip(1, 5)
    ratings = Ratings(
        n_users=N_USERS,
        n_items=N_ITEMS,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(values + shift),
        user_descriptions=(of_numbers("age", draw.uniform(20, 60, N_USERS)),),
    )
    config = replace(SOLVERS["gibbs"].default, rank=RANK, n_features=4)
    solver = make_solver(config, ratings, device=torch.device("cpu"), seed=seed)
    next(epoch for epoch in solver.epochs(None) if epoch.number == 16)
    item_ids = 100 + np.arange(N_ITEMS)
    titles = {str(one): f"Night {n} ({1960 + n})" for n, one in enumerate(item_ids)}
    titles["103"] = "Amélie (2001)"
    return Model(
        card={"data": f"drawn ratings, seed {seed}", "held_out": {"rmse": [0.6, 0.5, 0.7]}},
        known=Known(
            source="/a/folder/ratings.csv",
            users=Ids(np.array(sorted(f"u{n}" for n in range(N_USERS)), dtype=TEXT)),
            items=Ids(item_ids),
            user_name="user",
            item_name="item",
            ratings=ratings,
            titles=titles if titled else {},
        ),
        solvers=("gibbs",),
        models=(solver.model,),
        compact=Compact.of([solver.model], present=None, seed=0),
        levels=Levels.none(),
        calibration=Calibration(
            std_factor=1.0,
            quantile=1.6,
            lowest=float(ratings.values.min()),
            highest=float(ratings.values.max()),
            n_ratings=400,
            of_others=(Scale(1.0, 1.7),) * 4,
        ),
    )
