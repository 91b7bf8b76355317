"""What `benchmarks.peers` measured: its records, the medians over the repeats, and a table.

A record is a line of JSON: `data`, `threads`, `repeat`, the `kind` (peer, ours, default or
reading), the `name`, and what was measured. Needs nothing but Python, for the picture is drawn
elsewhere.
"""

import gc
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

Record = dict[str, Any]
Curve = list[tuple[int, float, float]]  # epoch, seconds, RMSE

DISTURBED = 0.9  # of a core: a run that had less shared it with others


class Clock:
    """Seconds that have gone by, and that were computed in, while it was entered.

    When it is entered, garbage of before is collected: that can take longer than a fit.
    """

    def __init__(self) -> None:
        self.seconds, self.cpu_seconds = 0.0, 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += self.elapsed
        self.cpu_seconds += time.process_time() - self._began[1]

    @property
    def elapsed(self) -> float:
        """Seconds since it was entered last."""
        return time.perf_counter() - self._began[0]


@dataclass(frozen=True)
class Fit:
    """What a peer came to; medians."""

    version: str
    build_seconds: float
    fit_seconds: float
    rmse: float
    repeats: int


@dataclass(frozen=True)
class Default:
    """What our default setting came to; medians."""

    about: str  # which that is
    fit_seconds: float
    rmse: float


@dataclass(frozen=True)
class Results:
    """All that was measured on one data set with so many threads."""

    data: str
    threads: int
    fits: dict[str, Fit]  # by peer, from the highest RMSE to the lowest
    failures: dict[str, str]  # by peer, why
    curves: dict[str, Curve]  # ours
    default: Default | None  # ours too
    reading: tuple[float, float] | None  # seconds as text, and from the cache
    disturbed: list[str]  # the runs, of either, in which other programs took the core

    def reached(self, rmse: float) -> tuple[str, float] | None:
        """Which of ours gets to the RMSE first, and after how many seconds; None if none does."""
        firsts = (
            (next((seconds for _, seconds, at in curve if at <= rmse), None), name)
            for name, curve in self.curves.items()
        )
        known = [(seconds, name) for seconds, name in firsts if seconds is not None]
        return min(known)[::-1] if known else None


def read_records(files: Iterable[Path]) -> list[Record]:
    """The records of files of JSON lines."""
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line]


def summarize(records: list[Record]) -> list[Results]:
    """The results by data set and threads, in the order in which they were measured."""
    keys = dict.fromkeys((record["data"], record["threads"]) for record in records)
    return [
        _results(*key, [record for record in records if (record["data"], record["threads"]) == key])
        for key in keys
    ]


def markdown(all_results: list[Results]) -> str:
    """The tables for people."""
    return "\n\n".join("\n".join(_lines(results)) for results in all_results)


def _results(data: str, threads: int, records: list[Record]) -> Results:
    def of_kind(kind: str) -> dict[str, list[Record]]:
        groups: dict[str, list[Record]] = {}
        for record in records:
            if record["kind"] == kind:
                groups.setdefault(record["name"], []).append(record)
        return groups

    peers = of_kind("peer")
    fits = {}
    for name, group in peers.items():
        good = [record for record in group if "error" not in record]
        if good:
            fits[name] = Fit(
                version=good[-1]["version"],
                build_seconds=median(record["build_seconds"] for record in good),
                fit_seconds=median(record["fit_seconds"] for record in good),
                rmse=median(record["rmse"] for record in good),
                repeats=len(good),
            )
    reading, default = of_kind("reading").get("reading"), of_kind("default").get("default")
    return Results(
        data=data,
        threads=threads,
        fits=dict(sorted(fits.items(), key=lambda item: -item[1].rmse)),
        failures={
            name: group[-1]["error"] for name, group in peers.items() if "error" in group[-1]
        },
        curves={
            name: _median_curve([record["curve"] for record in group])
            for name, group in of_kind("ours").items()
        },
        default=Default(
            about=default[-1]["about"],
            fit_seconds=median(record["fit_seconds"] for record in default),
            rmse=median(record["rmse"] for record in default),
        )
        if default
        else None,
        reading=(median(r["text"] for r in reading), median(r["cached"] for r in reading))
        if reading
        else None,
        disturbed=[
            f"{record['name']} ({record['cpu_share']:.0%})"
            for record in records
            if record.get("cpu_share", 1.0) < DISTURBED
        ],
    )


def _median_curve(curves: list[Curve]) -> Curve:
    """The medians at each epoch that all the curves have."""
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for curve in curves:
        for epoch, seconds, rmse in curve:
            by_epoch.setdefault(epoch, []).append((seconds, rmse))
    return [
        (epoch, median(seconds for seconds, _ in points), median(rmse for _, rmse in points))
        for epoch, points in sorted(by_epoch.items())
        if len(points) == len(curves)
    ]


def _lines(results: Results) -> Iterator[str]:
    repeats = max([fit.repeats for fit in results.fits.values()], default=1)
    yield f"{results.data}, threads: {results.threads}, repeats: {repeats}\n"
    yield "| peer | threads | its data structure, s | fit, s | RMSE | ours | s | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    best = min((at for curve in results.curves.values() for _, _, at in curve), default=None)
    for name, fit in results.fits.items():
        reached = results.reached(fit.rmse)
        if reached:
            ours = f"{reached[0]} | {_short(reached[1])} | {_short(fit.fit_seconds / reached[1])}"
        else:
            ours = f"not reached{f': {best:.4f} at best' if best else ''} | – | –"
        yield (
            f"| {name} | {results.threads} | {_short(fit.build_seconds)} | "
            f"{_short(fit.fit_seconds)} | {fit.rmse:.4f} | {ours} |"
        )
    for name, error in results.failures.items():
        yield f"| {name} | {results.threads} | failed: {error} | | | | | |"
    if default := results.default:
        took = _short(default.fit_seconds)
        yield (
            f"| **our default setting**: {default.about} | {results.threads} | – | {took} | "
            f"{default.rmse:.4f} | – | – | – |"
        )
    if results.curves:
        yield "\n| ours | epochs | s | RMSE | lowest RMSE, at s |\n|---|---|---|---|---|"
    for name, curve in results.curves.items():
        epoch, seconds, rmse = curve[-1]
        _, when, lowest = min(curve, key=lambda point: point[2])
        lowest_cell = f"{lowest:.4f}, {_short(when)}"
        yield f"| {name} | {epoch} | {_short(seconds)} | {rmse:.4f} | {lowest_cell} |"
    if results.reading:
        text, cached = map(_short, results.reading)
        yield f"\nOurs, from file to tensors: {text} s as text, {cached} s from the cache."
    if results.disturbed:
        names = ", ".join(results.disturbed)
        yield f"\nRuns that had less than {DISTURBED:.0%} of a core to themselves: {names}."
    versions = dict.fromkeys(
        f"{n.split()[0].rstrip(',')} {f.version}" for n, f in results.fits.items()
    )
    if versions:
        yield f"\nPeers: {', '.join(versions)}."


def _short(number: float) -> str:
    """Two significant digits, or all before the point."""
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"
