"""Loads ratings, tunes for them, finds what was tuned: for Python, and what the commands call too.

Ratings and pairs come as files or as data frames, and answers go back in the kind of frame that
the pairs came in. Imports nothing heavy before it is called.
"""

import math
import time
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

from storage.errors import InputError, ParameterError
from storage.keeping import DEFAULT_KEEP, parse_size
from study.events import OnEvent, Said, ignored
from study.result import Ended, Result

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from optuna.storages import BaseStorage
    from sqlalchemy import URL

    from model.splits import Split
    from storage.sources import Sources
    from study.inputs import Data, Frame, Source
    from study.record.attributes import Beginning
    from study.record.record import Record
    from study.workers.interrupts import Interrupts
    from study.workers.job import Job
    from study.workers.joining import Joined

DEFAULT_STORAGE = "sqlite:///runs/study.db"
DEFAULT_TRIALS = 100


class TuningError(Exception):
    """Trials or workers keep failing; `result` is what was found until then."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def load(
    source: "Source | Frame | None" = None,
    *,
    columns: str | Sequence[str] | None = None,
    missing: float | None = None,
    items: "Source | Frame | None" = None,
    users: "Source | Frame | None" = None,
) -> "Data":
    """Ratings to tune for.

    Args:
        source: a file in any format that --data takes, the name of a public data set, a data frame
            (pandas, Polars, lazy too, Arrow, DuckDB, or another that speaks Arrow), a dict of
            columns, or rows: of user, item, rating and maybe time in this order, or dicts and the
            like with names; or a matrix of users × items, sparse, pivoted, or an array with NaN for
            what is not rated; if not told, ./mat_comp or the built-in demonstration. What was
            parsed from a file is kept in runs/cache.
        columns: which hold user, item and rating, by name or by position from 1, as in
            "user_id,movie_id,rating"; guessed where names make it plain. A fourth is the time,
            found by its name if not told.
        missing: the rating that stands for none, such as 99 or -1: rows with it are left out.
        items: a table that describes items, in any form that ratings have: its first column, or one
            called as in the ratings, has their ids.
        users: the same of users.

    Raises:
        InputError: it cannot be read, holds something else, or fewer than two ratings.
    """
    from storage.database import parse_storage_url, runs_folder
    from storage.sources import Sources, as_columns
    from study.inputs import load_data

    runs = runs_folder(parse_storage_url(DEFAULT_STORAGE))
    if missing is not None and not (isinstance(missing, Real) and math.isfinite(missing)):
        raise ParameterError("missing", f"expected a number, got {missing!r}")
    code = None if missing is None else float(missing)
    sources = Sources(
        data=source, columns=as_columns(columns), missing=code, items=items, users=users
    )
    return load_data(sources, runs=runs)


def tune(
    ratings: "Data | Source | Frame",
    *,
    trials: int = DEFAULT_TRIALS,
    timeout: float | None = None,
    workers: int | None = None,
    seed: int | None = None,
    split: str | None = None,
    fresh: bool = False,
    storage: str = DEFAULT_STORAGE,
    study_name: str | None = None,
    device: str = "auto",
    keep: str | int = DEFAULT_KEEP,
    quiet: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Runs a study of ratings, or goes on with one, until it has its trials: what it found.

    The same call goes on where another stopped, whatever stopped it, and where the study has its
    trials it returns at once. Ctrl-C ends it after the epoch that runs.

    Args:
        ratings: what `load` gave, or what it takes.
        trials: finished trials that the study is to have in all.
        timeout: seconds to stop after; a trial that is cut keeps its best epoch.
        workers: processes that run trials at once; as many as suit the machine if not told;
            1 in a process that may start no others, such as one of a Pool or of Celery.
        seed: of the split, the search and the training; 0 or the study's own if not told.
        split: which ratings validate: `random`, a tenth at random; `latest`, the latest tenth of
            each user's; `time`, the last tenth of all. If not told, or the study's own: trials are
            validated at random, and of ratings with times finalists meet on the latest besides.
        fresh: whether a new study is to begin anew where the database has one of nearly the same
            ratings, whose best settings come first otherwise.
        storage: the database, a SQLAlchemy URL.
        study_name: named after the ratings if not told.
        device: `auto`, `cpu` or `cuda`.
        keep: how much of the models and parsed files beside the database stays, as "5GB" or in
            bytes: beyond that what was used longest ago goes.
        quiet: whether to draw nothing, nor later in `predict`.
        on_event: told what goes on, here and in `predict`, in place of what is drawn.

    Raises:
        InputError: the ratings cannot be read, the database cannot be used, or the study is of
            other ratings, of another seed, or not fresh.
        TuningError: trials or workers keep failing.
    """
    _check(trials=trials, workers=workers)
    n_bytes = parse_size(keep)
    began, seconds = time.monotonic(), _seconds(timeout)
    with warnings.catch_warnings():  # a bar of tqdm, which is not shown, would miss ipywidgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        import optuna

    from model.kernels.threads import torch_in_one_thread
    from storage.database import (
        absolute,
        database_file,
        open_storage,
        parse_storage_url,
        runs_folder,
    )
    from storage.proxy import shown
    from study.inputs import check_device, choose_device
    from study.record.studies import check_others, default_name, stored_seed
    from study.workers.clock import Clock
    from study.workers.crew import Crew
    from study.workers.interrupts import caught_interrupts
    from study.workers.job import Job, Whole
    from study.workers.joining import join
    from study.workers.processes import prepare

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    on_event = _drawn(on_event, quiet=quiet)
    url = parse_storage_url(storage)
    where = absolute(url)
    folder = runs_folder(where).absolute()
    check_device(device)
    data = _loaded(ratings, url=url, on_event=on_event)
    torch_device = choose_device(device, data.totals.n_ratings)
    with caught_interrupts() as interrupts, torch_in_one_thread():
        opened = open_storage(
            url,
            on_wait=lambda why: on_event(Said(f"Waiting for the database: {why}")),
            give_up=interrupts,
        )
        name = study_name or default_name(data.table)
        _check_files(url, data, name)
        if database_file(url) is None and study_name is None:
            demo = data.is_demonstration
            check_others(opened, name, source=data.source, is_demonstration=demo)
        searched = data.sample or data
        n_workers = _n_workers(workers, searched.totals.n_ratings, torch_device)
        if n_workers > 1:
            prepare()
        job = Job(
            storage=str(where) if database_file(where) else storage,
            study_name=name,
            total=trials,
            sources=_sources(searched, folder, n_workers=n_workers),
            whole=Whole.of(data) if data.sample else None,
            folder=folder,
            device=device,
            seed=seed if seed is not None else stored_seed(opened, name) or 0,
            fresh=fresh,
            split=_as_split(split, data),
            clock=Clock(seconds=seconds, end=began + seconds, n_workers=n_workers),
        )
        joined = join(job, searched, opened, interrupted=interrupts, crew=Crew.of(data))
        failure = _run(job, joined, interrupts, where=shown(url), on_event=on_event)
    result = Result(
        record=joined.record,
        ratings=data,
        storage=shown(where),
        folder=folder,
        device=torch_device,
        ended=Ended.FAILED if failure else _ended(joined.record, trials, interrupts),
        keep=n_bytes,
        on_event=on_event,
    )
    result.tidy()
    if failure:
        raise TuningError(str(failure), result) from failure
    return result


def find(
    ratings: "Data | Source | Frame",
    *,
    storage: str = DEFAULT_STORAGE,
    study_name: str | None = None,
    setting_of: str | None = None,
    device: str = "auto",
    keep: str | int = DEFAULT_KEEP,
    quiet: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """What a study of these ratings has found so far; nothing is run.

    Args:
        ratings: what `load` gave, or what it takes.
        storage: the database, a SQLAlchemy URL.
        study_name: named after the ratings if not told.
        setting_of: a study of other ratings, such as last week's, whose best settings are to be
            trained on these; nothing is kept with it.
        device: `auto`, `cpu` or `cuda`, for later.
        keep: how much of the models and parsed files beside the database stays after `predict`.
        quiet: whether to draw nothing in `predict`.
        on_event: told what goes on in `predict`, in place of what is drawn.

    Raises:
        InputError: the ratings cannot be read, or there is no study of them in the database.
    """
    import optuna

    from storage.database import (
        absolute,
        check_database,
        open_storage,
        parse_storage_url,
        runs_folder,
    )
    from storage.proxy import shown
    from study.inputs import check_device, choose_device
    from study.record.liveness import is_running
    from study.record.ranking import is_decided

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    on_event = _drawn(on_event, quiet=quiet)
    url = parse_storage_url(storage)
    check_database(url, must_exist=True)
    check_device(device)
    n_bytes = parse_size(keep)
    if study_name and setting_of:
        raise ParameterError("setting_of", "expected no study_name= beside it")
    data = _loaded(ratings, url=url, on_event=on_event)
    record = _found(open_storage(url, to_read=True), data, name=study_name, other=setting_of)
    ended = Ended.DONE if is_decided(record.study) else Ended.UNDECIDED
    return Result(
        record=record,
        ratings=data,
        storage=shown(absolute(url)),
        folder=runs_folder(url).absolute(),
        device=choose_device(device, data.totals.n_ratings),
        ended=Ended.RUNNING if is_running(record.study) else ended,
        keep=n_bytes,
        on_event=on_event,
    )


def _found(
    storage: "BaseStorage", data: "Data", *, name: str | None, other: str | None
) -> "Record":
    """The study of that name, of these ratings; or another one, of whatever ratings."""
    from model.splits import Split
    from study.record.likeness import Hashed
    from study.record.record import Borrowed
    from study.record.studies import default_name, find_study, known_study

    if other is None:
        name = name or default_name(data.table)
        return find_study(storage, name, data.table, about=data.source)
    record, digest = known_study(storage, other), data.table.digest
    if record.ratings_digest == digest:
        return record
    if data.ratings.times is None and record.kinds[0] is not Split.RANDOM:
        raise InputError(
            f"study '{other}': was made with split={record.kinds[0]}, and these ratings have no "
            "times"
        )
    are_near = Hashed(data.table, data.ratings.world).shared_with(record.sample) > 0
    return Borrowed(record, ratings_digest=digest, are_near=are_near)


def _run(
    job: "Job", joined: "Joined", interrupts: "Interrupts", *, where: str, on_event: OnEvent
) -> Exception | None:
    """Does what there is to do in a study, in view: the failure that cut it, if one did."""
    from model.kernels.compiling import where_kept
    from model.logarithmic import has_heavy_tail
    from model.solvers import SOLVERS
    from study.record.ranking import is_decided
    from study.record.record import n_finished
    from study.workers.claims import StudyFailedError
    from study.workers.context import has_context, record_context
    from study.workers.held_out import record_held_out
    from study.workers.team import WorkerError, run_job
    from study.workers.trials import try_cut_again

    study, crew, failure = joined.record.study, joined.finalists.crew, None
    before = n_finished(study)
    over = before >= job.total and (is_decided(study) or joined.finalists.look().decided)
    of = f" of {job.total}" if before <= job.total else ""
    more = f", more than the {job.total} asked for" if before > job.total else ""
    note = ", nothing left to run" if over else ""
    on_event(Said(f"Study: {job.study_name}, {before}{of} trials finished{more}{note}, {where}"))
    if not over and (begins := joined.record.begins_with):
        _tell_beginning(begins, on_event)
    if joined.n_searched < crew.n_ratings:
        users = f"{joined.objective.training.n_users:,} users drawn at random"
        text = f"Trials: see {joined.n_searched:,} ratings, of {users}; finalists see all"
        on_event(Said(text))
    if crew.world.size > 1 and not over:
        alone = [name for name in SOLVERS if not crew.can_train(name)]
        note = f", which cannot train {_listed(alone)}" if alone else ""
        on_event(Said(f"Finalists: meet on all ranks{note}"))
    if has_context(crew.ratings) and not over:
        users, others = (
            _listed(name for name, one in SOLVERS.items() if one.uses_context is told)
            for told in (True, False)
        )
        on_event(Said(f"Times and descriptions: used by {users}; {others} do without"))
    if not over:
        if has_heavy_tail(joined.objective.training):
            on_event(Said("Heavy tails: learned by logarithms, answered in rating units"))
        if note := where_kept():
            on_event(Said(note))
        if before < job.total:
            try_cut_again(joined.record)
        try:
            run_job(job, joined, interrupts=interrupts, on_event=on_event)
        except (StudyFailedError, WorkerError) as error:
            failure = error
    record_held_out(joined.finalists, biases_rmse=joined.biases_rmse, mean_rmse=joined.mean_rmse)
    if is_decided(study) and not failure:
        record_context(
            joined.finalists,
            go_on=lambda: not (interrupts() or job.clock.is_over),
            on_event=on_event,
        )
    crew.release()
    return failure


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _tell_beginning(begins: "Beginning", on_event: OnEvent) -> None:
    if begins["study"]:
        n = len(begins["settings"])
        best = f"its best {n} settings" if n > 1 else "its best setting"
        on_event(Said(f"Begins with: {begins['study']}, {best}"))
    elif note := begins.get("note"):
        on_event(Said(f"Begins anew: {note}"))


def _ended(record: "Record", trials: int, interrupts: "Interrupts") -> Ended:
    """How a study ended that nothing cut, which was to have so many trials."""
    from study.record.ranking import is_decided
    from study.record.record import n_finished

    if n_finished(record.study) >= trials and is_decided(record.study):
        return Ended.DONE
    return Ended.BY_HAND if interrupts() else Ended.TIME_IS_UP


def _check_files(url: "URL", data: "Data", name: str) -> None:
    """Raises InputError if the files beside the database could not be written at the end."""
    from storage.database import database_file, runs_folder
    from storage.models import file_name
    from storage.predictions import check_writable

    precious = [path for path in (*data.files, database_file(url)) if path is not None]
    for kind in ("csv", "html"):
        path = runs_folder(url) / f"{file_name(name)}.{kind}"
        check_writable(path, precious=precious, makes_folder=True)


def _drawn(on_event: OnEvent | None, *, quiet: bool) -> OnEvent:
    """What is told of events: who was named, or else a drawing on standard output."""
    from study.drawing import Drawing

    if on_event is not None:
        return on_event
    return ignored if quiet else Drawing()


def _as_split(split: str | None, data: "Data") -> "Split | None":
    from model.splits import Split

    if split is None:
        return None
    kinds = (Split.RANDOM, Split.LATEST, Split.TIME)
    if split not in kinds:
        raise ParameterError("split", f"expected {', '.join(kinds)}, got {split!r}")
    if split != Split.RANDOM and data.ratings.times is None:
        raise ParameterError("split", f"{split} was asked for, but the ratings have no times")
    return Split(split)


def _loaded(ratings: object, *, url: "URL", on_event: OnEvent) -> "Data":
    """What `load` gave, or gives now."""
    from storage.database import runs_folder
    from study.inputs import Data, load_data

    if isinstance(ratings, Data):
        return ratings
    if ratings is None:
        raise ParameterError("ratings", "expected ratings, got None")
    data = load_data(ratings, runs=runs_folder(url), on_event=on_event)
    on_event(Said(f"Data: {data.described()}"))
    return data


def _n_workers(asked: int | None, n_ratings: int, device: "torch.device") -> int:
    """As many as were asked for, or as suit."""
    from study.workers.processes import may_start
    from study.workers.team import suitable_workers

    if (asked or 1) > 1 and not may_start():
        got = f"got {asked} in a daemonic process, which may start no others"
        raise ParameterError("workers", f"expected 1, {got}")
    return asked or suitable_workers(n_ratings, device)


def _sources(data: "Data", folder: "Path", *, n_workers: int) -> "Sources":
    """Where workers read the data: processes of their own cannot read frames."""
    return data.in_files(folder / "cache") if n_workers > 1 else data.sources


def _seconds(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if not isinstance(timeout, Real):
        raise ParameterError("timeout", f"expected a number of seconds, got {timeout!r}")
    return float(timeout)


def _check(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and (not isinstance(number, Integral) or number < 1):
            raise ParameterError(name, f"expected a whole number, 1 or more, got {number!r}")
