"""Fits one peer from PyPI, in an environment of their own: `requirements.txt`.

    python -m benchmarks.peers.fits --peer NAME --data FILE.npz --out FOLDER --threads 1

`benchmarks.peers` calls it, within the thread limits. It writes the seconds to `fit.json` and the
queries' predictions to `predictions.npy`; the queries' true ratings never get here.
"""

import argparse
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np

from benchmarks.peers.libraries import Columns
from benchmarks.peers.results import Clock
from benchmarks.peers.settings import in_context, peers

WARM_UP = 2_000  # ratings that are fitted once before the clock starts


def main() -> None:
    """Fits on a few ratings, then on all, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with np.load(options.data) as arrays:
        columns = Columns(**arrays)
    size = len(columns.ratings), options.threads
    peer = (peers(*size) | in_context(*size))[options.peer]()
    peer.fit(peer.build(columns.head(WARM_UP)), options.seed)

    with Clock() as building:
        dataset = peer.build(columns)
    with Clock() as fitting:
        model = peer.fit(dataset, options.seed)
    with Clock() as predicting:
        predictions = peer.predict(model, columns)
    np.save(options.out / "predictions.npy", predictions)
    fit = {
        "version": importlib.metadata.version(peer.package),
        "build_seconds": building.seconds,
        "fit_seconds": fitting.seconds,
        "predict_seconds": predicting.seconds,
        "cpu_share": fitting.cpu_seconds / fitting.seconds,
        "cores": len(os.sched_getaffinity(0)),
    }
    (options.out / "fit.json").write_text(json.dumps(fit))


if __name__ == "__main__":
    main()
