"""How quickly peers answer, in their environment: `benchmarks.serving` calls it.

PEERS/bin/python -m benchmarks.peers.serving ratings.npz
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np


def main() -> None:
    """Prints a JSON object of milliseconds by what was asked."""
    columns = dict(np.load(sys.argv[1]))
    print(json.dumps({**_surprise(columns), **_implicit(columns)}))


def median_ms(call: Callable[[int], object], n: int) -> float:
    """The median milliseconds of n calls, after one that is not counted."""
    call(0)
    seconds = []
    for number in range(n):
        began = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def _surprise(columns: dict[str, np.ndarray]) -> dict[str, float]:
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    users, items, values = columns["users"], columns["items"], columns["values"]
    frame = pd.DataFrame({"user": users, "item": items, "rating": values})
    reader = Reader(rating_scale=(float(values.min()), float(values.max())))
    model = SVD(random_state=0).fit(Dataset.load_from_df(frame, reader).build_full_trainset())
    everything = range(int(items.max()) + 1)
    pairs = list(zip(users[:100_000].tolist(), items[:100_000].tolist(), strict=True))

    def listed(user: int) -> list[float]:
        found = [model.predict(user, item).est for item in everything]
        return sorted(found, reverse=True)[:10]

    return {
        "Surprise, a pair": median_ms(lambda n: model.predict(*pairs[n]), 200),
        "Surprise, a list of ten": median_ms(lambda n: listed(pairs[n][0]), 20),
        "Surprise, 1,000,000 pairs (ten times 100,000)": 10
        * median_ms(lambda n: [model.predict(*pair).est for pair in pairs], 2),
    }


def _implicit(columns: dict[str, np.ndarray]) -> dict[str, float]:
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    users, items = columns["users"], columns["items"]
    matrix = csr_matrix((columns["values"], (users, items)))
    model = AlternatingLeastSquares(random_state=0)
    model.fit(matrix, show_progress=False)
    everybody = np.unique(users)
    return {
        "implicit, a list of ten": median_ms(
            lambda n: model.recommend(int(users[n]), matrix[int(users[n])], N=10), 200
        ),
        f"implicit, lists of all {len(everybody):,} users": median_ms(
            lambda n: model.recommend(everybody, matrix[everybody], N=10), 3
        ),
    }


if __name__ == "__main__":
    main()
