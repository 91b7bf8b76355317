"""How many trials an hour several workers finish, at one setting, and what suits a machine.

    python -m benchmarks.workers --data FILE [--trials 24] [--solver gibbs] [--repeats 3]

As many trials of the solver's default setting wait in a study as are asked for; they are run by
one worker with one thread, by one with a thread a core, and by more workers that share the cores.
All in turn, several times; the median counts. Time runs from the first trial's start to the last
one's end, so that the start of the processes, told apart, is not in it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import optuna

from model.kernels.threads import n_threads, set_n_threads
from model.solvers import SOLVERS
from storage.database import open_storage, parse_storage_url
from storage.sources import Sources
from study.events import ignored
from study.inputs import load_data
from study.record.parameters import to_params
from study.workers.clock import Clock
from study.workers.interrupts import Interrupts
from study.workers.job import Job
from study.workers.joining import join
from study.workers.processes import prepare
from study.workers.team import run_job


def measure(data: Path, solver: str, *, trials: int, n_workers: int) -> tuple[float, float]:
    """Trials a minute, and the seconds before the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        job = Job(
            storage=url,
            study_name="study",
            total=trials,
            sources=Sources(data=data),
            folder=Path(folder),
            device="cpu",
            seed=0,
            clock=Clock(n_workers=n_workers),
        )
        loaded = load_data(data, runs=Path(folder))
        storage = open_storage(parse_storage_url(url))
        joined = join(job, loaded, storage, interrupted=lambda: False)
        for _ in range(trials):
            joined.record.study.enqueue_trial(to_params(SOLVERS[solver].default))
        began = time.time()
        run_job(job, joined, interrupts=Interrupts(), on_event=ignored)
        done = joined.record.trials()
        starts = [one.datetime_start.timestamp() for one in done if one.datetime_start]
        ends = [one.datetime_complete.timestamp() for one in done if one.datetime_complete]
        assert len(ends) == trials
    return 60 * trials / (max(ends) - min(starts)), min(starts) - began


def main() -> None:
    """Prints a row for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--solver", choices=sorted(SOLVERS), default="gibbs")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cores = n_threads()
    prepare()
    rows = [(1, 1), (1, cores), *((n, cores) for n in sorted({2, cores, 2 * cores}))]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {row: [] for row in rows}
    for _ in range(options.repeats):
        for row in rows:
            set_n_threads(row[1])
            found[row].append(
                measure(options.data, options.solver, trials=options.trials, n_workers=row[0])
            )
    base = statistics.median(rate for rate, _ in found[rows[0]])
    print("| workers | threads each | trials a minute | times | seconds until the first |")
    print("|---|---|---|---|---|")
    for row in rows:
        rate = statistics.median(rate for rate, _ in found[row])
        start = statistics.median(start for _, start in found[row])
        threads = max(1, row[1] // row[0])
        print(f"| {row[0]} | {threads} | {rate:.1f} | {rate / base:.2f} | {start:.1f} |")


if __name__ == "__main__":
    main()
