"""A run's drawings: how latencies are distributed, what quality costs, and how both went night after night."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from llmswitch.reports.bench_plot import (
    LEFT,
    TOP,
    Axis,
    Frame,
    Point,
    Scale,
    letter,
    spread,
    tint,
)
from llmswitch.reports.rows import seconds

__all__ = [
    "Distribution",
    "Night",
    "Spot",
    "Track",
    "distribution_svg",
    "front",
    "history_svg",
    "key_svg",
    "scatter_svg",
]

#: steps of a curve, beyond which nobody sees a difference
_STEPS = 160
#: shares of a sample that are drawn however it is thinned: the tail is what matters
_TAIL = (0.95, 0.98, 0.99, 0.995, 0.999)
#: of the points' part of a drawing, and of one of several below another
_HEIGHT, _LOW = 180.0, 120.0
#: how close two letters may come
_APART = 15.0
#: of a box's row
_ROW = 18.0


class Distribution(NamedTuple):
    """A target's place among all, its name, its sorted values in seconds, and how many samples it had in all."""

    place: int
    name: str
    values: Sequence[float]
    samples: int

    def quantile(self, q: float) -> float:
        """The smallest value that at least q of the values do not exceed."""
        return self.values[max(0, math.ceil(q * len(self.values)) - 1)]


def distribution_svg(title: str, found: Sequence[Distribution]) -> str:
    """Which share was answered within a time, one curve a target, and a box under it for each; of some with values.

    Curves are over all samples: one that ends below 100 % had failures. A box is over those answered, from the first
    to the third quartile with the median in it; its whiskers reach from the 5th to the 95th percentile.
    """
    x = Axis.over((value for one in found for value in (one.values[0], one.values[-1])), seconds)
    y = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), lambda value: f"{value:.0%}".replace("%", " %"))
    courses = [_steps(one) for one in found]
    boxes = [[(one.quantile(q), 0.0) for q in (0.05, 0.25, 0.5, 0.75, 0.95)] for one in found]
    scale = Scale.of([*courses, *boxes], x, y, _HEIGHT)
    below = _ROW * len(found) + 8
    frame = Frame(title, [_told(one) for one in found], TOP + _HEIGHT + below + 24)
    frame.axes(scale, x, y, _HEIGHT, below=below)
    for place, one in enumerate(found):
        group = frame.group(f"{one.name}: {_told(one)}", f"series {tint(one.place)}")
        course = scale.series[place]
        frame.path(_stairs(course), "curve", group)
        _box(frame, one, scale.series[len(found) + place], TOP + _HEIGHT + 8 + _ROW * (place + 0.5), group)
    for place, one in enumerate(found):  # on top of all curves
        group = frame.group(one.name, f"series {tint(one.place)}")
        frame.chip(_label_place(scale.series[place], place, len(found)), letter(one.place), group)
    return frame.svg()


def _told(one: Distribution) -> str:
    failed = one.samples - len(one.values)
    lost = f", {failed:,} of {one.samples:,} failed" if failed else ""
    return f"{one.name} median {seconds(one.quantile(0.5))}, p95 {seconds(one.quantile(0.95))}{lost}"


def _steps(one: Distribution) -> list[Point]:
    """(time, share answered by then), from (the first time, 0) on; thinned, the tail kept."""
    n = len(one.values)
    ranks = {n, *(max(1, math.ceil(n * step / _STEPS)) for step in range(1, _STEPS))}
    ranks |= {math.ceil(n * share) for share in _TAIL}
    return [(one.values[0], 0.0), *((one.values[rank - 1], rank / one.samples) for rank in sorted(ranks))]


def _stairs(points: Sequence[Point]) -> str:
    (x, y), *rest = points
    return f"M{x:.1f} {y:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in rest)


def _label_place(course: Sequence[Point], place: int, count: int) -> Point:
    """On the curve, each target's at another height, so that letters do not meet."""
    wanted = TOP + _HEIGHT * (0.75 - 0.5 * (place + 0.5) / count)
    return min(course, key=lambda point: abs(point[1] - wanted))


def _box(frame: Frame, one: Distribution, places: Sequence[Point], y: float, group: Element) -> None:
    low, first, middle, third, high = (x for x, _ in places)
    half = _ROW / 2 - 4
    frame.line((low, y), (high, y), "whisker", group)
    for end in (low, high):
        frame.line((end, y - half / 2), (end, y + half / 2), "whisker", group)
    frame.box((first, y - half), (third, y + half), "box", group)
    frame.line((middle, y - half), (middle, y + half), "median", group)
    frame.text(LEFT - 6, y + 4, letter(one.place), "letter end", group)


class Spot(NamedTuple):
    """A target by what a thousand calls of it cost, in USD, and how good it is, from 0 to 1, with its interval."""

    place: int
    name: str
    cost: float
    quality: float
    low: float | None
    high: float | None


def scatter_svg(
    title: str, spots: Sequence[Spot], cost: Callable[[float], str], quality: Callable[[float], str]
) -> str:
    """Quality over cost, for one or more; up and to the left is better, a line joins those that no other beats."""
    ends = [end for spot in spots for end in (spot.quality, spot.low, spot.high) if end is not None]
    x, y = Axis.over((spot.cost for spot in spots), cost, room=True), Axis.over(ends, quality, room=True).within(0, 1)
    edge = front(spots)
    whiskers = [[(spot.cost, end) for end in (spot.low, spot.high) if end is not None] for spot in spots]
    scale = Scale.of([[(spot.cost, spot.quality) for spot in spots], *whiskers], x, y, _HEIGHT)
    told = [f"{spot.name} {quality(spot.quality)} at {cost(spot.cost)}" for spot in spots]
    told.append(f"not beaten in both: {', '.join(spot.name for spot in edge)}")
    frame = Frame(title, told, TOP + _HEIGHT + 24)
    frame.axes(scale, x, y, _HEIGHT)
    at = dict(zip((spot.place for spot in spots), scale.series[0], strict=True))
    corners = [at[spot.place] for spot in edge]
    if len(corners) > 1:
        frame.path(_stairs(corners), "front")
    for spot, whisker in zip(spots, scale.series[1:], strict=True):
        beaten = "" if spot in edge else " beaten"
        group = frame.group(
            f"{spot.name}: {quality(spot.quality)} at {cost(spot.cost)}", f"series {tint(spot.place)}{beaten}"
        )
        if len(whisker) == 2:
            frame.line(whisker[0], whisker[1], "whisker", group)
        frame.chip(at[spot.place], letter(spot.place), group)
    return frame.svg()


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other is at least as good and as cheap as, and better in one of both; the cheapest first."""
    kept: list[Spot] = []
    for spot in sorted(spots, key=lambda spot: (spot.cost, -spot.quality)):
        if not kept or spot.quality > kept[-1].quality or spot[2:4] == kept[-1][2:4]:
            kept.append(spot)
    return kept


class Night(NamedTuple):
    """A run among earlier ones: what is written under it, and whether it is the one that others are measured by."""

    label: str
    blessed: bool = False


class Track(NamedTuple):
    """A target's values, one a night, None where it has none."""

    place: int
    name: str
    values: Sequence[float | None]


def history_svg(
    title: str, nights: Sequence[Night], tracks: Sequence[Track], show: Callable[[float], str], most: float = math.inf
) -> str:
    """A line a target from night to night, the last one this run; for one value at least, none above `most`."""
    last = len(nights) - 1
    blessed = [float(place) for place, night in enumerate(nights) if night.blessed]
    x = Axis(0, max(1, last), tuple(sorted({0.0, float(last), *blessed})), lambda place: nights[int(place)].label)
    y = Axis.over((value for track in tracks for value in track.values if value is not None), show, room=True)
    y = y.within(-math.inf, most)
    courses = [[(float(n), value) for n, value in enumerate(track.values) if value is not None] for track in tracks]
    scale = Scale.of(courses, x, y, _LOW)
    frame = Frame(title, [_course(track, show) for track in tracks], TOP + _LOW + 24)
    frame.axes(scale, x, y, _LOW)
    for place, value in zip(scale.across, x.ticks, strict=True):
        if value in blessed:
            frame.line((place, TOP), (place, TOP + _LOW), "blessed")
            frame.text(place, TOP - 4, "blessed", "tick middle")
    drawn = [(track, course) for track, course in zip(tracks, scale.series, strict=True) if course]
    for track, course in drawn:
        group = frame.group(_course(track, show), f"series {tint(track.place)}")
        frame.path("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in course), "curve", group)
        for point in course[:-1]:
            frame.dot(point, 2, "mark", group)
    heights = spread([course[-1][1] for _, course in drawn], _APART)
    for (track, course), height in zip(drawn, heights, strict=True):  # on top of all lines
        group = frame.group(track.name, f"series {tint(track.place)}")
        frame.chip((course[-1][0], height), letter(track.place), group)
    return frame.svg()


def _course(track: Track, show: Callable[[float], str]) -> str:
    known = [value for value in track.values if value is not None]
    return f"{track.name} {show(known[0])} to {show(known[-1])}" if known else f"{track.name} unknown"


def key_svg(place: int) -> str:
    """A target's line and letter, to stand before its name."""
    text, radius = letter(place), 5 + 3 * len(letter(place))
    return (
        f'<svg class="plot swatch {tint(place)}" viewBox="0 0 44 18" aria-hidden="true">'
        f'<path class="curve" d="M1 9H43"></path><circle class="chip" cx="22" cy="9" r="{radius:g}"></circle>'
        f'<text class="letter middle" x="22" y="12.5">{text}</text></svg>'
    )
