"""Draws what `benchmarks.peers` measured: RMSE over seconds, ours as curves, peers as points.

    python -m benchmarks.peer_plot FILE.jsonl … PICTURE.png

A panel for each data set and number of threads. `benchmarks.peers --plot` calls it in the peers'
environment, which has matplotlib.
"""

import argparse
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from benchmarks.peer_results import Results, read_records, summarize

try:
    import matplotlib
except ImportError:
    raise SystemExit(
        "benchmarks.peer_plot: this Python has no matplotlib; "
        "benchmarks/peers-requirements.txt says where to get it"
    ) from None
matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

INK, QUIET = "#22272e", "#8a939e"
OURS = {
    "biases": "#7fb2e5",
    "gradient, rank 14": "#74c6b6",
    "gradient": "#2a9d8f",
    "als": "#4f94d8",
    "gibbs, Gaussian, rank 14": "#3c8fd9",
    "gibbs, Gaussian": "#1f6fbf",
    "gibbs, both": "#0b3f7a",
}
PEERS = {  # by the first word of the name: colour and marker
    "Surprise": ("#d9822b", "o"),
    "cornac": ("#2f9e6e", "s"),
    "LensKit": ("#8a5cc2", "D"),
    "LIBMF": ("#b3475f", "^"),
    "myFM": ("#a8741a", "v"),
}
ABOVE = 0.012  # of RMSE that is shown above the worst peer
DISTANCES = (7, 10, 14, 20, 28, 40, 56, 76)  # points between a mark and its label
NEAR = 14  # points within which a label needs no line to its mark
DIRECTIONS = (
    *((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)),
    *((1, 0.5), (-1, 0.5), (1, -0.5), (-1, -0.5), (1, 2), (-1, 2), (1, -2), (-1, -2)),
)


class Labels:
    """Places labels beside their marks, where nothing else is."""

    def __init__(self, axes: Any, taken: list[tuple[float, float]]) -> None:
        self._axes, self._renderer = axes, axes.figure.canvas.get_renderer()
        pixel = axes.transData.transform
        around = axes.figure.dpi / 72 * 3
        self._marks = [
            Bbox.from_bounds(x - around, y - around, 2 * around, 2 * around)
            for x, y in pixel(taken)
        ]
        self._texts: list[Bbox] = []

    def add(self, text: str, at: tuple[float, float], **style: Any) -> None:
        """Writes a label at the nearest place where it covers least; from afar with a line."""
        label = self._axes.annotate(
            text,
            at,
            xytext=(0, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=8.5,
            annotation_clip=False,
            in_layout=False,
            **style,
        )
        places = list(product(DISTANCES, DIRECTIONS))
        costs = [self._cost(label, at, *place) for place in places]
        distance, direction = places[costs.index(min(costs))]
        self._move(label, distance, direction)
        self._texts.append(label.get_window_extent(self._renderer))
        if distance > NEAR:
            x, y = label.xyann
            self._axes.annotate(
                "",
                at,
                xytext=(x * 0.9, y * 0.9),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": QUIET, "lw": 0.6, "shrinkA": 0},
            )

    def _cost(
        self, label: Any, at: tuple[float, float], distance: float, direction: tuple[float, float]
    ) -> float:
        """Square pixels that are covered, texts counting most, and a little for the distance."""
        self._move(label, distance, direction)
        box = label.get_window_extent(self._renderer).padded(2)
        inside = self._axes.get_window_extent(self._renderer)
        out = box.width * box.height - _overlap(box, inside)
        texts = sum(_overlap(box, other) for other in self._texts)
        marks = sum(_overlap(box, other) for other in self._marks)
        return (
            1000 * (out + texts)
            + 50 * marks
            + 40 * self._crossed(at, distance, direction)
            + distance**2 / 8
        )

    def _crossed(
        self, at: tuple[float, float], distance: float, direction: tuple[float, float]
    ) -> int:
        """How many other marks lie on the way from a mark to its label."""
        x, y = self._axes.transData.transform(at)
        scale = self._axes.figure.dpi / 72
        way = [
            (x + direction[0] * step * scale, y + direction[1] * step * scale)
            for step in range(6, int(distance), 2)
        ]
        others = (box.padded(2) for box in self._marks if not box.contains(x, y))
        return sum(any(box.contains(*point) for point in way) for box in others)

    @staticmethod
    def _move(label: Any, distance: float, direction: tuple[float, float]) -> None:
        across, up = direction
        label.set_horizontalalignment({0: "center", 1: "left", -1: "right"}[across])
        label.xyann = (across * distance, up * distance)


@dataclass
class Panel:
    """One data set: draws the marks, and then, when the layout stands, the labels around them."""

    axes: Any
    results: Results
    taken: list[tuple[float, float]] = field(default_factory=list)
    labels: list[tuple[str, tuple[float, float], dict[str, Any]]] = field(default_factory=list)

    def draw_marks(self) -> None:
        """Curves and points."""
        for name, curve in self.results.curves.items():
            color = OURS.get(name, INK)
            points = [(seconds, rmse) for _, seconds, rmse in curve]
            style = "-" if len(points) > 1 else ""
            self.axes.plot(*zip(*points, strict=True), style, color=color, lw=2, marker="o", ms=3.2)
            self.taken += _along(points)
            bold = {"color": color, "fontweight": "bold"}
            self.labels.append((f"ours: {name}", points[-1], bold))
        for name, fit in self.results.fits.items():
            color, marker = PEERS.get(name.split()[0].rstrip(","), (QUIET, "o"))
            at = (fit.fit_seconds, fit.rmse)
            self.axes.plot(*at, marker, color=color, ms=7, mec="white", mew=0.8, zorder=3)
            self.taken.append(at)
            self.labels.append((name, at, {"color": color}))
        top = max((fit.rmse for fit in self.results.fits.values()), default=self.taken[0][1])
        self.axes.set_ylim(min(rmse for _, rmse in self.taken) - ABOVE / 2, top + ABOVE)
        self.axes.margins(x=0.12)

    def draw_labels(self) -> None:
        """What each mark is."""
        top = self.axes.get_ylim()[1]
        placed = Labels(self.axes, [point for point in self.taken if point[1] <= top])
        for text, at, style in self.labels:
            placed.add(text, at, **style)


def finish(axes: Any, results: Results) -> None:
    """Titles, axes and grid."""
    axes.set_xscale("log")
    threads = "1 thread" if results.threads == 1 else f"{results.threads} threads"
    axes.set_title(f"{results.data}, {threads}", loc="left", color=INK, fontsize=11)
    axes.set_xlabel("seconds to fit", color=INK)
    axes.set_ylabel("RMSE of the queries", color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.grid(which="major", color="#e6e9ed", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, which="both", labelsize=9)


def _along(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along a curve, close enough that no label fits between two of them."""
    steps = [step / 12 for step in range(12)]
    between = [
        (x0 ** (1 - step) * x1**step, y0 + (y1 - y0) * step)
        for (x0, y0), (x1, y1) in pairwise(points)
        for step in steps
    ]
    return [*between, points[-1]]


def _overlap(box: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(box, other)
    return float(common.width * common.height) if common else 0.0


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    all_results = summarize(read_records(options.records))
    figure, rows = plt.subplots(
        1,
        len(all_results),
        figsize=(9 * len(all_results), 6.2),
        dpi=150,
        squeeze=False,
        layout="constrained",
    )
    panels = [Panel(*pair) for pair in zip(rows[0], all_results, strict=True)]
    for panel in panels:
        finish(panel.axes, panel.results)
        panel.draw_marks()
    figure.canvas.draw()
    for panel in panels:
        panel.draw_labels()
    figure.savefig(options.picture)


if __name__ == "__main__":
    main()
