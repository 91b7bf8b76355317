"""Time to accuracy beside peers from PyPI: what each takes to fit, and ours to reach its RMSE.

    python3.13 -m venv PEERS && PEERS/bin/pip install -r benchmarks/peers/requirements.txt
    python -m benchmarks.peers --data FILE --truth FILE --peers-python PEERS/bin/python
        [--threads 1] [--repeats 3] [--only NAME …] [--json FILE] [--plot FILE]
    python -m benchmarks.peers --table FILE … [--peers-python … --plot FILE]

Each run is a process of its own, theirs and ours by turns, all on the same cores. A peer's seconds
are those of its fit, from its own data structure in memory; ours are counted from the same point,
and end at the first epoch, of those scored, whose RMSE on the truth is no higher. Which epoch that
is, only the truth tells: this compares speeds, it is no way to stop. All predictions are kept to
the range of the ratings. With several repeats seeds differ and medians are told.

`default` is ours without a search: the default setting of `gibbs`, trained as for an answer. It has
a row of its own, whose seconds are those of the whole training; `--only default` measures it alone,
and `--only cmfrec LensKit` those peers. requirements.txt tells more of how to install them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.ours import DEFAULT, OURS, READING
from benchmarks.peers.results import Record, markdown, read_records, summarize
from benchmarks.peers.settings import peers
from storage.lines import read_numbers
from study.inputs import Data, load_data

ROOT = Path(__file__).resolve().parents[2]
LIMITS = (  # each set to --threads; LK is LensKit
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LK_NUM_THREADS",
    "LK_NUM_BACKEND_THREADS",
)


DAY = 86_400.0  # seconds


class RunError(Exception):
    """A run ended without a result; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Data on disk for the processes, and how to start one."""

    data: Data
    truth: np.ndarray
    truth_file: Path
    folder: Path
    peers_python: Path
    threads: int
    longest: float
    limit: float

    def peer(self, name: str, seed: int) -> Record:
        """What a peer's fit took, and the RMSE of what it predicts.

        Raises:
            RunError: it failed.
        """
        columns = self.folder / "columns.npz"
        if not columns.exists():
            np.savez(columns, **columns_of(self.data))
        arguments = ["--peer", name, "--data", columns, "--out", self.folder, "--seed", seed]
        self._run(self.peers_python, "benchmarks.peers.fits", *arguments)
        record: Record = json.loads((self.folder / "fit.json").read_text())
        ratings = self.data.table.ratings
        predictions = np.load(self.folder / "predictions.npy")
        error = np.clip(predictions, ratings.min(), ratings.max()) - self.truth
        if not np.isfinite(error).all():
            raise RunError("some predictions are not finite")
        return record | {"rmse": float(np.sqrt(np.mean(error**2)))}

    def ours(self, name: str, seed: int) -> Record:
        """The curve of one of ours, the fit of our default, or the seconds of reading.

        Raises:
            RunError: it failed.
        """
        assert self.data.file is not None
        files = [
            "--data",
            self.data.file.resolve(),
            "--truth",
            self.truth_file,
            "--runs",
            self.folder,
        ]
        options = ["--what", name, "--seed", seed, "--longest", self.longest]
        output = self._run(Path(sys.executable), "benchmarks.peers.ours", *files, *options)
        record: Record = json.loads(output.splitlines()[-1])
        return record

    def _run(self, python: Path, module: str, *arguments: object) -> str:
        """What a module of ours prints, in a process within the thread limits."""
        command = [str(python), "-m", module, *map(str, arguments), "--threads", str(self.threads)]
        limits = dict.fromkeys(LIMITS, str(self.threads)) | {"LK_NUM_PROCS": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | limits,
                capture_output=True,
                text=True,
                timeout=self.limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"not done after {self.limit:,.0f} s") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RunError(f"exit code {done.returncode}, {last[0].strip()}")
        return done.stdout


def columns_of(data: Data) -> dict[str, np.ndarray]:
    """What the peers are given, by the names of `libraries.Columns`."""
    table, names = data.table, ("user_ids", "item_ids", "ratings")
    found = {name: np.asarray(getattr(table, name)) for name in names}
    found |= {f"query_{name}": np.asarray(getattr(table, f"query_{name}")) for name in names[:2]}
    asked = data.queries.times
    if table.times is not None and asked is not None:
        found["days"] = np.floor(table.times / DAY).astype(np.int64)
        found["query_days"] = np.floor(asked.numpy() / DAY).astype(np.int64)
    for role, side in (("user", data.user_side), ("item", data.item_side)):
        if side.descriptions:
            order = np.argsort(side.ids.values, kind="stable")
            tables = [one.values.numpy() for one in side.descriptions]
            found[f"described_{role}_ids"] = side.ids.values[order]
            found[f"{role}_features"] = np.concatenate(tables, axis=1)[order].astype(np.float64)
            found[f"{role}_feature_sizes"] = np.array([one.shape[1] for one in tables])
    return found


def measure(bench: Bench, *, repeats: int, only: list[str]) -> Iterator[Record]:
    """The records of all runs; of a peer that fails, the reason."""

    def chosen(names: list[str]) -> list[str]:
        return [n for n in names if not only or any(n.startswith(start) for start in only)]

    theirs = chosen([*peers(bench.data.table.n_ratings, bench.threads)])
    turns = [*_by_turns(theirs, chosen([*OURS, DEFAULT, READING]))]
    kinds = dict.fromkeys(theirs, "peer") | {DEFAULT: DEFAULT, READING: READING}
    for repeat in range(repeats):
        for name in turns:
            kind = kinds.get(name, "ours")
            print(f"Repeat {repeat + 1}, {name}", file=sys.stderr, flush=True)
            try:
                record = (bench.peer if kind == "peer" else bench.ours)(name, repeat)
            except RunError as error:
                if kind != "peer":
                    raise
                record = {"error": str(error)}
            yield {"kind": kind, "name": name, "repeat": repeat} | record


def draw(python: Path | None, records: list[Record], file: Path, *, by: str) -> None:
    """Draws the picture by that module, in the peers' environment, which has matplotlib."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)
        lines.flush()
        command = [str(python or sys.executable), "-m", by, lines.name]
        done = subprocess.run([*command, str(file.resolve())], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Prints the tables; writes the records and the picture."""
    options = _parse()
    if options.table:
        records = read_records(options.table)
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        records = []
        with tempfile.TemporaryDirectory() as folder:
            data = load_data(options.data, runs=Path(folder))
            bench = Bench(
                data=data,
                truth=read_numbers(options.truth, expected=data.table.n_queries),
                truth_file=options.truth.resolve(),
                folder=Path(folder),
                peers_python=options.peers_python.absolute(),
                threads=options.threads,
                longest=options.longest,
                limit=options.limit,
            )
            for record in measure(bench, repeats=options.repeats, only=options.only):
                name = options.name or options.data.resolve().parent.name
                records.append({"data": name, "threads": options.threads} | record)
                if options.json:
                    with options.json.open("a") as file:
                        print(json.dumps(records[-1]), file=file)
    print(markdown(summarize(records)))
    if options.plot:
        draw(options.peers_python, records, options.plot, by="benchmarks.peers.picture")


def _by_turns(theirs: list[str], ours: list[str]) -> Iterator[str]:
    """Theirs in order, with ours spread evenly between them."""
    places = [((place + 1) / (len(theirs) + 1), name) for place, name in enumerate(theirs)]
    places += [((place + 1) / (len(ours) + 1), name) for place, name in enumerate(ours)]
    return (name for _, name in sorted(places, key=lambda turn: turn[0]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--peers-python", type=Path, help="of the peers' environment")
    parser.add_argument("--name", help="of the data; the name of its folder if not told")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="names begin with one of these")
    parser.add_argument("--longest", type=float, default=120.0, help="seconds of a curve of ours")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a process")
    parser.add_argument("--json", type=Path, help="JSON lines, added to the file as they come")
    parser.add_argument("--table", type=Path, nargs="+", help="such files, instead of measuring")
    parser.add_argument("--plot", type=Path, help="PNG or SVG")
    options = parser.parse_args()
    if not options.table:
        missing = [n for n in ("data", "truth", "peers_python") if getattr(options, n) is None]
        if missing:
            parser.error(f"expected --{missing[0].replace('_', '-')}, or --table")
        if len(os.sched_getaffinity(0)) < options.threads:
            parser.error(f"--threads {options.threads}: there are fewer cores to run on")
    return options


if __name__ == "__main__":
    main()
