"""`python -m study.best_predict`: trains the best setting on every rating, answers the queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import (
    DATA,
    DEVICE,
    KEEP,
    MODEL,
    OUTPUT,
    SETTING_OF,
    Asked,
    AtLeast,
    FilePath,
    Outcome,
    as_options,
    complain,
    options,
    refuse_beside_model,
    run_command,
)
from study.drawing import Drawing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.dataset import Pairs
    from storage.ratings import IdArray
    from study.answers.intervals import Calibration
    from study.inputs import Data
    from study.known import Known
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
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
    run_command(best_predict, PROG, arguments, epilog=EPILOG)


@options(
    DATA,
    SETTING_OF,
    DEVICE,
    MODEL,
    click.option(
        "--out",
        type=FilePath(),
        default=Path("mat_comp_ans"),
        show_default=True,
        metavar="FILE",
        help="Where the predictions go: with .csv, .tsv or .parquet at the end a table of user, "
        "item and prediction, else one prediction a line.",
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
        type=AtLeast(1),
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
        from storage.predictions import asked_ids, write_answers
        from storage.truths import read_truth
        from study.result import Ended

        url = asked.url(must_exist=True)
        result = asked.find(asked.load(drawing), drawing)
        is_asked = queries is not None or result.ratings.table.n_queries or save_model is None
        pairs = result.asked(queries) if is_asked else result.ratings
    true, table = pairs.truth, pairs.table
    if truth is not None:
        true = read_truth(
            truth,
            table.query_user_ids,
            table.query_item_ids,
            names=(table.user_name, table.item_name, table.rating_name or "rating"),
            positions=pairs.positions,
        )
    precious = [*pairs.files, queries, truth, database_file(url)]
    _check_files(out if is_asked else None, intervals, save_model=save_model, precious=precious)

    if pairs.doubt:
        complain(PROG, pairs.doubt)
    drawing.say(as_options(f"Data: {pairs.described()}"))
    note = ", still running: the best so far" if result.ended is Ended.RUNNING else ""
    drawing.say(f"{_study_of(result)}{note}")
    facts: dict[str, object] = {
        "study": result.record.name,
        "data": pairs.source,
        "predictions": pairs.table.n_queries,
        "files": {
            "out": str(out) if is_asked else None,
            "intervals": intervals and str(intervals),
            "model": save_model and str(save_model),
        },
    }
    if is_asked:
        with drawing.status("Predicting…"):
            answers = result.answer(pairs, average=average)
        write_answers(out, asked_ids(pairs.table), answers.predictions)
        drawing.say(f"Wrote: {out}, {pairs.table.n_queries:,} predictions")
        settings = answers.ensemble.settings
        facts["trials"] = [setting.trial.number for setting in settings]
        facts["validation_rmse"] = round(settings[0].rmse, 6)
        if intervals is not None:
            _write_intervals(intervals, answers, pairs, drawing)
    if save_model is not None:
        with drawing.status("Making the model…"):
            result.model(average=average).save(save_model)
        size = save_model.stat().st_size
        drawing.say(f"Wrote: {save_model}, a model to hold and to serve, {size / 1e6:,.0f} MB")
    if is_asked and true is not None and pairs.table.n_queries:
        if truth is None and queries is not None:
            drawing.say(_scored_against(pairs.truth_name, pairs.asked_of))
        facts["score"] = _score(
            answers.predictions,
            true,
            pairs.known,
            pairs.queries,
            users=table.query_user_ids,
            source=str(truth or pairs.asked_of or pairs.source),
            drawing=drawing,
        )
        if pairs.noise_std is not None:
            drawing.say(f"Noise floor: RMSE {pairs.noise_std:.4f}, of the planted model itself")
    result.tidy()
    return Outcome(facts=facts)


def _study_of(result: "Result") -> str:
    """Whose settings answer, for people."""
    if not result.is_borrowed:
        return f"Study: {result.record.name}"
    like = "nearly the same" if result.record.tells_levels else "other"
    return f"Settings of: {result.record.name}, tuned on {like} ratings"


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
    _check_files(out, intervals, precious=[path, queries, truth])
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
        facts["score"] = _score(
            columns["prediction"],
            true,
            known,
            pairs,
            users=asked.user_ids,
            source=str(truth or queries),
            drawing=drawing,
        )
    return Outcome(facts=facts)


def _check_files(
    *answers: Path | None, save_model: Path | None = None, precious: Sequence[Path | None]
) -> None:
    """Raises InputError if an answer or a model could or should not be written."""
    from storage.predictions import check_ending, check_writable

    used = [path for path in precious if path is not None]
    for path in filter(None, (*answers, save_model)):
        check_writable(path, precious=used)
        if path != save_model:
            check_ending(path)
        used.append(path)


def _write_intervals(path: Path, answers: "Answers", pairs: "Data", drawing: Drawing) -> None:
    from storage.predictions import asked_ids, write_columns

    with drawing.status("Calibrating the intervals…"):
        calibration = answers.calibration
    write_columns(path, [*asked_ids(pairs.table), *answers.intervals.items()])
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
    truth: "NDArray[np.float64]",
    known: "Known",
    pairs: "Pairs",
    *,
    users: "IdArray",
    source: str,
    drawing: Drawing,
) -> dict[str, object]:
    """Tells how far (n,) predictions are from the (n,) truth of a source, where it is known; the
    same for --json.
    """
    import numpy as np

    from study.answers.evaluation import doubt_of
    from study.answers.scores import score

    told = ~np.isnan(truth)
    n_learned = int(known.are_rated(pairs)[told].sum())
    if doubt := doubt_of(n_learned, int(told.sum()), source):
        complain(PROG, doubt)
    user_index = np.unique(users, return_inverse=True)[1]
    found = score(predictions[told], truth[told], user_index[told])
    figures = {"RMSE": found.rmse, "MAE": found.mae, "MSE": found.mse}
    for name, figure in figures.items():
        drawing.say(f"{name}: {figure}")
    return {name.lower(): figure.to_dict() for name, figure in figures.items()}


if __name__ == "__main__":
    main()
