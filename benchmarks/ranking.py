"""What lists of ten are worth by several scores: precision and NDCG on ratings that were held out.

    python -m benchmarks.ranking --data FILE [--solver gibbs] [--seed 0]

Of each user a fifth of the ratings is held out at random; the solver, at its default setting,
learns from the rest. Each user's list is made of all items that the user has not rated among the
rest. Relevant is what is held out and rated at or above the user's own mean; what nobody has rated
counts as irrelevant, so that a list of the popular does well whether it pleases or not. The last
column tells of pleasing alone: the NDCG of the order of what was held out, the rated among
themselves.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Pairs, Ratings
from model.posterior import Posterior
from model.solver import Model
from model.solvers import SOLVERS, make_solver
from study.answers.lists import CAUTION, listing_score, typical_count
from study.answers.scores import LENGTH, ndcg
from study.inputs import load_data

HELD_OUT = 0.2
EPOCHS = {"als": 15, "gradient": 25}  # where the sampler has its own number

Table = NDArray[np.float64]  # (n_users, n_items)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is known of every user and item, and what was held out."""

    mean: Table  # predicted
    uncertainty: Table  # zero of a model that does not know
    counts: NDArray[np.int64]  # (n_items,) of ratings
    rated: NDArray[np.bool_]  # (n_users, n_items), in the training
    held_out: NDArray[np.bool_]
    relevant: NDArray[np.bool_]


def hold_out(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """Training ratings, and a fifth of each user's, rounded down."""
    users = ratings.user_index.numpy()
    order = np.lexsort((np.random.default_rng(seed).random(len(users)), users))
    counts = np.bincount(users, minlength=ratings.n_users)
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - (np.cumsum(counts) - counts)[users[order]]
    out = torch.from_numpy(place < np.floor(HELD_OUT * counts)[users])
    return ratings[~out], ratings[out]


def trained(solver: str, training: Ratings, seed: int) -> Model:
    """The model of a solver at its default setting."""
    made = make_solver(SOLVERS[solver].default, training, device=torch.device("cpu"), seed=seed)
    n_epochs = SOLVERS[solver].retraining_epochs or EPOCHS[solver]
    next(epoch for epoch in made.epochs(None) if epoch.number == n_epochs)
    return made.model


def case_of(model: Model, training: Ratings, held_out: Ratings) -> Case:
    """The case of a model that knows the training ratings."""
    n_users, n_items = training.n_users, training.n_items
    items = torch.arange(n_items)
    mean, uncertainty = np.zeros((2, n_users, n_items))
    for user in range(n_users):
        pairs = Pairs(user_index=torch.full((n_items,), user), item_index=items)
        mean[user] = model.predict(pairs).numpy()
        if isinstance(model, Posterior):
            uncertainty[user] = model.uncertainty(pairs).numpy()

    def marked(ratings: Ratings) -> NDArray[np.bool_]:
        table = np.zeros((n_users, n_items), dtype=bool)
        table[ratings.user_index, ratings.item_index] = True
        return table

    own = torch.bincount(training.user_index, training.values, minlength=n_users)
    own /= torch.bincount(training.user_index, minlength=n_users).clamp(min=1)
    good = held_out.values >= own[held_out.user_index]
    return Case(
        mean=mean,
        uncertainty=uncertainty,
        counts=torch.bincount(training.item_index, minlength=n_items).numpy(),
        rated=marked(training),
        held_out=marked(held_out),
        relevant=marked(held_out[good]),
    )


def measures(score: Table, case: Case) -> tuple[float, float, float, float]:
    """Precision@10, NDCG@10, the ratings of the item listed first, NDCG@10 of what was rated."""
    users = np.flatnonzero(case.relevant.any(1))
    listed = _first(np.where(case.rated, -np.inf, score)[users])
    hits = np.take_along_axis(case.relevant[users], listed, axis=1)
    among = np.where(case.held_out, score, -np.inf)[users]
    ordered = np.take_along_axis(case.relevant[users], _first(among), axis=1)
    n_relevant = case.relevant[users].sum(1)
    return (
        float(hits.mean()),
        float(ndcg(hits, n_relevant).mean()),
        float(np.median(case.counts[listed[:, 0]])),
        float(ndcg(ordered, n_relevant).mean()),
    )


def scores(case: Case) -> Iterator[tuple[str, Table]]:
    """The rows of the table: names and scores."""
    yield "popularity: number of ratings", np.broadcast_to(case.counts, case.mean.shape) * 1.0
    yield "predicted mean", case.mean
    if case.uncertainty.any():
        for factor in (1.0, 3.0, 5.0):
            yield (
                f"mean - {factor:g} std of the rating without noise",
                (case.mean - factor * case.uncertainty),
            )
    unrated, typical = np.where(case.rated, np.nan, case.mean), typical_count(case.counts)
    for factor in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0):
        name = f"mean, shrunk with k = {factor:g} typical counts"
        name += ", as study.recommend does" if factor == CAUTION else ""
        yield name, listing_score(unrated, case.counts, shrinkage=factor * typical)


def _first(score: Table) -> NDArray[np.intp]:
    """The (n, 10) items of highest score."""
    return np.argsort(-score, axis=1, kind="stable")[:, :LENGTH]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--solver", choices=tuple(SOLVERS), default="gibbs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data, runs=Path("runs"))
    training, held_out = hold_out(data.ratings, options.seed)
    case = case_of(trained(options.solver, training, options.seed), training, held_out)
    print("| | precision@10 | NDCG@10 | ratings of the first, median | NDCG@10 of the rated |")
    print("|---|---|---|---|---|")
    for name, score in scores(case):
        precision, ndcg, count, among = measures(score, case)
        print(f"| {name} | {precision:.4f} | {ndcg:.4f} | {count:.0f} | {among:.4f} |")


if __name__ == "__main__":
    main()
