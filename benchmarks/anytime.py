"""What the whole pipeline reaches under a timeout, beside the peers that are done in that time.

    python -m benchmarks.anytime --data FILE --truth FILE --peers RECORDS [--seconds 10 60 600]

`study.run --timeout T` and `study.best_predict` run as a user runs them, in a folder of their own.
RECORDS are those of `benchmarks.peers --json` on the same data; of the peers whose fit took no
longer than both commands together, the one of the lowest RMSE is told. That flatters them, for a
user could not know, and their tuning is not counted; but where the records are of one thread and
there are more cores, the study has all of them.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.commands import queries_rmse, run
from benchmarks.peers.results import Record, read_records


def best_peer(records: list[Record], seconds: float) -> str:
    """The peer of the lowest RMSE among those that were done in time: three cells."""
    in_time = [
        (record["rmse"], record["name"], record["fit_seconds"])
        for record in records
        if record["kind"] == "peer" and record.get("fit_seconds", seconds + 1) <= seconds
    ]
    if not in_time:
        return "none | – | –"
    rmse, name, took = min(in_time)
    return f"{name} | {took:.1f} | {rmse:.4f}"


def main() -> None:
    """Prints a row a timeout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--peers", type=Path, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60, 600])
    options = parser.parse_args()
    data, truth = options.data.resolve(), options.truth.resolve()
    records = read_records(options.peers)
    print("| timeout, s | study, s | answer, s | RMSE | best peer in time | fit, s | RMSE |")
    print("|---|---|---|---|---|---|---|")
    for seconds in options.seconds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            limits = "--timeout", seconds, "--trials", 1_000_000
            studied, _ = run("study.run", "--data", data, *limits, folder=folder)
            answered, output = run(
                "study.best_predict", "--data", data, "--truth", truth, folder=folder
            )
        ours = f"{studied:.0f} | {answered:.0f} | {queries_rmse(output):.4f}"
        peer = best_peer(records, studied + answered)
        print(f"| {seconds:g} | {ours} | {peer} |", flush=True)


if __name__ == "__main__":
    main()
