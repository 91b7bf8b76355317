"""One factorization on several ranks: the same as on one, at what cost, and what they send.

    python -m benchmarks.ranks --data FILE --truth FILE [--ranks 1 2 3 4] [--sweeps 100]
    python -m benchmarks.ranks --plant 10000000 [--ranks 1 2] [--threads 2] [--sweeps 10]
    python -m benchmarks.ranks --write FOLDER --plant 100000000
    python -m benchmarks.ranks --data FOLDER/ratings --held-out FOLDER/held_out.parquet --ranks 2

The last reads a folder as the commands do, each rank its own users' ratings, where the others give
each rank a share of what it has whole.
Each number of ranks is a run of `torchrun` on this machine, whose cores they have between them:
with `--threads 2` one rank has two threads, two have one each. Ranks talk by gloo through the
loopback device, which counts what they send. `model` is what the sums of a sweep come to by hand:
see `bytes_a_sweep`. Differences are of validation predictions after the first sweeps, from those
of the first number of ranks.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.planted import planted, sizes, write_parts
from model.dataset import UNKNOWN, Pairs, Ratings
from model.kernels.normal_equations import n_sums
from model.kernels.threads import torch_in_one_thread
from model.solvers import ALSConfig, Config, GibbsConfig, make_solver
from model.world import World, joined, leave

COMPARED = 3  # first sweeps
WARM = 3  # sweeps that are not timed: what is compiled is loaded, buffers are made
DEVICE = torch.device("cpu")


def configs(rank: int) -> dict[str, Config]:
    """The settings that are trained."""
    return {
        "als": ALSConfig(rank=rank, weight_decay=0.1, bias_decay=0.05),
        "gibbs, Gaussian": GibbsConfig(
            rank=rank, likelihood="gaussian", noise_dof=20.0, n_features=64
        ),
        "gibbs, both": GibbsConfig(rank=rank, noise_dof=20.0, n_features=64),
    }


def bytes_a_sweep(n_items: int, config: Config, size: int) -> float:
    """What all ranks together send in a sweep: D is the rank and a bias.

    Of each item the sums, (D + 1) (D + 2) / 2 numbers of 4 bytes, go to the rank that solves it,
    and its mean, and for gibbs its draw, from there to all others; squared errors, and for gibbs
    the moments of the users' rows and of their features, are summed by a ring, which sends them
    about twice.
    """
    assert isinstance(config, ALSConfig | GibbsConfig)
    width = config.rank + 1
    rows = width if isinstance(config, ALSConfig) else 2 * width
    items = n_items * 4 * (n_sums(width) + rows) * (size - 1)
    summed = 8.0 * n_items
    n_chains = 1
    if isinstance(config, GibbsConfig):
        summed += 8 * (width * width + (config.n_features + 3) * width)
        n_chains = 2 if config.likelihood == "both" else 1
    return n_chains * (items + 2 * (size - 1) * summed)


def shard(ratings: Ratings, world: World) -> Ratings:
    """The ratings of this rank's users: so many that all ranks have about as many ratings."""
    counts = torch.bincount(ratings.user_index, minlength=ratings.n_users).cumsum(0)
    shares = torch.arange(1, world.size) * len(ratings) // world.size
    cuts = [0, *torch.searchsorted(counts, shares).tolist(), ratings.n_users]
    return of_users(ratings, torch.arange(cuts[world.rank], cuts[world.rank + 1]), world)


def of_users(ratings: Ratings, users: torch.Tensor, world: World) -> Ratings:
    """The ratings of a rank's (n_users,) users alone."""
    places = places_among(users, ratings.n_users)
    some = ratings[places[ratings.user_index] != UNKNOWN]
    return replace(
        some,
        n_users=len(users),
        user_index=places[some.user_index],
        user_descriptions=tuple(
            replace(one, values=one.values[users]) for one in ratings.user_descriptions
        ),
        world=world,
        user_numbers=users.numpy(),
    )


def places_among(users: torch.Tensor, n_users: int) -> torch.Tensor:
    """Where each of all users stands among some, UNKNOWN if nowhere: (n_users + 1,) int64, the last
    that of who is unknown.
    """
    places = torch.full((n_users + 1,), UNKNOWN)
    places[users] = torch.arange(len(users))
    return places


def read_shared(options: argparse.Namespace, world: World) -> tuple[Ratings, Pairs, torch.Tensor]:
    """This rank's ratings, pairs to predict and their truth."""
    if options.held_out:
        from study.inputs import load_data, with_pairs

        data = load_data(options.data, runs=options.folder, world=world)
        data = with_pairs(data, options.held_out, runs=options.folder)
        assert data.truth is not None
        return data.ratings, data.queries, torch.from_numpy(data.truth)
    ratings, queries, truth = read(options)
    own = shard(ratings, world)
    places = places_among(own.users, ratings.n_users)
    is_mine = places[queries.user_index] != UNKNOWN
    unknown = (queries.user_index < 0) & (world.rank == 0)
    asked = queries[is_mine | unknown]
    asked = replace(asked, user_index=places[asked.user_index])
    return own, asked, truth[is_mine | unknown]


def read(options: argparse.Namespace) -> tuple[Ratings, Pairs, torch.Tensor]:
    """All ratings, the pairs to predict, and their truth."""
    if options.plant:
        n_users, n_items = sizes(options.plant)
        ratings = planted(options.plant, n_users=n_users, n_items=n_items)
        held_out = torch.arange(len(ratings)) % 100 == 0
        return ratings[~held_out], ratings[held_out], ratings.values[held_out]
    from storage.lines import read_numbers
    from study.inputs import load_data

    data = load_data(options.data, runs=options.folder)
    truth = read_numbers(options.truth, expected=data.table.n_queries)
    order = data.queries.user_index.argsort(stable=True)  # as ranks have them, one after another
    return data.ratings, data.queries[order], torch.from_numpy(truth)[order]


def of_rank(options: argparse.Namespace) -> None:
    """A rank: trains, and the first one prints what was measured."""
    world, began = joined(), time.perf_counter()
    own, asked, values = read_shared(options, world)
    reading, n_items = time.perf_counter() - began, own.n_items
    found: dict[str, Any] = {}
    for name, config in configs(options.rank).items():
        if options.only and name not in options.only:
            continue
        began = time.perf_counter()
        solver = make_solver(config, own, device=DEVICE, seed=1)
        setup = time.perf_counter() - began
        seconds, before, firsts = [], 0, []
        for epoch in solver.epochs(None):
            world.everyones(None)
            seconds.append(time.perf_counter() - began)
            if epoch.number <= COMPARED:
                firsts.append(world.gathered(solver.model.predict(asked)).numpy())
            world.everyones(None)
            if epoch.number == WARM:
                before = sent()
            began = time.perf_counter()
            if epoch.number >= options.sweeps:
                break
        bytes_sent = (sent() - before) / max(options.sweeps - WARM, 1)
        squares = (solver.model.predict(asked) - values).square().sum()
        total, n = world.sum(torch.stack([squares, squares.new_tensor(len(values))])).tolist()
        found[name] = {
            "setup": setup,
            "seconds": float(np.median(seconds[WARM:])),
            "bytes": bytes_sent,
            "model": bytes_a_sweep(n_items, config, world.size),
            "rmse": (total / n) ** 0.5,
        }
        if world.rank == 0:
            place = options.folder / f"{name}-{world.size}.npy"
            np.save(place, np.stack(firsts))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peaks = world.everyones(peak)
    if world.rank == 0:
        told = {"ranks": world.size, "peak": sum(peaks), "reading": reading, "found": found}
        print(json.dumps(told))


def sent() -> int:
    """The bytes that went through the loopback device since the machine began."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[9])


def measured(options: argparse.Namespace, n: int) -> dict[str, Any]:
    """What a run on n ranks came to."""
    threads = max(1, options.threads // n)
    given = [*sys.argv[1:], "--child", "--folder", str(options.folder)]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    command += ["-m", "benchmarks.ranks", *given]
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result | {"threads": threads}


def main() -> None:
    """Prints a table for each solver."""
    options = _parse()
    if options.write:
        write_parts(options.write, options.plant, n_parts=max(1, options.plant // 5_000_000))
        return
    if options.child:
        with torch_in_one_thread():
            of_rank(options)
        leave()
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        runs = [measured(options, n) for n in options.ranks]
        print(
            "| | ranks | threads each | a sweep, s | sent, MB | model, MB | first sweeps | RMSE |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for name in runs[0]["found"]:
            for run in runs:
                one, n = run["found"][name], run["ranks"]
                firsts, others = (
                    np.load(options.folder / f"{name}-{m}.npy") for m in (options.ranks[0], n)
                )
                apart = np.abs(firsts - others).max() if len(firsts.T) == len(others.T) else np.nan
                print(
                    f"| {name} | {n} | {run['threads']} | {one['seconds']:.4f} "
                    f"| {one['bytes'] / 1e6:.2f} | {one['model'] / 1e6:.2f} | {apart:.1e} "
                    f"| {one['rmse']:.5f} |"
                )
        for run in runs:
            print(
                f"\n{run['ranks']} ranks: read in {run['reading']:.0f} s, "
                f"{run['peak'] / 1e9:.2f} GB together at most",
                end="",
            )
        print()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--held-out", type=Path, help="ratings to predict, read with a folder's")
    parser.add_argument("--plant", type=int, help="ratings, in place of a file")
    parser.add_argument("--write", type=Path, help="where to write those in parts, and no more")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2, help="of all ranks together")
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--rank", type=int, default=24, help="of the factorization")
    parser.add_argument("--only", nargs="+", help="solvers")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.plant and not (options.data and (options.truth or options.held_out)):
        parser.error("expected --data and --truth or --held-out, or --plant")
    return options


if __name__ == "__main__":
    main()
