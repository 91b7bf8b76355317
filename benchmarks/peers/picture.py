"""Draws what `benchmarks.peers` measured: RMSE over seconds, ours as curves, peers as points.

    python -m benchmarks.peers.picture FILE.jsonl … PICTURE.png

A panel for each data set and number of threads. `benchmarks.peers --plot` calls it in the peers'
environment, which has matplotlib and adjustText.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.peers.results import Results, read_records, summarize

try:
    import matplotlib
    from adjustText import adjust_text
except ImportError as error:
    raise SystemExit(
        f"benchmarks.peers.picture: this Python has no {error.name}; "
        "benchmarks/peers/requirements.txt says where to get it"
    ) from None
matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

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
    "cmfrec": ("#5c6bc0", "P"),
    "myFM": ("#a8741a", "v"),
}
ABOVE = 0.012  # of RMSE that is shown above the worst peer


def draw_marks(axes: Any, results: Results) -> list[Text]:
    """Curves of ours and points of peers; their names stand where they are."""
    texts = []
    for name, curve in results.curves.items():
        color = OURS.get(name, INK)
        seconds, rmse = [point[1] for point in curve], [point[2] for point in curve]
        axes.plot(seconds, rmse, "-", color=color, lw=2, marker="o", ms=3.2)
        bold = {"color": color, "fontweight": "bold"}
        texts.append(axes.text(seconds[-1], rmse[-1], f"ours: {name}", fontsize=8.5, **bold))
    for name, fit in results.fits.items():
        color, marker = PEERS.get(name.split()[0].rstrip(","), (QUIET, "o"))
        at = fit.fit_seconds, fit.rmse
        axes.plot(*at, marker, color=color, ms=7, mec="white", mew=0.8, zorder=3)
        texts.append(axes.text(*at, name, fontsize=8.5, color=color))
    lowest = min(point[2] for curve in results.curves.values() for point in curve)
    top = max((fit.rmse for fit in results.fits.values()), default=lowest)
    axes.set_ylim(lowest - ABOVE / 2, top + ABOVE)
    axes.margins(x=0.12)
    return texts


def move_apart(axes: Any, texts: list[Text], results: Results) -> None:
    """Moves names off the marks and off each other, with a line to what they name."""
    shown = [
        (seconds, rmse)
        for curve in results.curves.values()
        for _, seconds, rmse in curve
        if rmse <= axes.get_ylim()[1]
    ]
    seconds, rmse = zip(*shown, strict=True)
    line = {"arrowstyle": "-", "color": QUIET, "lw": 0.6}
    adjust_text(texts, x=seconds, y=rmse, ax=axes, arrowprops=line, iter_lim=500)


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


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    all_results = summarize(read_records(options.records))
    figure, rows = plt.subplots(
        len(all_results),
        figsize=(9, 4.8 * len(all_results)),
        dpi=150,
        squeeze=False,
        layout="constrained",
    )
    panels = [*zip(rows[:, 0], all_results, strict=True)]
    texts = []
    for axes, results in panels:
        finish(axes, results)
        texts.append(draw_marks(axes, results))
    figure.canvas.draw()
    for (axes, results), names in zip(panels, texts, strict=True):
        move_apart(axes, names, results)
    figure.savefig(options.picture)


if __name__ == "__main__":
    main()
