"""`python -m study.best_predict`: trains the best setting on every rating, answers the queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import (
    DATA,
    DEVICE,
    KEEP,
    OUTPUT,
    SETTING_OF,
    Asked,
    AtLeast,
    FilePath,
    Outcome,
    as_options,
    complain,
    options,
    run_command,
)
from study.drawing import Drawing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
    run_command(best_predict, PROG, arguments, epilog=EPILOG)


@options(
    DATA,
    SETTING_OF,
    DEVICE,
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
    with drawing.status("Reading the ratings…"):
        from storage.database import database_file
        from storage.predictions import check_ending, check_writable, write_answers
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
    precious = list(filter(None, (*pairs.files, queries, truth, database_file(url))))
    for path in filter(None, (out if is_asked else None, intervals, save_model)):
        check_writable(path, precious=precious)
        if path != save_model:
            check_ending(path)
        precious.append(path)

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
        write_answers(out, pairs.table, answers.predictions)
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
            named = f"column {pairs.truth_name}" if pairs.truth_name else "the ratings"
            drawing.say(f"Scored against: {named} of {pairs.asked_of}")
        name = str(truth or pairs.asked_of or pairs.source)
        facts["score"] = _score(answers.predictions, true, pairs, name, drawing)
    result.tidy()
    return Outcome(facts=facts)


def _study_of(result: "Result") -> str:
    """Whose settings answer, for people."""
    if not result.is_borrowed:
        return f"Study: {result.record.name}"
    like = "nearly the same" if result.record.tells_levels else "other"
    return f"Settings of: {result.record.name}, tuned on {like} ratings"


def _write_intervals(path: Path, answers: "Answers", pairs: "Data", drawing: Drawing) -> None:
    from storage.predictions import write_table

    with drawing.status("Calibrating the intervals…"):
        calibration = answers.calibration
    write_table(path, pairs.table, answers.intervals)
    n = calibration.n_ratings
    drawing.say(f"Wrote: {path}, 90 % intervals, calibrated on {n:,} held-out ratings")
    if calibration.doubt:
        complain(PROG, calibration.doubt)


def _score(
    predictions: "NDArray[np.float64]",
    truth: "NDArray[np.float64]",
    data: "Data",
    source: str,
    drawing: Drawing,
) -> dict[str, object]:
    """Tells how far the predictions are from the truth of a source, where it is known; the same for
    --json.
    """
    import numpy as np

    from study.answers.evaluation import doubt_of
    from study.answers.scores import score

    known = ~np.isnan(truth)
    n_learned = int(data.known.are_rated(data.queries)[known].sum())
    if doubt := doubt_of(n_learned, int(known.sum()), source):
        complain(PROG, doubt)
    users = np.unique(data.table.query_user_ids, return_inverse=True)[1]
    found = score(predictions[known], truth[known], users[known])
    figures = {"RMSE": found.rmse, "MAE": found.mae, "MSE": found.mse}
    for name, figure in figures.items():
        drawing.say(f"{name}: {figure}")
    if data.noise_std is not None:
        drawing.say(f"Noise floor: RMSE {data.noise_std:.4f}, of the planted model itself")
    return {name.lower(): figure.to_dict() for name, figure in figures.items()}


if __name__ == "__main__":
    main()
