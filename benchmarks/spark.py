"""Spark MLlib's ALS beside ours on the same planted ratings: seconds to the RMSE that it comes to.

    python3 -m venv SPARK; SPARK/bin/pip install pyspark numpy pyarrow    (and Java 17 or later)
    python -m benchmarks.spark --spark-python SPARK/bin/python [--ratings 10000000] [--threads 2]

Spark runs in this machine's `local[threads]`, with as many blocks as threads (its own default, ten,
is slower here), its ratings cached in memory and counted before the clock begins. Ours has them in
memory as well, and its clock begins when the solver is made. Its rank, regularization (scaled by
numbers of ratings, as ours) and number of iterations are Spark's defaults but for the rank; ours
stops at the first sweep whose RMSE on the same held-out ratings is no higher. Ratings of the mean
are taken off for Spark, which has no biases; predictions of unknown users or items are left out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RANK = 24
SEEDS = 2


def spark(options: argparse.Namespace) -> None:
    """In Spark's environment: prints what its fit took, and its RMSE."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    session = (
        SparkSession.builder.master(f"local[{options.threads}]")
        .config("spark.driver.memory", "12g")
        .config("spark.sql.shuffle.partitions", options.threads)
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    training = session.read.parquet(str(options.folder / "training.parquet")).cache()
    training.count()
    test = session.read.parquet(str(options.folder / "test.parquet"))
    for seed in range(SEEDS):
        began = time.perf_counter()
        model = ALS(
            rank=RANK,
            userCol="user",
            itemCol="item",
            ratingCol="rating",
            numUserBlocks=options.threads,
            numItemBlocks=options.threads,
            coldStartStrategy="drop",
            seed=seed,
        ).fit(training)
        seconds = time.perf_counter() - began
        error = f.col("prediction") - f.col("rating")
        found = model.transform(test).agg(f.sqrt(f.mean(error * error)).alias("rmse"), f.count("*"))
        rmse, n = found.collect()[0]
        print(json.dumps({"seconds": seconds, "rmse": rmse, "n": n}))


def ours(options: argparse.Namespace) -> None:
    """Prints our seconds to each RMSE of `--rmse`, and the lowest RMSE."""
    import pyarrow.parquet as pq
    import torch

    from model.dataset import Ratings
    from model.kernels.threads import set_n_threads, torch_in_one_thread
    from model.solver import mse
    from model.solvers import ALSConfig, make_solver

    def read(name: str, sizes: tuple[int, int] | None) -> Ratings:
        table = pq.read_table(options.folder / f"{name}.parquet")
        users, items, values = (torch.from_numpy(c.to_numpy()) for c in table.columns)
        n_users, n_items = sizes or (int(users.max()) + 1, int(items.max()) + 1)
        return Ratings(
            n_users=n_users,
            n_items=n_items,
            user_index=users.long(),
            item_index=items.long(),
            values=values.double(),
        )

    set_n_threads(options.threads)
    cpu = torch.device("cpu")
    training = read("training", None)
    test = read("test", (training.n_users, training.n_items))
    config = ALSConfig(rank=RANK, weight_decay=0.1, bias_decay=0.05)
    with torch_in_one_thread():
        for seed in range(SEEDS + 1):  # the first loads what is compiled
            began = time.perf_counter()
            solver, spent, told = make_solver(config, training, device=cpu, seed=seed), 0.0, None
            for epoch in solver.epochs(None):
                spent += time.perf_counter() - began
                rmse = mse(solver.model, test) ** 0.5
                if rmse <= options.rmse and told is None:
                    told = {"seconds": spent, "epoch": epoch.number, "rmse": rmse}
                    break
                if epoch.number == 20:
                    break
                began = time.perf_counter()
            if seed:
                print(json.dumps(told or {"seconds": None, "epoch": 20, "rmse": rmse}))


def write(options: argparse.Namespace) -> None:
    """Writes planted ratings, a hundredth of them apart."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.planted import planted, sizes

    n_users, n_items = sizes(options.ratings)
    ratings = planted(options.ratings, n_users=n_users, n_items=n_items)
    mean = ratings.values.mean().item()
    table = pa.table(
        {
            "user": ratings.user_index.numpy().astype(np.int32),
            "item": ratings.item_index.numpy().astype(np.int32),
            "rating": (ratings.values.numpy() - mean).astype(np.float32),
        }
    )
    apart = np.arange(len(table)) % 100 == 0
    pq.write_table(table.filter(pa.array(~apart)), options.folder / "training.parquet")
    pq.write_table(table.filter(pa.array(apart)), options.folder / "test.parquet")


def main() -> None:
    """Prints both, and how many times less ours took."""
    options = _parse()
    if options.child:
        {"spark": spark, "ours": ours}[options.child](options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        write(options)

        def run(python: Path | str, kind: str, *more: str) -> list[dict[str, Any]]:
            given = ["--child", kind, "--folder", folder, "--threads", str(options.threads), *more]
            done = subprocess.run(
                [str(python), "-m", "benchmarks.spark", *given],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            return [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]

        theirs = run(options.spark_python.absolute(), "spark")
        rmse = sorted(one["rmse"] for one in theirs)[len(theirs) // 2]
        own = run(sys.executable, "ours", "--rmse", str(rmse))
    print("| | RMSE | seconds | sweeps |\n|---|---|---|---|")
    for one in theirs:
        print(f"| Spark | {one['rmse']:.4f} | {one['seconds']:.1f} | 10 |")
    for one in own:
        print(f"| ours, als | {one['rmse']:.4f} | {one['seconds']:.2f} | {one['epoch']} |")
    medians = [sorted(one["seconds"] for one in of)[len(of) // 2] for of in (theirs, own)]
    print(f"\nTimes: {medians[0] / medians[1]:.0f}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spark-python", type=Path, help="of Spark's environment")
    parser.add_argument("--ratings", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=("spark", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rmse", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child and options.spark_python is None:
        parser.error("expected --spark-python")
    return options


if __name__ == "__main__":
    main()
