"""How near a sweep of `als` or `gibbs` comes to what the processor can do; where its time goes.

    python -m benchmarks.limit [--ratings 100000 1000000] [--ranks 8 16 32 64] [--threads 1]

Counted are 2 n D² operations a side for the Gram matrices of n ratings, D = rank + 1, and D³/3 for
each of the factorizations. Half a Gram matrix would do, for it is symmetric: the share of what has
to be done is told beside. The measure is what `torch.matmul` of 1024 × 1024 float32 reaches on as
many threads, by turns with the sweeps. Each rating's row of the other side has to be read once a
side: where the larger of the tables is beyond the last cache, that too is told, beside a big copy
(read and written). The second table says where the time goes, in per cent of a sweep; `limit_parts`
measures the first six columns apart from the sweeps, so that the rest may fall below zero. Last
stands how near the accumulation alone, with only what is needed counted, comes to the measure.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

import model.chain
from benchmarks.limit_parts import part_seconds, run_seconds, sides
from benchmarks.planted import planted, sizes
from benchmarks.stopwatch import Parts, Stopwatch
from model.als import ALS
from model.dataset import Ratings
from model.hyperprior import Hyperprior
from model.kernels.compiled_intervals import CompiledIntervals
from model.kernels.compiled_normal_equations import Compiled
from model.kernels.simd import LANES
from model.kernels.threads import set_n_threads
from model.ordinal import OrdinalLikelihood
from model.posterior import Draw, Posterior
from model.solvers import SOLVERS, ALSConfig, Config, GibbsConfig, make_solver

CPU = torch.device("cpu")
MATRIX = 1024
COPIED = 1 << 26  # numbers: eight times a large cache
WATCHED: Parts = {
    "regressions": [(Compiled, "solve")],
    "priors": [(Hyperprior, "draw"), (Hyperprior, "row_means")],
    "noise": [(torch, "randn"), (model.chain, "gamma")],
    "likelihood": [(CompiledIntervals, "log_likelihood"), (CompiledIntervals, "chances")],
    "latent": [(OrdinalLikelihood, "draw")],
    "model": [(ALS, "_write_model"), (Draw, "of"), (Posterior, "add")],
}
KERNEL = ["gather", "accumulate", "assemble", "factorize", "solve", "measure"]
COLUMNS = [*KERNEL, "priors", "noise", "likelihood", "latent", "model"]


def configs(rank: int) -> dict[str, Config]:
    """The solvers at a rank, else as by default."""
    gibbs, als = SOLVERS["gibbs"].default, SOLVERS["als"].default
    assert isinstance(gibbs, GibbsConfig)
    assert isinstance(als, ALSConfig)
    return {
        "als": replace(als, rank=rank),
        "gibbs, gaussian": replace(gibbs, rank=rank, likelihood="gaussian"),
        "gibbs, ordinal": replace(gibbs, rank=rank, likelihood="ordinal"),
    }


def sweep_seconds(config: Config, ratings: Ratings, sweeps: int) -> tuple[float, Counter[str]]:
    """Median seconds of a sweep after the first, and the mean seconds of its parts."""
    watch, seconds = Stopwatch(), []
    epochs = make_solver(config, ratings, device=CPU, seed=0).epochs(None)
    next(epochs)
    with watch.watching(WATCHED):
        for _ in range(sweeps):
            began = time.perf_counter()
            next(epochs)
            seconds.append(time.perf_counter() - began)
    means = {part: total / sweeps for part, total in watch.seconds.items()}
    return statistics.median(seconds), Counter(means)


def matmul_rates(threads: int, repeats: int = 5) -> list[float]:
    """Operations a second of products of big matrices."""
    a, b = torch.rand(2, MATRIX, MATRIX)
    return [2 * MATRIX**3 / seconds for seconds in _seconds(threads, repeats, lambda: a @ b)]


def copy_rate(threads: int) -> float:
    """Bytes a second, read and written, of a copy that no cache holds."""
    source, target = torch.ones(2, COPIED)
    return 8 * COPIED / statistics.median(_seconds(threads, 5, lambda: target.copy_(source)))


def last_cache() -> int:
    """The bytes of the largest cache, as Linux tells them; zero where it does not."""
    files = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes_in_kib = [int(file.read_text().strip().removesuffix("K")) for file in files]
    return 1024 * max(sizes_in_kib, default=0)


def rate_cells(seconds: float, ratings: Ratings, rank: int, machine: Mapping[str, float]) -> str:
    """Seconds of a sweep, and its rates beside those of the machine."""
    width, n_rows = rank + 1, ratings.n_users + ratings.n_items
    factorizations = n_rows * width**3 / 3
    counted = 4 * len(ratings) * width**2 + factorizations
    needed = 2 * len(ratings) * width * (width + 1) + factorizations
    row_bytes = 4 * LANES * -(-(width + 1) // LANES)
    moved = 2 * len(ratings) * row_bytes / seconds
    of_copy = f"{moved / machine['copy']:.0%}"
    beyond = max(ratings.n_users, ratings.n_items) * row_bytes > last_cache()
    rate = counted / seconds
    return (
        f"{seconds:.4f} | {rate / 1e9:.1f} | {machine['matmul'] / 1e9:.1f} "
        f"| {rate / machine['matmul']:.0%} | {needed / seconds / machine['matmul']:.0%} "
        f"| {moved / 1e9:.1f} | {of_copy if beyond else 'in cache'}"
    )


def part_cells(parts: Counter[str], seconds: float) -> str:
    """The shares of a sweep, in per cent."""
    shown = [parts[part] for part in COLUMNS]
    return " | ".join(f"{100 * part / seconds:.1f}" for part in [*shown, seconds - sum(shown)])


def main() -> None:
    """Prints both tables, the first while it grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sweeps", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a study
    set_n_threads(options.threads)
    copied = copy_rate(options.threads)
    print(f"Threads: {options.threads}, copy: {copied / 1e9:.1f} GB/s\n")
    print("| solver | ratings | rank | sweep, s | GFLOP/s | matmul | share | needed", end="")
    print(" | gathered, GB/s | of copy |\n|---|---|---|---|---|---|---|---|---|---|")
    shares = []
    for n_ratings in options.ratings:
        n_users, n_items = sizes(n_ratings)
        ratings = planted(n_ratings, n_users=n_users, n_items=n_items)
        regressions = sides(ratings)
        for rank in options.ranks:
            for name, config in configs(rank).items():
                rates = matmul_rates(options.threads)
                seconds, parts = sweep_seconds(config, ratings, options.sweeps)
                rates += matmul_rates(options.threads)
                parts.update(
                    part_seconds(
                        regressions,
                        (n_users, n_items),
                        rank=rank,
                        draws=name != "als",
                        repeats=options.sweeps,
                    )
                )
                machine = {"matmul": statistics.median(rates), "copy": copied}
                row = f"| {name} | {n_ratings:,} | {rank}"
                print(f"{row} | {rate_cells(seconds, ratings, rank, machine)} |", flush=True)
                accumulated = 2 * n_ratings * (rank + 1) * (rank + 2) / parts["accumulate"]
                share = f"{accumulated / machine['matmul']:.0%}"
                shares.append(f"{row} | {part_cells(parts, seconds)} | {share} |")
    print(f"\n| solver | ratings | rank | {' | '.join(COLUMNS)} | rest | accumulate |")
    print(f"|---|---|---|{'---|' * len(COLUMNS)}---|---|")
    print("\n".join(shares))


def _seconds(threads: int, repeats: int, work: Callable[[], object]) -> list[float]:
    """Seconds of each run of a piece of PyTorch's work on so many threads, after one more."""
    torch.set_num_threads(threads)
    seconds = run_seconds(work, repeats)
    torch.set_num_threads(1)
    return seconds


if __name__ == "__main__":
    main()
