"""`python -m study.best_predict`: trains the best setting on every rating, answers the queries."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storage.errors import InputError, ParameterError
from study.cli import Asked, Outcome, as_options, complain, refuse_beside_model, run_command
from study.drawing import Drawing
from study.options import (
    DATA,
    DEVICE,
    KEEP,
    MODEL,
    OUTPUT,
    SETTING_OF,
    AnswersPath,
    FilePath,
    FolderPath,
    Number,
    options,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.ratings import IdArray
    from study.answers.intervals import Calibration
    from study.inputs import Data
    from study.result import Answers, Result

PROG = "study.best_predict"
EPILOG = """\
examples:
  python -m study.best_predict                       the best for ./mat_comp
  python -m study.best_predict --average 5           the mean of the five best
  python -m study.best_predict --truth answers       and how far off
  python -m study.best_predict --intervals sure.csv  and how sure each one is
  python -m study.best_predict --data ratings.csv --queries pairs.csv \\
      --out answers.csv
  python -m study.best_predict --data next-week.csv --setting-of STUDY \\
      --queries pairs.csv --out answers.csv
  python -m study.best_predict --save-model movies.model
  python -m study.best_predict --model movies.model --queries pairs.csv \\
      --out answers.csv

ratings that outgrow one machine, on 4 processes that share the users out:
  torchrun --standalone --nproc-per-node 4 -m study.best_predict \\
      --data ratings/ --queries pairs/ --out answers/
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
    run_command(best_predict, PROG, arguments, epilog=EPILOG, may_share=True)


@options(
    DATA,
    SETTING_OF,
    DEVICE,
    MODEL,
    click.option(
        "--out",
        type=AnswersPath(),
        default=Path("mat_comp_ans"),
        show_default=True,
        metavar="FILE",
        help="Where the predictions go: with .csv, .tsv or .parquet at the end a table of user, "
        "item and prediction, else one prediction a line; with a slash a folder of Parquet files.",
    ),
    click.option(
        "--queries",
        type=FilePath(),
        metavar="FILE",
        help="The pairs to predict, a table whose columns are called as in the ratings, or "
        "user_id and item_id; those in a mat_comp file if not told. If it has ratings too, "
        "predictions are scored by them.",
    ),
    click.option(
        "--average",
        type=Number(1, whole=True),
        metavar="K",
        help="Average the models of the K best settings; as many as the finalists found worth it "
        "if not told.",
    ),
    click.option(
        "--intervals",
        type=FilePath(),
        metavar="FILE",
        help="A table with the predictions, their standard deviations and 90 % intervals, "
        "calibrated on held-out ratings: one more training each.",
    ),
    click.option(
        "--save-model",
        type=FilePath(),
        metavar="FILE",
        help="A model to hold, to serve and to export, in one file; then --queries may be left "
        "out. It answers without the study and the ratings.",
    ),
    click.option(
        "--truth",
        type=FilePath(),
        metavar="FILE",
        help="The true ratings of the queries, one a line or a table: prints RMSE, MAE and MSE.",
    ),
    KEEP,
    OUTPUT,
)
def best_predict(
    drawing: Drawing,
    *,
    asked: Asked,
    model: Path | None,
    out: Path,
    queries: Path | None,
    average: int | None,
    intervals: Path | None,
    save_model: Path | None,
    truth: Path | None,
) -> Outcome:
    """Trains the best setting of a study on every rating and writes one predicted rating a line,
    in the order of the queries.
    """
    if model is not None:
        refuse_beside_model("average", "save_model")
        return _by_model(model, drawing, queries=queries, out=out, intervals=intervals, truth=truth)
    with drawing.status("Reading the ratings…"):
        from storage.database import database_file
        from study.result import Ended

        url = asked.url(must_exist=True)
        result = asked.find(asked.load(drawing), drawing)
        world = result.ratings.ratings.world
        if world.size > 1 and save_model is not None:
            raise ParameterError(
                "save_model",
                f"expected one process, got {world.size} ranks; it loads what these have trained",
            )
        is_asked = queries is not None or result.ratings.totals.n_queries or save_model is None
        pairs = result.asked(queries) if is_asked else result.ratings
    n_queries = pairs.totals.n_queries
    told = _truth_told(truth, pairs) if truth is not None else None
    precious = list(filter(None, (*pairs.files, queries, truth, database_file(url))))

    writes = list(filter(None, (out if is_asked else None, intervals, save_model)))
    world.of_first(lambda: _check_files(writes, precious, any_name=save_model), InputError)
    if pairs.doubt:
        complain(PROG, pairs.doubt)
    drawing.say(as_options(f"Data: {pairs.described()}"))
    note = ", still running: the best so far" if result.ended is Ended.RUNNING else ""
    drawing.say(f"{_study_of(result)}{note}")
    facts: dict[str, object] = {
        "study": result.record.name,
        "data": pairs.source,
        "predictions": n_queries,
        "files": {
            "out": str(out) if is_asked else None,
            "intervals": intervals and str(intervals),
            "model": save_model and str(save_model),
        },
    }
    if is_asked:
        with drawing.status("Predicting…"):
            answers = result.answer(pairs, average=average)
        _write(out, pairs, {"prediction": answers.predictions})
        drawing.say(f"Wrote: {out}, {n_queries:,} predictions")
        settings = answers.ensemble.settings
        facts["trials"] = [setting.trial.number for setting in settings]
        facts["validation_rmse"] = round(settings[0].rmse, 6)
        if intervals is not None:
            _write_intervals(intervals, answers, pairs, drawing)
    if save_model is not None:
        with drawing.status("Making the model…"):
            made = result.model(average=average)
            made.save(save_model)
        size = save_model.stat().st_size
        drawing.say(f"Wrote: {save_model}, a model to hold and to serve, {size / 1e6:,.0f} MB")
        if (kind := made.card["answers_like"]) != "random":
            drawing.say(f"It answers for the present, at the level of later ratings: split {kind}")
    if is_asked and n_queries and (truth is not None or pairs.truth is not None):
        if truth is None and queries is not None:
            drawing.say(_scored_against(pairs.truth_name, pairs.asked_of))
        name = str(truth or pairs.asked_of or pairs.source)
        facts["score"] = _score(answers.predictions, told, pairs, name, drawing)
    result.tidy()
    return Outcome(facts=facts)


def _by_model(
    path: Path,
    drawing: Drawing,
    *,
    queries: Path | None,
    out: Path,
    intervals: Path | None,
    truth: Path | None,
) -> Outcome:
    """What a saved model predicts, by its compact form."""
    if queries is None:
        raise click.UsageError("Expected --queries FILE, with the pairs that --model is to predict")
    if isinstance(out, FolderPath) or isinstance(intervals, FolderPath):
        raise click.UsageError("Expected files for what --model predicts, got a folder")
    with drawing.status("Reading the model…"):
        from storage.predictions import write_answers, write_columns
        from storage.truths import read_truth
        from study.held import Model
        from study.known import doubt_of_queries

        held = Model.load(path)
        known, asked = held.known, held.asked(queries)
    true = asked.ratings
    if truth is not None:
        names = (asked.user_name, asked.item_name, known.rating_name or "rating")
        true = read_truth(truth, asked.user_ids, asked.item_ids, names=names)
    precious = list(filter(None, (path, queries, truth)))
    _check_files(list(filter(None, (out, intervals))), precious, any_name=None)
    n, n_known = len(asked.user_ids), known.n_met(asked.user_ids, asked.item_ids)
    if doubt := doubt_of_queries(n, n_known=n_known):
        complain(PROG, doubt)
    drawing.say(f"Model: {path}, {held.data}")
    drawing.say(f"Queries: {queries}, {asked.about}, {n - n_known:,} of unknown users or items")
    with drawing.status("Predicting…"):
        pairs = known.index(asked)
        columns = held.answers(pairs)
    ids = [(asked.user_name, asked.user_ids), (asked.item_name, asked.item_ids)]
    write_answers(out, ids, columns["prediction"])
    drawing.say(f"Wrote: {out}, {n:,} predictions")
    facts: dict[str, object] = {
        "model": str(path),
        "predictions": n,
        "files": {"out": str(out), "intervals": intervals and str(intervals)},
    }
    if intervals is not None and held.calibration:
        write_columns(intervals, [*ids, *columns.items()])
        _say_calibrated(intervals, held.calibration, drawing)
    if true is not None:
        if truth is None:
            drawing.say(_scored_against(asked.rating_name, str(queries)))
        if doubt := known.doubt_of_range(true):
            complain(PROG, doubt)
        learned, source = known.are_rated(pairs), str(truth or queries)
        facts["score"] = _errors(
            columns["prediction"], true, learned, asked.user_ids, source=source, drawing=drawing
        )
    return Outcome(facts=facts)


def _check_files(writes: Sequence[Path], precious: list[Path], *, any_name: Path | None) -> None:
    """Raises InputError if a file or folder could or should not be written.

    Args:
        writes: what is to be written.
        precious: files that must stay as they are.
        any_name: the file whose name may end as it likes.
    """
    from storage.predictions import check_ending, check_new_folder, check_writable

    for path in writes:
        if isinstance(path, FolderPath):
            check_new_folder(path, precious=precious)
            continue
        check_writable(path, precious=precious)
        if path != any_name:
            check_ending(path)
        precious.append(path)


def _truth_told(path: Path, pairs: "Data") -> "NDArray[np.float64] | None":
    """The (n_queries,) ratings in a file of those of all ranks' queries, on the first rank."""
    from storage.truths import read_truth

    world, table, given = pairs.ratings.world, pairs.table, pairs.of_all_queries({})

    def read() -> "NDArray[np.float64]":
        assert given is not None
        return read_truth(
            path,
            given[0].query_user_ids,
            given[0].query_item_ids,
            names=(table.user_name, table.item_name, table.rating_name or "rating"),
            positions=pairs.positions,
        )

    return world.of_first(read, InputError)


def _write(path: Path, pairs: "Data", columns: "Mapping[str, NDArray[np.float64]]") -> None:
    """Writes (n_queries,) columns of all ranks' queries: the first rank to a file, or each its own
    to a folder.
    """
    from storage.predictions import (
        asked_ids,
        begun_folder,
        finish_folder,
        write_answers,
        write_columns,
        write_part,
    )

    world = pairs.ratings.world
    if isinstance(path, FolderPath):
        begun = world.everyones(world.of_first(lambda: begun_folder(path), InputError))[0]
        assert begun is not None
        try:
            own = [*asked_ids(pairs.table), *columns.items()]
            world.together(lambda: write_part(begun, own, rank=world.rank), InputError)
            world.of_first(lambda: finish_folder(begun, path), InputError)
        except InputError:
            shutil.rmtree(begun, ignore_errors=True)
            raise
        return
    found = pairs.of_all_queries(columns)

    def write() -> None:
        assert found is not None
        table, of_all = found
        if list(of_all) == ["prediction"]:
            write_answers(path, asked_ids(table), of_all["prediction"])
        else:
            write_columns(path, [*asked_ids(table), *of_all.items()])

    world.of_first(write, InputError)


def _study_of(result: "Result") -> str:
    """Whose settings answer, for people."""
    if not result.is_borrowed:
        return f"Study: {result.record.name}"
    like = "nearly the same" if result.record.tells_levels else "other"
    return f"Settings of: {result.record.name}, tuned on {like} ratings"


def _write_intervals(path: Path, answers: "Answers", pairs: "Data", drawing: Drawing) -> None:
    with drawing.status("Calibrating the intervals…"):
        calibration = answers.calibration
    _write(path, pairs, answers.intervals)
    _say_calibrated(path, calibration, drawing)


def _say_calibrated(path: Path, calibration: "Calibration", drawing: Drawing) -> None:
    n = calibration.n_ratings
    drawing.say(f"Wrote: {path}, 90 % intervals, calibrated on {n:,} held-out ratings")
    if calibration.doubt:
        complain(PROG, calibration.doubt)


def _scored_against(column: str, source: str) -> str:
    return f"Scored against: {f'column {column}' if column else 'the ratings'} of {source}"


def _score(
    predictions: "NDArray[np.float64]",
    told: "NDArray[np.float64] | None",
    data: "Data",
    source: str,
    drawing: Drawing,
) -> dict[str, object] | None:
    """Tells how far the predictions are from the truth of a source, where it is known; the same for
    --json. Nothing on other ranks than the first.

    Args:
        predictions: (n_queries,) of this rank.
        told: the truth of all, if it does not come with the queries.
        data: with the queries.
        source: of the truth.
        drawing: that tells.
    """
    own = {"prediction": predictions, "learned": data.known.are_rated(data.queries)}
    if data.truth is not None:
        own["truth"] = data.truth
    if (found := data.of_all_queries(own)) is None:
        return None
    table, columns = found
    truth = columns["truth"] if told is None else told
    if doubt := data.known.doubt_of_range(truth):
        complain(PROG, doubt)
    learned, users = columns["learned"], table.query_user_ids
    figures = _errors(columns["prediction"], truth, learned, users, source=source, drawing=drawing)
    if data.noise_std is not None:
        drawing.say(f"Noise floor: RMSE {data.noise_std:.4f}, of the planted model itself")
    return figures


def _errors(
    predictions: "NDArray[np.float64]",
    truth: "NDArray[np.float64]",
    learned: "NDArray[np.bool_]",
    users: "IdArray",
    *,
    source: str,
    drawing: Drawing,
) -> dict[str, object]:
    """Tells how far (n,) predictions are from the (n,) truth, where it is known; for --json.

    Args:
        predictions: of n pairs.
        truth: of them.
        learned: which were learned from.
        users: of the pairs.
        source: of the truth.
        drawing: that tells.
    """
    import numpy as np

    from study.answers.evaluation import doubt_of
    from study.answers.scores import score

    known = ~np.isnan(truth)
    if doubt := doubt_of(int(learned[known].sum()), int(known.sum()), source):
        complain(PROG, doubt)
    user_index = np.unique(users, return_inverse=True)[1]
    errors = score(predictions[known], truth[known], user_index[known])
    figures = {"RMSE": errors.rmse, "MAE": errors.mae, "MSE": errors.mse}
    for name, figure in figures.items():
        drawing.say(f"{name}: {figure}")
    return {name.lower(): figure.to_dict() for name, figure in figures.items()}


if __name__ == "__main__":
    main()
