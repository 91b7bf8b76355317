"""A plot as inline SVG that fits any width: text and marks keep their size, only distances stretch.

Horizontal places are percentages of the plot's width, vertical ones pixels, and a mark is a `<use>`
of a symbol that the page defines. Lines, which cannot be given in percentages, lie in an inner SVG
that is stretched while its strokes are not. Colours come from the page's style sheet by class.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

WIDTH = 1000  # of the inner SVG, in units of its own
N_STRETCHED = 6  # ticks above the first
YEARS = 6 * 31_557_600.0  # seconds from which years are told alone
LABELS_BELOW = 38  # pixels for the numbers and the name of the x axis

Point = tuple[float, float]
Points = Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values, and the ticks that are labelled."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    warp: Callable[[float], float] = float  # before places are measured

    def at(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        value, low, high = (self.warp(one) for one in (value, self.low, self.high))
        return (value - low) / (high - low)


def linear(label: str, low: float, high: float, *, n_ticks: int = 5) -> Axis:
    """An axis with ticks at round values."""
    if not low < high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / n_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= 1.4 * rough)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [(n * step, f"{n * step:,.{decimals}f}") for n in range(first, last + 1)]
    return Axis(label=label, low=low, high=high, ticks=ticks)


def dates(label: str, low: float, high: float) -> Axis:
    """An axis of seconds since 1970 with ticks at four dates."""
    form = "%Y" if high - low > YEARS else "%Y-%m-%d"
    values = [low + (high - low) * k / 3 for k in range(4)]
    ticks = [(one, f"{datetime.fromtimestamp(one, UTC):{form}}") for one in values]
    return Axis(label=label, low=low, high=high, ticks=ticks)


def logarithmic(label: str, low: float, high: float) -> Axis:
    """An axis with ticks at 1, 2 and 5 times powers of ten, at fewer over more than two powers."""
    if not low < high:
        low, high = low / 2, high * 2
    factors = (1, 2, 5) if high / low <= 120 else (1, 3) if high / low < 3000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in factors]
    inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
    ticks = [(value, f"{value:,.0f}" if value >= 1 else f"{value:g}") for value in inside]
    return Axis(label=label, low=low, high=high, ticks=ticks, warp=math.log)


def stretched(label: str, values: Sequence[float]) -> Axis:
    """An axis that holds all values, and stretches towards the least of them.

    It is linear among the best quarter, as far as they are apart, and logarithmic beyond: the best
    can be told apart however bad the worst are. The first tick is the least value.
    """
    best, worst = min(values), max(values)
    if not best < worst:
        worst = 1.01 * best or 1.0
    above = sorted(value - best for value in values if value > best) or [worst - best]
    scale = max(above[len(above) // 4], 1e-4 * (worst - best))

    def warp(value: float) -> float:
        return math.log1p(max(value - best, -0.9 * scale) / scale)

    top = 1.04 * warp(worst)
    digits = max(0, 4 - math.floor(math.log10(max(best, 1.0))))
    ticks = [(best, f"{best:.{digits}f}")]
    for n in range(1, N_STRETCHED + 1):
        excess = scale * math.expm1(top * n / (N_STRETCHED + 0.5))
        decimals = max(0, -math.floor(math.log10(excess)))
        ticks.append((round(best + excess, decimals), f"{best + excess:.{decimals}f}"))
    low, high = best - 0.15 * scale, best + scale * math.expm1(top)
    return Axis(label=label, low=low, high=high, ticks=_apart(ticks, warp, top), warp=warp)


def _apart(
    ticks: Sequence[tuple[float, str]], warp: Callable[[float], float], top: float
) -> list[tuple[float, str]]:
    """The ticks without those that would touch the one before, or lie above the axis."""
    kept = [ticks[0]]
    for value, text in ticks[1:]:
        if warp(kept[-1][0]) + 0.08 * top < warp(value) <= top:
            kept.append((value, text))
    return kept


def categories(label: str, names: Sequence[str]) -> Axis:
    """An axis with a place for each name: the i-th lies at i."""
    return Axis(label=label, low=-0.5, high=len(names) - 0.5, ticks=list(enumerate(names)))


def rows(label: str, names: Sequence[str]) -> Axis:
    """A vertical axis with a place for each name, the first at the top: the i-th lies at -i."""
    ticks = [(-place, name) for place, name in enumerate(names)]
    return Axis(label=label, low=0.5 - len(names), high=0.5, ticks=ticks)


class Plot:
    """A plot that is drawn on; what is drawn later lies above. As HTML it is an `<svg>`.

    Args:
        title: that is read out.
        description: likewise.
        x: the horizontal axis.
        y: the vertical axis.
        height: pixels between its ends.
        classes: for the style sheet; `named` leaves room for names at the vertical axis.
    """

    def __init__(
        self,
        *,
        title: str,
        description: str,
        x: Axis,
        y: Axis,
        height: int = 240,
        classes: str = "plot",
    ) -> None:
        self._x, self._y, self._height = x, y, height
        # A <title> would be shown wherever the pointer rests; the label is read out all the same.
        height_in_all = str(height + LABELS_BELOW)
        attributes = {"class": classes, "height": height_in_all, "role": "img", "aria-label": title}
        self._svg = Element("svg", attributes)
        SubElement(self._svg, "desc").text = description
        self._draw_axes()
        self._lines: Element | None = None

    def mark(self, x: float, y: float, classes: str, *, tip: str, trial: int | None = None) -> None:
        """A symbol, named by the first of its classes."""
        symbol = classes.split(maxsplit=1)[0]
        place = {"href": f"#{symbol}", "x": self._percent(x), "y": self._pixel(y)}
        if trial is not None:
            place["data-t"] = str(trial)
        use = SubElement(self._svg, "use", place | {"class": f"m {classes}"})
        SubElement(use, "title").text = tip
        self._lines = None

    def ring(self, x: float, y: float) -> None:
        """A circle around a mark that matters."""
        place = {"cx": self._percent(x), "cy": self._pixel(y), "r": "9", "class": "ring"}
        SubElement(self._svg, "circle", place)
        self._lines = None

    def line(
        self, points: Points, classes: str, *, tip: str = "", trial: int | None = None
    ) -> None:
        """Straight lines from point to point; what lies outside the axes is cut off."""
        if self._lines is None:
            self._lines = SubElement(
                self._svg,
                "svg",
                {
                    "viewBox": f"0 0 {WIDTH} {self._height}",
                    "width": "100%",
                    "height": str(self._height),
                    "preserveAspectRatio": "none",
                    "class": "lines",
                },
            )
        # Ever higher places mean nothing to a reader, and much to a renderer.
        places = [
            f"{WIDTH * self._x.at(x):.0f} {min(max(self._y_pixel(y), -999), 999):.1f}"
            for x, y in points
        ]
        attributes = {"d": "M" + "L".join(places), "class": f"l {classes}"}
        if trial is not None:
            attributes["data-t"] = str(trial)
        path = SubElement(self._lines, "path", attributes)
        if tip:
            SubElement(path, "title").text = tip

    def segment(self, start: Point, end: Point, classes: str) -> None:
        """A straight line, such as an interval; what lies outside the axes is cut off."""
        place = {}
        for n, (x, y) in enumerate((start, end), 1):
            place[f"x{n}"] = self._percent(min(max(x, self._x.low), self._x.high))
            place[f"y{n}"] = self._pixel(min(max(y, self._y.low), self._y.high))
        SubElement(self._svg, "line", place | {"class": classes})

    def __html__(self) -> Markup:
        return Markup(tostring(self._svg, encoding="unicode"))  # escaped by ElementTree

    def _draw_axes(self) -> None:
        for value, text in self._y.ticks:
            y = self._pixel(value)
            SubElement(self._svg, "line", {"x2": "100%", "y1": y, "y2": y, "class": "grid"})
            place = {"x": "-8", "y": y, "dy": ".32em", "class": "tick end"}
            SubElement(self._svg, "text", place).text = text
        bottom = str(self._height)
        SubElement(self._svg, "line", {"x2": "100%", "y1": bottom, "y2": bottom, "class": "axis"})
        for value, text in self._x.ticks:
            place = {"x": self._percent(value), "y": str(self._height + 16)}
            SubElement(self._svg, "text", place | {"class": "tick middle"}).text = text
        place = {"x": "100%", "y": str(self._height + 33), "class": "name end"}
        SubElement(self._svg, "text", place).text = self._x.label
        place = {"x": "-50", "y": "-14", "class": "name"}
        SubElement(self._svg, "text", place).text = self._y.label

    def _percent(self, x: float) -> str:
        return f"{100 * self._x.at(x):.2f}%"

    def _y_pixel(self, y: float) -> float:
        return self._height * (1 - self._y.at(y))

    def _pixel(self, y: float) -> str:
        return f"{self._y_pixel(y):.1f}"


def bounds(values: Iterable[float], *, margin: float = 0.06) -> tuple[float, float]:
    """The least and the greatest value, and a margin on both sides."""
    values = list(values)
    low, high = min(values), max(values)
    room = margin * (high - low)
    return low - room, high + room
