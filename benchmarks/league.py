"""A league of data sets: this study at its defaults beside the mean, biases, and peers from PyPI.

    python -m benchmarks.league --plant FOLDER [--only SET …]
    python -m benchmarks.league --folder FOLDER --json FILE [--peers-python PEERS/bin/python]
        [--trials 30] [--only SET …] [--entrants NAME …] [--table FILE] [--plot FILE]

FOLDER has a folder a set: `mat_comp`, or `ratings.csv` and `queries.csv`, maybe `items.csv` and
`users.csv`, and `truth`, which scores and nothing else. `--plant` writes a dozen (`league_sets`).
What the file of records has is not measured again, so that a league that was cut goes on; what is
taken out of it is.

This study is its two commands, by one worker, with the times and tables of the set. A library
is used in its best form of `benchmarks.peers`: with times and descriptions, where the set has both
and the library takes them. The settings of peers were published, or chosen, for stars: they are
given ratings with the mean and the standard deviation of MovieLens-100K, and their predictions are
brought back. Seconds are those of a processor: of ours for all that was tried and the answer, of a
peer for its fit, whose tuning is not counted. The rank in a set is 1 and the number of those whose
RMSE is lower; whoever fails comes last. Means are over the sets in which everybody was measured.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.commands import spent
from benchmarks.league_sets import KINDS, plant
from benchmarks.noise import rmse
from benchmarks.peers.__main__ import Bench, RunError, columns_of, draw
from benchmarks.peers.results import Record, read_records
from model.biases import fit_biases
from storage.lines import read_numbers
from storage.sources import Sources
from study.inputs import Data, load_data, with_pairs

MEAN, BIASES, OURS = "mean", "biases", "this study"
PEERS = {  # by library: its best form, and that with times and descriptions
    "Surprise": ("Surprise SVD, tuned", None),
    "cornac": ("cornac MF, tuned", None),
    "LensKit": ("LensKit ALS, tuned", None),
    "LIBMF": ("LIBMF, tuned", None),
    "cmfrec": ("cmfrec implicit, tuned", "cmfrec implicit, tuned, with descriptions"),
    "myFM": ("myFM flipped, 200", "myFM flipped, 512, with times and descriptions"),
}
ENTRANTS = (MEAN, BIASES, OURS, *PEERS)
STARS = 3.53, 1.12  # mean and standard deviation of MovieLens-100K

Scores = dict[str, float | None]  # RMSE by entrant, None of one that failed


@dataclass(frozen=True)
class DataSet:
    """A folder of the league."""

    folder: Path

    @property
    def ratings(self) -> Path:
        """The file of ratings."""
        whole = self.folder / "mat_comp"
        return whole if whole.exists() else self.folder / "ratings.csv"

    @property
    def queries(self) -> Path | None:
        """The file of pairs, unless they stand in that of ratings."""
        return self._maybe("queries.csv")

    @property
    def items(self) -> Path | None:
        """The table of items, if there is one."""
        return self._maybe("items.csv")

    @property
    def users(self) -> Path | None:
        """The table of users, if there is one."""
        return self._maybe("users.csv")

    @cached_property
    def data(self) -> Data:
        """The ratings and the queries."""
        with tempfile.TemporaryDirectory() as name:
            sources = Sources(data=self.ratings, items=self.items, users=self.users)
            data = load_data(sources, runs=Path(name))
            return with_pairs(data, self.queries, runs=Path(name)) if self.queries else data

    @cached_property
    def truth(self) -> np.ndarray:
        """The true ratings of the queries."""
        return read_numbers(self.folder / "truth", expected=self.data.table.n_queries)

    def _maybe(self, name: str) -> Path | None:
        file = self.folder / name
        return file if file.exists() else None


@dataclass(frozen=True, kw_only=True)
class Play:
    """How entrants are measured."""

    trials: int
    peers_python: Path | None
    limit: float  # seconds of a peer's fit

    def measured(self, one: DataSet, entrant: str) -> Record:
        """What an entrant comes to in a set, or why it failed."""
        ways = {MEAN: self.mean, BIASES: self.biases, OURS: self.ours}
        try:
            return ways[entrant](one) if entrant in ways else self.peer(one, entrant)
        except RunError as error:
            return {"error": str(error)}

    def mean(self, one: DataSet) -> Record:
        """What the mean of the ratings comes to."""
        return {"rmse": rmse(one.data.table.ratings.mean() - one.truth), "seconds": 0.0}

    def biases(self, one: DataSet) -> Record:
        """What biases alone come to."""
        fit_biases(one.data.ratings)  # is compiled
        began = time.process_time()
        predicted = fit_biases(one.data.ratings).predict(one.data.queries).numpy()
        return {"rmse": rmse(predicted - one.truth), "seconds": time.process_time() - began}

    def ours(self, one: DataSet) -> Record:
        """What this study comes to, and by which settings.

        Raises:
            RunError: a command failed.
        """
        tables = {"--data": one.ratings, "--items": one.items, "--users": one.users}
        asked = {"--queries": one.queries, "--truth": one.folder / "truth"}
        limits = {"--trials": self.trials, "--workers": 1}  # more would not be in the seconds
        with tempfile.TemporaryDirectory() as name:

            def facts(module: str, **options: object) -> tuple[float, Record]:
                given = [part for pair in options.items() if pair[1] for part in pair]
                seconds, output = spent(module, *given, "--json", "--quiet", folder=Path(name))
                return seconds, json.loads(output)

            try:
                tuning, found = facts("study.run", **tables, **limits)
                answering, answers = facts("study.best_predict", **tables, **asked)
            except subprocess.CalledProcessError as error:
                raise RunError(f"exit code {error.returncode}") from None
        return {
            "rmse": answers["score"]["rmse"]["value"],
            "seconds": tuning + answering,
            "trials": self.trials,
            "averaged": len(answers["trials"]),
            "best_setting": found["best_setting"],
            "fresh_splits": found["fresh_splits"],
        }

    def peer(self, one: DataSet, library: str) -> Record:
        """What a library comes to, in its best form.

        Raises:
            RunError: it failed.
        """
        assert self.peers_python is not None
        ratings = one.data.table.ratings
        center, spread = ratings.mean(), ratings.std() or 1.0
        as_stars, true = (STARS[0] + STARS[1] * (n - center) / spread for n in (ratings, one.truth))
        data = replace(one.data, table=replace(one.data.table, ratings=as_stars))
        alone, in_context = PEERS[library]
        has_all = {"days", "user_features", "item_features"} <= columns_of(data).keys()
        form = in_context if in_context and has_all else alone
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(
                data=data,
                truth=true,
                truth_file=one.folder / "truth",
                folder=Path(name),
                peers_python=self.peers_python.absolute(),
                threads=1,
                longest=0.0,
                limit=self.limit,
            )
            found = bench.peer(form, 0)
        return {
            "rmse": found["rmse"] * spread / STARS[1],
            "seconds": found["fit_seconds"] * found["cpu_share"],
            "form": form,
            "version": found["version"],
        }


def play(sets: list[DataSet], entrants: list[str], file: Path, how: Play) -> None:
    """Adds what a file of records does not have yet, line by line, small files of ratings first."""
    known = {(r["data"], r["entrant"]) for r in (read_records([file]) if file.exists() else [])}
    for one in sorted(sets, key=lambda one: one.ratings.stat().st_size):
        for entrant in entrants:
            if (one.folder.name, entrant) in known:
                continue
            print(f"{one.folder.name}, {entrant}", file=sys.stderr, flush=True)
            record = {
                "data": one.folder.name,
                "entrant": entrant,
                "n_ratings": one.data.table.n_ratings,
            } | how.measured(one, entrant)
            with file.open("a") as lines:
                print(json.dumps(record), file=lines)


def scores_of(records: list[Record]) -> dict[str, Scores]:
    """The RMSE by set and entrant, small sets first."""
    found: dict[str, Scores] = {}
    for record in sorted(records, key=lambda one: one["n_ratings"]):
        found.setdefault(record["data"], {})[record["entrant"]] = record.get("rmse")
    return found


def ranks_of(scores: Scores) -> dict[str, int]:
    """The rank of each entrant in a set."""
    known = [score for score in scores.values() if score is not None]
    return {
        name: len(scores) if score is None else 1 + sum(other < score for other in known)
        for name, score in scores.items()
    }


def markdown(records: list[Record]) -> str:
    """The tables for people: RMSE and ranks, seconds, and what failed."""
    scores = scores_of(records)
    ranks = {data: ranks_of(of_set) for data, of_set in scores.items()}
    names = [name for name in ENTRANTS if any(name in of_set for of_set in scores.values())]
    sizes = {record["data"]: f"{record['n_ratings']:,}" for record in records}
    taken = {(r["data"], r["entrant"]): r["seconds"] for r in records if "seconds" in r}

    def score(data: str, name: str) -> str:
        found, rank = scores[data].get(name), ranks[data].get(name)
        if found is None:
            return f"failed ({rank})" if rank else "–"
        text = f"{found:.5g} ({rank})"
        return f"**{text}**" if rank == 1 else text

    def seconds(data: str, name: str) -> str:
        found = taken.get((data, name))
        return "–" if found is None else f"{found:.2g}" if found < 10 else f"{found:,.0f}"

    whole = [data for data in scores if len(scores[data]) == len(names)]

    def mean_rank(name: str) -> float:
        return statistics.mean(ranks[data][name] for data in whole)

    def mean_excess(name: str) -> float:
        own = [(scores[data][name], min(filter(None, scores[data].values()))) for data in whole]
        found = [100 * (score / lowest - 1) for score, lowest in own if score is not None]
        return statistics.mean(found) if found else math.nan

    def rows(cell: Callable[[str, str], str]) -> Iterator[str]:
        yield _row("", "ratings", names)
        yield "|---" * (len(names) + 2) + "|"
        for data in scores:
            yield _row(data, sizes[data], (cell(data, name) for name in names))

    lines = [*rows(score)]
    if whole:
        lines += [_row("mean rank", "", (f"{mean_rank(name):.2f}" for name in names))]
        lines += [
            _row("mean % above the lowest", "", (f"{mean_excess(name):.1f}" for name in names))
        ]
    lines += ["", "Seconds of a processor:", "", *rows(seconds)]
    failed = [record for record in records if "error" in record]
    for record in failed:
        lines += ["", f"{record['entrant']} on {record['data']}: {record['error']}."]
    return "\n".join(lines)


def _row(data: str, size: str, cells: Iterable[str]) -> str:
    return f"| {data} | {size} | {' | '.join(cells)} |"


def main() -> None:
    """Writes planted sets, or measures; prints the tables."""
    options = _parse()
    if options.plant:
        plant(options.plant, options.only)
        return
    sets = [DataSet(folder) for folder in options.folder.iterdir() if (folder / "truth").exists()]
    if options.only:
        sets = [one for one in sets if one.folder.name in options.only]
    how = Play(trials=options.trials, peers_python=options.peers_python, limit=options.limit)
    play(sets, options.entrants, options.json, how)
    records = read_records([options.json])
    tables = markdown(records)
    print(tables)
    if options.table:
        options.table.write_text(f"{tables}\n")
    if options.plot:
        draw(options.peers_python, records, options.plot, by="benchmarks.league_picture")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plant", type=Path, metavar="FOLDER", help="write planted sets")
    parser.add_argument("--folder", type=Path, help="of the sets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="records, JSON lines")
    parser.add_argument("--peers-python", type=Path, help="of the peers' environment")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--only", nargs="+", metavar="SET", help="all if not told")
    parser.add_argument("--entrants", nargs="+", choices=ENTRANTS, metavar="NAME")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a peer's process")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the tables, Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="PNG or SVG")
    options = parser.parse_args()
    if options.plant:
        if unknown := set(options.only or ()) - KINDS.keys():
            parser.error(f"--only: expected some of {', '.join(KINDS)}, got {unknown.pop()}")
        return options
    for name in ("folder", "json"):
        if getattr(options, name) is None:
            parser.error(f"expected --{name}, or --plant")
    if options.entrants is None:
        options.entrants = [MEAN, BIASES, OURS, *(PEERS if options.peers_python else ())]
    if options.peers_python is None and PEERS.keys() & set(options.entrants):
        parser.error("expected --peers-python")
    return options


if __name__ == "__main__":
    main()
