"""What a GPU brings: the default settings on a CPU, with all of its cores, and on a GPU.

    python -m benchmarks.devices [--data FILE ...] [--plant 1000000 10000000] [--epochs 10]

Each on ratings in memory, a tenth of which is validated: seconds until the solver is made, seconds
an epoch (the median, after the first ones), validation RMSE after the last, which draws of its own
move a little, and what the GPU needed. Without a GPU the rows of the CPU alone.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.planted import planted, sizes
from model.dataset import Ratings
from model.solvers import SOLVERS, Config, GibbsConfig, make_solver
from model.splits import split
from study.inputs import load_data

WARM = 3  # epochs that are not timed: kernels are loaded, buffers made


class Cost(NamedTuple):
    """What a setting took on a device."""

    made: float  # seconds
    epoch: float  # seconds
    rmse: float
    gigabytes: float  # of the GPU's memory, at most


def configs() -> dict[str, Config]:
    """The default settings, gibbs with either number of chains."""
    defaults = {name: entry.default for name, entry in SOLVERS.items()}
    gibbs = defaults["gibbs"]
    assert isinstance(gibbs, GibbsConfig)
    return defaults | {"gibbs, Gaussian": replace(gibbs, likelihood="gaussian")}


def cost(
    config: Config, sides: tuple[Ratings, Ratings], device: torch.device, n_epochs: int
) -> Cost:
    """Trains for some epochs."""
    training, validation = (side.to(device) for side in sides)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    epochs = make_solver(config, training, device=device, seed=0).epochs(validation)
    _wait_for(device)
    made = time.perf_counter() - began
    seconds = []
    for _ in range(WARM + n_epochs):
        began = time.perf_counter()
        epoch = next(epochs)
        _wait_for(device)
        seconds.append(time.perf_counter() - began)
    return Cost(
        made=made,
        epoch=statistics.median(seconds[WARM:]),
        rmse=epoch.validation_mse**0.5,
        gigabytes=torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0,
    )


def data_sets(files: Sequence[Path], planted_sizes: Sequence[int]) -> Iterator[tuple[str, Ratings]]:
    """The ratings of files, then planted ones, each when its turn comes."""
    for file in files:
        yield str(file), load_data(file, runs=Path("runs")).ratings
    for n in planted_sizes:
        n_users, n_items = sizes(n)
        yield f"{n:,} planted", planted(n, n_users=n_users, n_items=n_items)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--plant", type=int, nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
        torch.zeros(1, device=devices[1])
    print(f"{torch.get_num_threads()} threads; " + ", ".join(map(_name, devices)))
    for name, ratings in data_sets(options.data, options.plant):
        n_rows = f"{ratings.n_users:,} users, {ratings.n_items:,} items"
        print(f"\n{name}: {len(ratings):,} ratings, {n_rows}")
        print("| | device | made, s | an epoch, s | times | RMSE | GB |\n" + "|---" * 7 + "|")
        sides = split(ratings, seed=0)
        for setting, config in configs().items():
            of_cpu = 0.0
            for device in devices:
                made, epoch, rmse, memory = cost(config, sides, device, options.epochs)
                of_cpu = of_cpu or epoch
                print(
                    f"| {setting} | {device.type} | {made:.3f} | {epoch:.4f} | {of_cpu / epoch:.1f}"
                    f" | {rmse:.5f} | {memory:.1f} |",
                    flush=True,
                )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
