"""`python -m study.run`: runs a study, or goes on with one, until it has its trials."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from storage.errors import InputError
from study.cli import (
    FAILED,
    INTERRUPTED,
    STORAGE,
    Asked,
    Outcome,
    as_called,
    as_options,
    complain,
    ranks,
    run_command,
    seen_from_here,
    storage_word,
)
from study.drawing import Drawing
from study.options import DATA, DEVICE, KEEP, OUTPUT, Number, options
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
        type=Number(1, whole=True),
        default=DEFAULT_TRIALS,
        show_default=True,
        metavar="N",
        help="Finished trials that the study is to have in all.",
    ),
    click.option(
        "--timeout",
        type=Number(0),
        metavar="SECONDS",
        help="Stop after so long; a trial that is cut keeps its best epoch.",
    ),
    click.option(
        "--workers",
        type=Number(1, whole=True),
        metavar="W",
        help="Processes that run trials at once, cores divided among them; what suits the machine "
        "and the data if not told. With 1 the same seed gives the same trials.",
    ),
    click.option(
        "--seed",
        type=Number(0, whole=True),
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
        from study.inputs import check_device
        from study.record.record import n_finished
        from study.report.summary import summary
        from study.result import Ended
        from study.workers.interrupts import caught_interrupts

        url = asked.url()
        check_device(asked.device)
        ratings = _on_first_rank(asked, asked.load(drawing), drawing, seed=seed)
    if ratings is None:
        return Outcome()
    asked = replace(asked, sources=_read_again(asked.sources, ratings))
    drawing.say(as_options(f"Data: {ratings.described()}"))

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
            drawing.say(f"Next: {command}")
    codes = {Ended.FAILED: FAILED, Ended.BY_HAND: INTERRUPTED}
    facts = {**_facts(result, shown(url)), "files": files, "next": command}
    return Outcome(code=codes.get(result.ended, 0), facts=facts)


def _on_first_rank(
    asked: Asked, ratings: "Data", drawing: Drawing, *, seed: int | None
) -> "Data | None":
    """The ratings; of several ranks the first one's, with a sample for trials. None on the others,
    which have done by then what that one says.
    """
    from model.kernels.threads import set_n_threads, suitable_threads
    from storage.cache import kept
    from storage.database import open_storage, parse_storage_url, runs_folder
    from study.record.studies import default_name, stored_seed
    from study.shards import of_some_users
    from study.workers.crew import follow
    from study.workers.joining import SEARCHED_RATINGS

    world, url = ratings.ratings.world, parse_storage_url(asked.storage)
    if world.size == 1:
        return ratings
    if seed is None:
        name = asked.study_name or default_name(ratings.table)
        stored = world.of_first(lambda: stored_seed(open_storage(url), name), InputError)
        seed = world.everyones(stored)[0] or 0
    table = of_some_users(ratings.table, world, n_ratings=SEARCHED_RATINGS, seed=seed)
    if table is None:
        follow(ratings)
        return None
    n_beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    set_n_threads(suitable_threads() * n_beside)  # of the others, which wait while trials run
    path, columns = kept(table, runs_folder(url) / "cache")
    sources = replace(ratings.sources, data=path, columns=columns, missing=None)
    return replace(ratings, sample=replace(asked, sources=sources).load(drawing, alone=True))


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


def _next_command(result: "Result", asked: Asked, storage: str) -> str:
    """What writes the predictions, of pairs in a table if none came with the ratings."""
    words = [*_torchrun(), "study.best_predict"]
    if len(words) == 1:
        words = as_called("python -m study.best_predict").split()
    for word in asked.words:
        words.append(storage if word == asked.storage else shlex.quote(word))
    if not result.ratings.table.n_queries:
        words += ["--queries", "PAIRS.csv", "--out", "answers.csv"]
    return " ".join(words)


def _torchrun() -> list[str]:
    """What starts as many ranks as there are now; empty if this process is alone."""
    if ranks()[1] == 1:
        return []
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    how = ["--standalone"] if nodes == 1 else ["--nnodes", str(nodes), "…"]
    return ["torchrun", *how, "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "1"), "-m"]


if __name__ == "__main__":
    main()
