"""Draws what `benchmarks.league` measured: how far each is above the lowest RMSE of a set.

    python -m benchmarks.league_picture FILE.jsonl PICTURE.png

A row a set, a mark an entrant. `benchmarks.league --plot` calls it in the peers' environment, which
has matplotlib.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.peers.picture import INK, PEERS, QUIET, plt
from benchmarks.peers.results import Record, read_records

COLORS = PEERS | {"this study": ("#0b3f7a", "*"), "biases": (QUIET, "x"), "mean": (QUIET, "|")}
WIDEST = 40.0  # per cent that are shown; what is further right stands at the edge


def draw_marks(axes: Any, records: list[Record]) -> None:
    """The marks, small sets on top."""
    found = [record for record in records if "rmse" in record]
    lowest: dict[str, float] = {}
    for record in sorted(found, key=lambda one: -one["n_ratings"]):
        of_set = lowest.get(record["data"], record["rmse"])
        lowest[record["data"]] = min(of_set, record["rmse"])
    rows = {data: row for row, data in enumerate(lowest)}
    for name, (color, marker) in COLORS.items():
        own = [record for record in found if record["entrant"] == name]
        above = [100 * (record["rmse"] / lowest[record["data"]] - 1) for record in own]
        is_ours = name == "this study"
        axes.plot(
            [min(one, WIDEST) for one in above],
            [rows[record["data"]] for record in own],
            marker,
            color=color,
            ms=13 if is_ours else 7,
            zorder=4 if is_ours else 3,
            label=name,
            clip_on=False,
        )
    sizes = {record["data"]: record["n_ratings"] for record in found}
    axes.set_yticks([*rows.values()], [f"{data}, {sizes[data]:,}" for data in rows])


def finish(axes: Any) -> None:
    """Axes, grid and legend."""
    axes.set_xscale("symlog", linthresh=1.0)
    ticks = [0, 0.5, 1, 2, 5, 10, 20, WIDEST]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks[:-1]] + [f"{WIDEST:g} or more"])
    axes.set_xlim(0, WIDEST)
    axes.set_xlabel("RMSE of the queries, % above the lowest of the set", color=INK)
    axes.grid(color="#e6e9ed", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.minorticks_off()
    axes.figure.legend(loc="outside upper center", ncols=len(COLORS), frameon=False, fontsize=8.5)


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    records = read_records([options.records])
    n_sets = len({record["data"] for record in records})
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * n_sets), dpi=150, layout="constrained")
    draw_marks(axes, records)
    finish(axes)
    figure.savefig(options.picture)


if __name__ == "__main__":
    main()
