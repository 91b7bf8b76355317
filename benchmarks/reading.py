"""Seconds and memory of reading planted ratings: from Parquet and CSV, numbers and texts as ids.

    python -m benchmarks.reading [--ratings 32000000] [--folder FOLDER]

The ratings are as many as in MovieLens 32M, of as many users and items, in random order, with a
timestamp that is not used. Each row of the table is a process of its own: what `--data FILE` does
until a study could begin, first from the file and then from the cache. The peak is that of the
whole process, of which the interpreter and PyTorch are what the first row shows.
"""

# This process stays small, for what is started from it inherits its peak: nothing heavy up here.
import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.growth import started

N_USERS, N_ITEMS = 200_948, 87_585
FILES = ("numbers.parquet", "numbers.csv", "texts.parquet", "texts.csv")


def write_files(n_ratings: int, folder: Path) -> None:
    """Writes the same planted ratings in every format."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, csv, parquet

    from benchmarks.planted import planted, sizes

    few = n_ratings < N_USERS * 10
    n_users, n_items = sizes(n_ratings) if few else (N_USERS, N_ITEMS)
    ratings = planted(n_ratings, n_users=n_users, n_items=n_items)
    draw = np.random.default_rng(1)
    order = draw.permutation(n_ratings)
    users, items, values = (
        pa.array(column.numpy()[order])
        for column in (ratings.user_index, ratings.item_index, ratings.values)
    )
    moments = pa.array(draw.integers(8e8, 17e8, n_ratings))

    def texts(prefix: str, ids: pa.Array) -> pa.Array:
        return compute.binary_join_element_wise(prefix, ids.cast(pa.string()), "")

    for kind in ("numbers", "texts"):
        columns = (
            (users, items) if kind == "numbers" else (texts("user-", users), texts("tt", items))
        )
        table = pa.table([*columns, values, moments], ["userId", "movieId", "rating", "timestamp"])
        parquet.write_table(table, folder / f"{kind}.parquet")
        csv.write_csv(table, folder / f"{kind}.csv")


def read(file: Path) -> dict[str, object]:
    """What reading a file came to; of an empty path, what the libraries alone take."""
    began = time.perf_counter()
    from study.inputs import load_data

    if str(file) == ".":
        return {"what": "libraries", "seconds": time.perf_counter() - began}
    began, worked = time.perf_counter(), time.process_time()
    data = load_data(file, runs=file.parent)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    return {"what": data.table.digest, "seconds": seconds, "cpu": cpu}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", type=int, default=32_000_000)
    parser.add_argument("--folder", type=Path, help="where there is room for the files")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_files(options.ratings, options.folder)
        return
    if options.read:
        print(json.dumps(read(options.read)))
        return
    module = "benchmarks.reading"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        started(module, "--write", "--ratings", str(options.ratings), "--folder", folder)
        print("| file | MB | seconds | CPU, s | peak, MB | cached, s | CPU, s | peak, MB |")
        print("|---|---|---|---|---|---|---|---|")
        output, peak = started(module, "--read", ".")
        seconds = json.loads(output)["seconds"]
        print(f"| libraries alone | | {seconds:.1f} | | {peak / 1e6:,.0f} | | | |")
        for name in FILES:
            file = Path(folder) / name
            row = f"| {name} | {file.stat().st_size / 1e6:,.0f} |"
            digests = set()
            for _ in range(2):
                output, peak = started(module, "--read", str(file))
                found = json.loads(output)
                digests.add(found["what"])
                row += f" {found['seconds']:.1f} | {found['cpu']:.1f} | {peak / 1e6:,.0f} |"
            print(row, flush=True)
            if len(digests) != 1:
                raise SystemExit(f"{name}: the cache gave another table")


if __name__ == "__main__":
    main()
