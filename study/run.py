"""`python -m study.run`: runs a study, or goes on with one, until it has its trials."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from study.cli import (
    DATA,
    DEVICE,
    FAILED,
    INTERRUPTED,
    KEEP,
    OUTPUT,
    STORAGE,
    Asked,
    AtLeast,
    Outcome,
    as_called,
    as_options,
    complain,
    options,
    ranks,
    run_command,
    seen_from_here,
    storage_word,
)
from study.drawing import Drawing
from study.tuning import DEFAULT_TRIALS, TuningError, tune

if TYPE_CHECKING:
    from storage.sources import Sources
    from study.inputs import Data
    from study.result import Result

PROG = "study.run"
EPILOG = """\
examples:
  python -m study.run --trials 100                  tune on ./mat_comp
  python -m study.run --data ratings.csv --columns user_id,movie_id,rating
  python -m study.run --data ratings.gz --trials 30 --timeout 600
  python -m study.run --trials 200                  go on to 200 trials
  python -m study.run --quiet --json > found.json   for another program

The same command goes on where it stopped, whatever stopped it. Then:
  python -m study.best_predict                      write the predictions
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
    run_command(run, PROG, arguments, epilog=EPILOG, may_share=True)


@options(
    DATA,
    DEVICE,
    click.option(
        "--trials",
        type=AtLeast(1),
        default=DEFAULT_TRIALS,
        show_default=True,
        metavar="N",
        help="Finished trials that the study is to have in all.",
    ),
    click.option(
        "--timeout",
        type=AtLeast(0, whole=False),
        metavar="SECONDS",
        help="Stop after so long; a trial that is cut keeps its best epoch.",
    ),
    click.option(
        "--workers",
        type=AtLeast(1),
        metavar="W",
        help="Processes that run trials at once, cores divided among them; what suits the machine "
        "and the data if not told. With 1 the same seed gives the same trials.",
    ),
    click.option(
        "--seed",
        type=AtLeast(0),
        metavar="I",
        help="Of the split, the search and the training; 0 or the study's own if not told.",
    ),
    click.option(
        "--split",
        type=click.Choice(["random", "latest", "time"]),
        help="Validate on a tenth at random, the latest tenth of each user, or the last tenth of "
        "all. If not told: at random, and of ratings with times the finalists on the latest too.",
    ),
    click.option(
        "--fresh",
        is_flag=True,
        help="Begin anew. Otherwise the first trials of a new study try the best settings of one "
        "in the database whose ratings are nearly the same, such as last week's.",
    ),
    KEEP,
    OUTPUT,
)
def run(
    drawing: Drawing,
    *,
    asked: Asked,
    trials: int,
    timeout: float | None,
    workers: int | None,
    seed: int | None,
    split: str | None,
    fresh: bool,
) -> Outcome:
    """Tunes a matrix factorization for ratings: an Optuna study that searches solvers and their
    settings with TPE and prunes on the validation error; the best few meet again on fresh splits.
    """
    began = time.monotonic()
    with drawing.status("Reading the ratings…"):
        from storage.memory import check_addresses
        from storage.proxy import is_proxy, shown
        from study.workers.processes import prepare

        check_addresses()
        if workers != 1 and not ranks()[0]:
            prepare()
        from study.inputs import choose_device
        from study.record.record import n_finished
        from study.report.summary import summary
        from study.result import Ended
        from study.workers.interrupts import caught_interrupts

        url = asked.url()
        choose_device(asked.device)
        of_all = asked.load(drawing)
    read = _read(asked, of_all, drawing, seed=seed or 0)
    if read is None:
        return Outcome()  # the first rank does what is left
    told, (asked, ratings) = asked, read

    with caught_interrupts():
        loading = time.monotonic() - began
        try:
            result = tune(
                ratings,
                trials=trials,
                timeout=None if timeout is None else timeout - loading,
                workers=workers,
                seed=seed,
                split=split,
                fresh=fresh,
                storage=asked.storage,
                study_name=asked.study_name,
                device=asked.device,
                keep=asked.keep,
                on_event=drawing,
            )
        except TuningError as error:
            complain(PROG, str(error))
            result = error.result
        drawing.say(f"\n{summary(result.record)}\n")
        if result.ended is not Ended.DONE:
            n, why = n_finished(result.study), result.ended.capitalize()
            where = f"after {n} of {trials} trials: the same command goes on"
            if n >= trials:
                where = "before the finalists were done: the same command goes on with them"
            drawing.say(f"{'Stopped' if result.ended is Ended.FAILED else why} {where}")
        files = _write_files(result, drawing)
        storage = storage_word(url)
        if storage == STORAGE:
            drawing.say("Storage: $STORAGE stands for the URL of --storage, for its password")
        if not is_proxy(url):  # which the dashboard does not know
            drawing.say(f"Look: optuna-dashboard {storage}")
        command = None
        if result.best:
            command = _next_command(result, asked, storage)
            if of_all is not ratings:
                command = _next_of_all(result, told, of_all, storage)
            drawing.say(f"Next: {command}")
    codes = {Ended.FAILED: FAILED, Ended.BY_HAND: INTERRUPTED}
    facts = {**_facts(result, shown(url)), "files": files, "next": command}
    return Outcome(code=codes.get(result.ended, 0), facts=facts)


def _read(
    asked: Asked, ratings: "Data", drawing: Drawing, *, seed: int
) -> "tuple[Asked, Data] | None":
    """What is asked, and the ratings, once they are read: of several ranks a sample, on the first
    one alone.
    """
    name = "Data"
    if ratings.ratings.world.size > 1:
        drawing.say(as_options(f"Data: {ratings.described()}"))
        if (sources := _sample(asked, ratings, seed)) is None:
            return None
        asked, name = replace(asked, sources=sources), "Sample"
        ratings = asked.load(drawing, alone=True)
        drawing.say("Trials and finalists: see a sample, all ratings of users drawn at random")
    asked = replace(asked, sources=_read_again(asked.sources, ratings))
    drawing.say(as_options(f"{name}: {ratings.described()}"))
    return asked, ratings


def _sample(asked: Asked, ratings: "Data", seed: int) -> "Sources | None":
    """Where the first of several ranks reads all ratings of users drawn at random, of as many
    ratings as trials see; None on the others.
    """
    from model.kernels.threads import n_threads, set_n_threads
    from storage.cache import kept
    from storage.database import parse_storage_url, runs_folder
    from study.shards import of_some_users
    from study.workers.joining import SEARCHED_RATINGS

    world = ratings.ratings.world
    table = of_some_users(ratings.table, world, n_ratings=SEARCHED_RATINGS, seed=seed)
    if table is None:
        return None
    path, columns = kept(table, runs_folder(parse_storage_url(asked.storage)) / "cache")
    n_beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    set_n_threads(n_threads() * n_beside)  # the others, which wait, need none
    return replace(asked.sources, data=path, columns=columns, missing=None)


def _read_again(told: "Sources", ratings: "Data") -> "Sources":
    """Where the next command reads what was told: of a stream what was kept."""
    found, file = ratings.sources, ratings.file
    is_stream = told.data and file and ratings.source != str(told.data)
    return replace(
        told,
        data=seen_from_here(file) if file and is_stream else told.data,
        items=told.items and seen_from_here(found.items),
        users=told.users and seen_from_here(found.users),
    )


def _write_files(result: "Result", drawing: Drawing) -> dict[str, str]:
    """Writes the table and the report of a study beside its database, and its note: the paths."""
    from storage.models import file_name
    from study.report.note import keep_note
    from study.report.summary import write_csv

    table = seen_from_here(result.folder) / f"{file_name(result.record.name)}.csv"
    write_csv(result.study, table)
    drawing.say(f"Table: {table}")
    report = seen_from_here(result.report())
    drawing.say(f"Report: {report}")
    keep_note(result.record, report=report)
    return {"table": str(table), "report": str(report)}


def _facts(result: "Result", storage: str) -> dict[str, object]:
    """What a study has come to, for --json."""
    from study.record.attributes import TrialView
    from study.record.record import n_finished

    best, begins = result.best, result.record.begins_with
    return {
        "study": result.record.name,
        "begins_with": (begins and begins["study"]) or None,
        "storage": storage,
        "data": result.ratings.source,
        "trials": n_finished(result.study),
        "ended": str(result.ended),
        "best_trial": best and best.trial.number,
        "best_setting": result.best_setting,
        "best_epoch": best and TrialView(best.trial).best_epoch,
        "validation_rmse": best and round(result.best_rmse, 6),
        "biases_rmse": round(result.biases_rmse, 6),
        "fresh_splits": _fresh(result),
    }


def _fresh(result: "Result") -> dict[str, object] | None:
    """What the best setting came to on the fresh splits of the finalists, if they have met."""
    held_out = result.record.held_out
    if not held_out or not result.best or held_out["trial"] != result.best.trial.number:
        return None
    rmse, low, high = held_out["rmse"]
    return {
        "splits": held_out["splits"],
        "rmse": {"value": rmse, "low": low, "high": high},
        "biases_rmse": held_out["biases_rmse"],
        "mean_rmse": held_out.get("mean_rmse"),
    }


def _next_of_all(result: "Result", asked: Asked, ratings: "Data", storage: str) -> str:
    """What trains the best setting that was found on a sample on all ratings of all ranks."""
    n = os.environ.get("LOCAL_WORLD_SIZE", "1")
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    how = "--standalone" if nodes == 1 else f"--nnodes {nodes} …"
    is_all = result.record.ratings_digest == ratings.table.digest
    same = asked if is_all else replace(asked, study_name=None)
    command = _next_command(result, same, storage)
    if not is_all:
        command += f" --setting-of {shlex.quote(result.record.name)}"
    begin = f"torchrun {how} --nproc-per-node {n} -m study.best_predict"
    return command.replace("python -m study.best_predict", begin).replace(
        as_called("python -m study.best_predict"), begin
    )


def _next_command(result: "Result", asked: Asked, storage: str) -> str:
    """What writes the predictions, of pairs in a table if none came with the ratings."""
    words = as_called("python -m study.best_predict").split()
    for word in asked.words:
        words.append(storage if word == asked.storage else shlex.quote(word))
    if not result.ratings.table.n_queries:
        words += ["--queries", "PAIRS.csv", "--out", "answers.csv"]
    return " ".join(words)


if __name__ == "__main__":
    main()
