"""Points as places in a drawing, and the drawing's frame: axes, their ticks, one line or mark a series.

pygal works out where things are; colours, dashes and the reader's mode are the page's style, by the classes s0 to s7.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree

from llmswitch.reports.charts import tidy_imports
from llmswitch.text import one_line

__all__ = ["Axis", "Frame", "Point", "Scale", "letter", "spread", "tint"]

Point = tuple[float, float]

#: the drawing's own units, which a phone shows somewhat smaller and a wide screen somewhat larger
WIDTH = 400
#: what is left free around the points: for the labels of the ticks, and for half a mark
LEFT, RIGHT, TOP = 50, 14, 16
#: how many styles there are of a series
_TINTS = 8
#: of an axis whose largest value is so many times its smallest, steps are factors
_LOGARITHMIC = 8


def letter(place: int) -> str:
    """A to Z, then AA: what a target is called where its name has no room."""
    before, last = divmod(place, 26)
    return (letter(before - 1) if before else "") + chr(ord("A") + last)


def tint(place: int) -> str:
    """The class that gives a series its colour and its dashes."""
    return f"s{place % _TINTS}"


class Axis(NamedTuple):
    """From where to where, and which values are written at it. `log` says that steps are factors."""

    low: float
    high: float
    ticks: tuple[float, ...]
    show: Callable[[float], str]
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], show: Callable[[float], str], *, room: bool = False) -> Axis:
        """Wide enough for `values`, of which there is one at least, and with `room` for what is drawn around them."""
        found = [value for value in values if math.isfinite(value)]
        low, high = min(found), max(found)
        if low > 0 and high / low > _LOGARITHMIC:
            aside = (high / low) ** 0.06 if room else 1.0
            return cls(low / aside, high * aside, _factors(low / aside, high * aside), show, log=True)
        if low == high:
            low, high = (low - abs(low) * 0.1, high + abs(high) * 0.1) if low else (0.0, 1.0)
        aside = (high - low) * 0.06 if room else 0.0
        low = max(0.0, low - aside) if low >= 0 else low - aside
        ticks = _steps(low, high + aside)
        return cls(ticks[0], ticks[-1], ticks, show)

    def within(self, low: float, high: float) -> Axis:
        """No further than what there is: of a share, from 0 to 1."""
        kept = tuple(tick for tick in self.ticks if low <= tick <= high)
        return self._replace(low=max(low, self.low), high=min(high, self.high), ticks=kept)

    def at(self, value: float) -> float:
        """The value as it is drawn."""
        return math.log10(value) if self.log else value


def _steps(low: float, high: float) -> tuple[float, ...]:
    """Round values, four to six of them, that reach around `low` and `high`."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(n * step, 12) for n in range(first, last + 1))


def _factors(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5, 10, … within; over many powers of ten only these."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    sizes = (1, 2, 5) if len(powers) <= 4 else (1,)
    return tuple(size * 10.0**power for power in powers for size in sizes if low <= size * 10.0**power <= high)


class Scale(NamedTuple):
    """Where the points of each series are, in the drawing's units, and where the ticks of both axes are."""

    series: list[list[Point]]
    across: list[float]
    up: list[float]

    @classmethod
    def of(cls, series: Sequence[Sequence[Point]], x: Axis, y: Axis, height: float) -> Scale:
        """In a drawing whose points may take `height`."""
        ticks = [[(tick, y.low) for tick in x.ticks], [(x.low, tick) for tick in y.ticks]]
        drawn = _drawn([[(x.at(a), y.at(b)) for a, b in points] for points in (*series, *ticks)], x, y, height)
        *places, across, up = drawn
        return cls(places, [place for place, _ in across], [place for _, place in up])


def _drawn(series: Sequence[Sequence[Point]], x: Axis, y: Axis, height: float) -> list[list[Point]]:
    """pygal's places of the points, moved to where the frame wants them."""
    from pygal import XY

    tidy_imports()
    chart = XY(
        width=WIDTH - LEFT - RIGHT,
        height=height,
        margin=0,
        xrange=(x.at(x.low), x.at(x.high)),
        range=(y.at(y.low), y.at(y.high)),
        show_legend=False,
        show_x_labels=False,
        show_y_labels=False,
        show_dots=False,
    )
    for points in series:
        # of a single point pygal draws nothing
        chart.add("", [*points[:1], *points])
    paths = iter(_paths(chart.render_tree()))
    return [next(paths)[1:] if points else [] for points in series]


_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def _paths(tree: ElementTree.Element) -> Iterable[list[Point]]:
    for path in tree.iter("path"):
        if "line" in path.get("class", "").split():
            numbers = [float(found) for found in _NUMBERS.findall(path.get("d", ""))]
            yield [(a + LEFT, b + TOP) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]


class Frame:
    """A drawing that grows: its axes first, then what stands in it."""

    def __init__(self, title: str, told: Sequence[str], height: float, kind: str = "") -> None:
        """`told` says what it shows to those who do not see it; `height` is that of the whole."""
        self.root = ElementTree.Element(
            "svg",
            {
                "class": f"plot {kind}".strip(),
                "viewBox": f"0 0 {WIDTH} {height:.0f}",
                "role": "img",
                "aria-label": one_line(f"{title}: {'; '.join(told)}", 4000),
            },
        )

    def axes(self, scale: Scale, x: Axis, y: Axis, height: float, *, below: float = 0) -> None:
        """A line and a label a tick; those of `x` go on for `below` under the points."""
        bottom = TOP + height + below
        for place in scale.across:
            self.line((place, TOP), (place, bottom), "grid")
        for place, text in _spaced(scale.across, [x.show(value) for value in x.ticks]):
            self.text(place, bottom + 15, text, "tick middle")
        for place, value in zip(scale.up, y.ticks, strict=True):
            self.line((LEFT, place), (WIDTH - RIGHT, place), "grid")
            self.text(LEFT - 6, place + 4, y.show(value), "tick end")

    def group(self, title: str, kind: str) -> ElementTree.Element:
        """Elements of one series; `title` is shown where it is pointed at."""
        group = ElementTree.SubElement(self.root, "g", {"class": kind})
        ElementTree.SubElement(group, "title").text = one_line(title, 2000)
        return group

    def line(self, start: Point, end: Point, kind: str, group: ElementTree.Element | None = None) -> None:
        """A straight one."""
        self.path(f"M{_at(start)}L{_at(end)}", kind, group)

    def path(self, course: str, kind: str, group: ElementTree.Element | None = None) -> None:
        """`course` as SVG's `d`."""
        ElementTree.SubElement(self._in(group), "path", {"class": kind, "d": course})

    def box(self, start: Point, end: Point, kind: str, group: ElementTree.Element | None = None) -> None:
        """Its upper left and its lower right."""
        (x, y), (right, bottom) = start, end
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(right - x, 1):.1f}", "height": f"{bottom - y:.1f}"}
        ElementTree.SubElement(self._in(group), "rect", {"class": kind, **place})

    def dot(self, at: Point, radius: float, kind: str, group: ElementTree.Element | None = None) -> None:
        """A filled circle."""
        place = {"cx": f"{at[0]:.1f}", "cy": f"{at[1]:.1f}", "r": f"{radius:g}"}
        ElementTree.SubElement(self._in(group), "circle", {"class": kind, **place})

    def chip(self, at: Point, text: str, group: ElementTree.Element | None = None) -> None:
        """A letter in a circle: which target it is."""
        self.dot(at, 5 + 3 * len(text), "chip", group)
        self.text(at[0], at[1] + 4, text, "letter middle", group)

    def text(self, x: float, y: float, text: str, kind: str, group: ElementTree.Element | None = None) -> None:
        """On one line."""
        place = {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"}
        ElementTree.SubElement(self._in(group), "text", place).text = one_line(text, 200)

    def svg(self) -> str:
        """The drawing as it stands in a page."""
        return ElementTree.tostring(self.root, encoding="unicode")

    def _in(self, group: ElementTree.Element | None) -> ElementTree.Element:
        return self.root if group is None else group


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def spread(places: Sequence[float], apart: float) -> list[float]:
    """`places`, moved as little as it takes for no two to be closer than `apart`, in their order from the top."""
    moved = list(places)
    order = sorted(range(len(moved)), key=lambda at: moved[at])
    for before, at in pairwise(order):
        moved[at] = max(moved[at], moved[before] + apart)
    if moved:  # back by half of what the last was pushed
        back = (moved[order[-1]] - places[order[-1]]) / 2
        moved = [place - back if place > was else place for place, was in zip(moved, places, strict=True)]
    return moved


def _spaced(places: Sequence[float], texts: Sequence[str]) -> list[tuple[float, str]]:
    """Those that do not run into the one before them."""
    kept: list[tuple[float, str]] = []
    end = -math.inf
    for place, text in zip(places, texts, strict=True):
        half = len(text) * 3.6
        if place - half > end + 4:
            kept.append((min(place, WIDTH - half), text))
            end = place + half
    return kept
