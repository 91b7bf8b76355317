"""What next week's ratings cost, and how well they are answered: tuned anew, begun with, borrowed.

    python -m benchmarks.next_week --data FOLDER [--trials 40] [--warm 6] [--share 0.05] [--seeds 3]

FOLDER has `ratings.csv` with times, `queries.csv`, and `truth`. Last week's ratings are all but the
latest share. They are tuned in so many trials, and then all ratings are answered in four ways, each
by the commands as a user types them: by what was trained last week; with the best settings of last
week's study and no trial (`--setting-of`); by a new study that begins with them, of a few trials;
and by a study of its own, of as many trials as last week's. Times part the weeks, and are not given
to the commands but with `--times`.

Seconds are those of a processor, of one worker and one thread, and so do not count what else runs.
The truth scores only: nothing is chosen by it.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.commands import queries_rmse, spent
from storage.tables import read_ratings

LAST, BORROWED, WARM, COLD = (
    "last week's models",
    "last week's best settings, no trial",
    "a study that begins with them, {} trials",
    "a study of its own, {} trials",
)


class Row(NamedTuple):
    """What a way came to."""

    tuning: float  # seconds
    predicting: float
    rmse: float


def write_weeks(ratings: Path, folder: Path, *, share: float, has_times: bool) -> tuple[Path, Path]:
    """Tables of last week's ratings and of all, in a folder."""
    table = read_ratings(ratings)
    assert table.times is not None
    latest = table.times > np.quantile(table.times, 1 - share)
    paths = folder / "last.csv", folder / "all.csv"
    for path, kept in zip(paths, (~latest, np.full(len(latest), True)), strict=True):
        columns = [table.user_ids, table.item_ids, table.ratings, table.times]
        names = ["user_id", "item_id", "rating", "timestamp"]
        n_columns = 4 if has_times else 3
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names[:n_columns])
            shown = [column[kept].tolist() for column in columns[:n_columns]]
            writer.writerows(zip(*shown, strict=True))
    return paths


def of_seed(
    data: Path, folder: Path, options: argparse.Namespace, seed: int
) -> Iterator[tuple[str, Row]]:
    """Each way, in turn."""
    last, every = write_weeks(
        data / "ratings.csv", folder, share=options.share, has_times=options.times
    )

    def tuned(file: Path, trials: int, *more: object) -> tuple[float, str]:
        """Seconds, and the name of the study."""
        limits = ("--trials", trials, "--seed", seed, "--workers", 1, "--json", "--quiet")
        seconds, output = spent("study.run", "--data", file, *limits, *more, folder=folder)
        return seconds, json.loads(output)["study"]

    def answered(tuning: float, file: Path, *more: object) -> Row:
        asked = ("--data", file, "--queries", data / "queries.csv", "--truth", data / "truth")
        seconds, output = spent("study.best_predict", *asked, *more, folder=folder)
        return Row(tuning, seconds, queries_rmse(output))

    _, study = tuned(last, options.trials)
    yield LAST, answered(0.0, last)
    yield BORROWED, answered(0.0, every, "--setting-of", study)
    yield WARM.format(options.warm), answered(tuned(every, options.warm)[0], every)
    storage = ("--storage", "sqlite:///cold/study.db")
    seconds, _ = tuned(every, options.trials, *storage)
    yield COLD.format(options.trials), answered(seconds, every, *storage)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--warm", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as name:
            for way, row in of_seed(options.data.absolute(), Path(name), options, seed):
                rows[way].append(row)
                print(f"seed {seed}, {way}: {row}", file=sys.stderr, flush=True)
    print("\n| | tuning, s | predicting, s | RMSE | of each seed |\n|---|---|---|---|---|")
    for way, each in rows.items():
        tuning, predicting, rmse = (statistics.mean(column) for column in zip(*each, strict=True))
        seeds = ", ".join(f"{one.rmse:.4f}" for one in each)
        print(f"| {way} | {tuning:.0f} | {predicting:.0f} | {rmse:.4f} | {seeds} |")


if __name__ == "__main__":
    main()
