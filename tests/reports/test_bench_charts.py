"""Where things are in the drawings of a run."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from llmswitch.reports.bench_charts import (
    Distribution,
    Night,
    Spot,
    Track,
    distribution_svg,
    front,
    history_svg,
    scatter_svg,
)
from llmswitch.reports.bench_plot import Axis, letter, spread, tint
from llmswitch.reports.rows import seconds


def parsed(source: str) -> ElementTree.Element:
    return ElementTree.fromstring(source)  # noqa: S314  # our own drawing


def groups(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """Those of a series that hold an element of the kind."""
    return [group for group in root.iter("g") if any(kind in (found.get("class") or "").split() for found in group)]


def numbers(path: ElementTree.Element) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.?\d*", path.get("d") or "")]


def curve(group: ElementTree.Element) -> list[float]:
    (path,) = (path for path in group.iter("path") if path.get("class") == "curve")
    return numbers(path)


def ticks(root: ElementTree.Element, kind: str) -> dict[str, float]:
    found = [text for text in root.iter("text") if text.get("class") == f"tick {kind}"]
    return {text.text or "": float(text.get("x" if kind == "middle" else "y") or 0) for text in found}


EVEN = [step / 100 for step in range(100, 200)]


def test_a_curve_rises_to_the_share_that_was_answered() -> None:
    root = parsed(distribution_svg("E2E", [Distribution(0, "a", EVEN, 100), Distribution(1, "b", EVEN, 200)]))

    whole, half = groups(root, "curve")
    up = ticks(root, "end")
    assert curve(whole)[1] == pytest.approx(up["0 %"] - 4, abs=0.2)
    assert curve(whole)[-1] == pytest.approx(up["100 %"] - 4, abs=0.2)
    assert curve(half)[-1] == pytest.approx(up["50 %"] - 4, abs=0.2)  # the other half failed
    assert curve(whole)[0] == curve(half)[0]


def test_a_box_reaches_from_quartile_to_quartile_with_the_median_in_it() -> None:
    root = parsed(distribution_svg("E2E", [Distribution(0, "a", EVEN, 100)]))

    across = ticks(root, "middle")
    (box,) = (rect for rect in root.iter("rect") if rect.get("class") == "box")
    (median,) = (path for path in root.iter("path") if path.get("class") == "median")
    per_second = (across["1.75 s"] - across["1.00 s"]) / 0.75
    left, width = float(box.get("x") or 0), float(box.get("width") or 0)
    assert left == pytest.approx(across["1.00 s"] + 0.24 * per_second, abs=0.3)
    assert width == pytest.approx(0.5 * per_second, abs=0.3)
    assert numbers(median)[0] == pytest.approx(across["1.00 s"] + 0.49 * per_second, abs=0.3)


def test_many_values_are_thinned_and_the_tail_stays() -> None:
    values = [*(n / 100_000 for n in range(1, 100_000)), 40.0]

    source = distribution_svg("E2E", [Distribution(0, "a", values, 100_000)])

    assert len(source) < 10_000
    root = parsed(source)
    x, y = curve(groups(root, "curve")[0])[-2:]
    across = ticks(root, "middle")
    assert x == pytest.approx(across["10.0 s"] + (across["10.0 s"] - across["1.00 s"]) * math.log10(4), abs=0.5)
    assert y == pytest.approx(ticks(root, "end")["100 %"] - 4, abs=0.2)


@pytest.mark.parametrize("values", [[0.5], [0.5] * 3, [0.0, 0.0], [0.0001, 500.0], [0.05, 0.0500001]])
def test_whatever_the_values_are_everything_stands_inside(values: list[float]) -> None:
    root = parsed(distribution_svg("E2E", [Distribution(n, f"t{n}", values, len(values)) for n in range(9)]))

    _, _, width, height = (float(number) for number in (root.get("viewBox") or "").split())
    for path in root.iter("path"):
        found = re.findall(r"([MLHV])([\d. -]+)", path.get("d") or "")
        for command, text in found:
            place = [float(number) for number in text.split()]
            x = place[0] if command in "MLH" else 0
            y = place[-1] if command in "MLV" else 0
            assert 0 <= x <= width
            assert 0 <= y <= height
    for text in root.iter("text"):
        assert 0 <= float(text.get("x") or 0) <= width
        assert 0 < float(text.get("y") or 0) <= height


def spot(place: int, cost: float, quality: float) -> Spot:
    return Spot(place, f"t{place}", cost, quality, quality - 0.02, quality + 0.02)


def test_the_front_is_of_those_that_no_other_beats_in_both() -> None:
    spots = [spot(0, 1.0, 0.9), spot(1, 0.5, 0.8), spot(2, 1.0, 0.7), spot(3, 0.4, 0.8), spot(4, 2.0, 0.9)]

    assert [one.place for one in front(spots)] == [3, 0]
    assert [one.place for one in front([spot(0, 1.0, 0.9), spot(1, 1.0, 0.9)])] == [0, 1]  # equals beat nobody


def test_cheaper_is_left_and_better_is_up_and_those_beaten_are_marked() -> None:
    root = parsed(scatter_svg("x", [spot(0, 1.0, 0.9), spot(1, 4.0, 0.8)], "{:.2f}".format, "{:.2f}".format))

    first, second = groups(root, "chip")
    places = [[float(circle.get(name) or 0) for name in ("cx", "cy")] for circle in root.iter("circle")]
    assert places[0][0] < places[1][0]
    assert places[0][1] < places[1][1]
    assert "beaten" not in (first.get("class") or "")
    assert "beaten" in (second.get("class") or "")
    assert (root.get("aria-label") or "").endswith("not beaten in both: t0")


def test_a_history_goes_from_night_to_night_and_marks_the_blessed() -> None:
    nights = [Night("1 Nov"), Night("2 Nov", blessed=True), Night("3 Nov")]
    tracks = [Track(0, "a", [1.0, 2.0, 3.0]), Track(1, "b", [None, 2.0, 2.0])]

    root = parsed(history_svg("p50", nights, tracks, seconds))

    across = ticks(root, "middle")
    (line,) = (path for path in root.iter("path") if path.get("class") == "blessed")
    assert numbers(line)[0] == pytest.approx(across["2 Nov"])
    a, b = groups(root, "curve")
    assert curve(a)[::2] == pytest.approx([across["1 Nov"], across["2 Nov"], across["3 Nov"]])
    assert curve(a)[1] > curve(a)[3] > curve(a)[5]  # more is up
    assert len(curve(b)) == 4
    assert "a 1.00 s to 3.00 s" in (root.get("aria-label") or "")


def test_markup_in_a_name_stays_text_and_nothing_of_pygal_is_left() -> None:
    hostile = '</title><script>alert(1)</script>"\x1b[31m&lt;'

    source = distribution_svg(hostile, [Distribution(0, hostile, EVEN, 100)])

    tags = {element.tag for element in parsed(source).iter()}
    assert tags == {"svg", "g", "title", "path", "rect", "circle", "text"}
    assert "http" not in source
    assert "pygal" not in source.lower()


def test_axes_have_round_ticks_in_steps_or_in_factors() -> None:
    assert Axis.over([0.13, 0.94], str).ticks == (0.0, 0.25, 0.5, 0.75, 1.0)
    wide = Axis.over([0.013, 9.0], str)
    assert wide.log
    assert wide.ticks[:4] == pytest.approx((0.02, 0.05, 0.1, 0.2))


def test_letters_that_would_meet_are_moved_apart() -> None:
    moved = spread([10.0, 11.0, 100.0], 15)

    assert moved[1] - moved[0] >= 15 - 1e-9
    assert moved[2] == 100.0
    assert [letter(place) for place in (0, 25, 26, 27)] == ["A", "Z", "AA", "AB"]
    assert tint(9) == "s1"
