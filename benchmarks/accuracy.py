"""What each solver reaches at its default setting, and what each part of the sampler adds.

    python -m benchmarks.accuracy --data FILE --truth FILE [--seeds 3] [--trials 100]
        [--only ROW …]

Of each seed the ratings are split as a study splits them: epochs are chosen on the validation
ratings, the model is trained on every rating, and only then scored on the queries' truth. The last
rows are whole studies, with the default commands.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.commands import queries_rmse, run, validation_rmse
from benchmarks.studies import CPU, tried
from model.biases import fit_biases
from model.dataset import Pairs
from model.posterior import Draw
from model.solver import mse
from model.solvers import ORIGINAL, SOLVERS, Config, GibbsConfig, make_solver, solver_name
from model.splits import split
from storage.lines import read_numbers
from study.inputs import Data, load_data

BIASES = "biases alone"
DRAWS_ALONE = "… the same from draws alone, without Rao-Blackwell"


def settings() -> dict[str, Config]:
    """The rows of the table, but for biases alone."""
    gibbs = SOLVERS["gibbs"].default
    assert isinstance(gibbs, GibbsConfig)
    gaussian = replace(gibbs, likelihood="gaussian")
    even = float("inf")
    return {
        "the original's setting": ORIGINAL,
        **{name: entry.default for name, entry in SOLVERS.items() if name != "gibbs"},
        "gibbs, Gaussian, no features, even noise": replace(gaussian, n_features=0, noise_dof=even),
        "… with who rated what, textbook scaling": replace(
            gaussian, noise_dof=even, degree_power=0.5, spectrum_power=1.0
        ),
        "… with who rated what, our scaling": replace(gaussian, noise_dof=even),
        "… and noise by user and item": gaussian,
        DRAWS_ALONE: gaussian,
        "gibbs, ordinal": replace(gibbs, likelihood="ordinal"),
        "gibbs, both": gibbs,
    }


def rmse_of(config: Config, data: Data, truth: np.ndarray, seed: int) -> tuple[float, float]:
    """The RMSE on the validation ratings, and on the queries after training on all ratings."""
    best = tried(config, split(data.ratings, seed=seed), seed=seed)
    assert best is not None
    solver = make_solver(config, data.ratings, device=CPU, seed=seed)
    n_epochs = SOLVERS[solver_name(config)].retraining_epochs or best.number
    next(epoch for epoch in solver.epochs(None) if epoch.number == n_epochs)
    return best.validation_mse**0.5, on_queries(solver.model.predict, data, truth)


def on_queries(predict: Callable[[Pairs], torch.Tensor], data: Data, truth: np.ndarray) -> float:
    """The RMSE of what is predicted for the queries, kept to the range of the ratings."""
    low, high = data.table.ratings.min(), data.table.ratings.max()
    error = np.clip(predict(data.queries).detach().numpy(), low, high) - truth
    return float(np.sqrt(np.mean(error**2)))


@contextlib.contextmanager
def draws_alone() -> Iterator[None]:
    """Predictions from what was drawn, the sides' conditional means left out."""
    of = Draw.of

    def drawn(**state: Any) -> Draw:
        draw = of(**state)
        return replace(draw, user_means=draw.users, item_means=draw.items)

    with patch.object(Draw, "of", drawn):
        yield


def studies(
    data: Path, truth: Path, seeds: int, trials: int
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Name and figures of whole studies: the best setting alone, and the default average."""
    rows: dict[str, list[tuple[float, float]]] = {
        f"study, {trials} trials, the winner alone": [],
        f"study, {trials} trials": [],
    }
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = "--data", data.resolve()
            run("study.run", *files, "--trials", trials, "--seed", seed, folder=folder)
            for row, average in zip(rows.values(), (("--average", 1), ()), strict=True):
                scored = "--truth", truth.resolve(), *average
                _, output = run("study.best_predict", *files, *scored, folder=folder)
                row.append((validation_rmse(output), queries_rmse(output)))
    yield from rows.items()


def biases_alone(data: Data, truth: np.ndarray, seed: int) -> tuple[float, float]:
    """The same two figures of biases alone."""
    training, validation = split(data.ratings, seed=seed)
    on_truth = on_queries(fit_biases(data.ratings).predict, data, truth)
    return mse(fit_biases(training), validation) ** 0.5, on_truth


def rows(
    data: Data, truth: np.ndarray, seeds: int, only: list[str] | None
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Name and figures, one pair a seed, of every row, or of some."""
    if only is None or BIASES in only:
        yield BIASES, [biases_alone(data, truth, seed) for seed in range(seeds)]
    for name, config in settings().items():
        if only is not None and name not in only:
            continue
        with draws_alone() if name == DRAWS_ALONE else contextlib.nullcontext():
            yield name, [rmse_of(config, data, truth, seed) for seed in range(seeds)]


def main() -> None:
    """Prints a table: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100, help="of a study; 0 for none")
    parser.add_argument(
        "--only", nargs="+", choices=[BIASES, *settings()], metavar="ROW", help="and no study"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data, runs=Path("runs"))
    truth = read_numbers(options.truth, expected=data.table.n_queries)
    print("| | validation RMSE | queries RMSE |")
    print("|---|---|---|")
    whole = studies(options.data, options.truth, options.seeds, options.trials)
    for name, figures in itertools.chain(
        rows(data, truth, options.seeds, options.only),
        whole if options.trials and not options.only else (),
    ):
        cells = [
            f"{statistics.mean(column):.4f} ± {statistics.pstdev(column):.4f}"
            for column in zip(*figures, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
