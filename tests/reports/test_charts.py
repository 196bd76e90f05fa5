from __future__ import annotations

from xml.etree import ElementTree

import pytest

from llmswitch.reports.charts import Bar, bars_svg


def drawn(*bars: Bar, title: str = "Latency") -> ElementTree.Element:
    return ElementTree.fromstring(bars_svg(title, bars))  # noqa: S314  # our own drawing


def lengths(root: ElementTree.Element) -> list[float]:
    return [float(rect.attrib["width"]) for rect in root.iter("rect")]


def texts(root: ElementTree.Element, kind: str) -> list[str | None]:
    return [text.text for text in root.iter("text") if text.get("class") == kind]


def test_bars_are_as_long_as_their_values_from_zero_on() -> None:
    one, two, three = lengths(drawn(Bar("a", 1, "1 s"), Bar("b", 2, "2 s"), Bar("c", 4, "4 s")))

    assert two == pytest.approx(2 * one, abs=0.2)
    assert three == pytest.approx(4 * one, abs=0.2)


def test_the_first_bar_is_on_top_with_its_own_label_and_value() -> None:
    root = drawn(Bar("first", 3, "3 s"), Bar("second", 1, "1 s"))

    tops = [float(rect.attrib["y"]) for rect in root.iter("rect")]
    assert tops == sorted(tops)
    assert texts(root, "label") == ["first", "second"]
    assert texts(root, "value") == ["3 s", "1 s"]
    assert lengths(root)[0] > lengths(root)[1]


@pytest.mark.parametrize("count", [1, 8])
def test_everything_stands_inside_the_drawing(count: int) -> None:
    root = drawn(*(Bar(f"target {n}", n + 1, f"${n}.123456") for n in range(count)))

    left, top, width, height = (float(number) for number in root.attrib["viewBox"].split())
    for rect in root.iter("rect"):
        assert left <= float(rect.attrib["x"])
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= left + width - 60  # the value's room
        assert top <= float(rect.attrib["y"])
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= height
    for text in root.iter("text"):
        assert top < float(text.attrib["y"]) <= height


def test_values_of_zero_have_a_hairline() -> None:
    assert lengths(drawn(Bar("free", 0, "$0"), Bar("free too", 0, "$0"))) == [1, 1]
    free, dear = lengths(drawn(Bar("free", 0, "$0"), Bar("dear", 1e-9, "$0.000000")))
    assert free == 1
    assert dear > 100


def test_nothing_of_pygal_is_left_that_a_page_could_not_hold() -> None:
    source = bars_svg("Latency", [Bar("a", 1, "1 s"), Bar("b", 2, "2 s")])

    root = ElementTree.fromstring(source)  # noqa: S314  # our own drawing
    assert {element.tag for element in root.iter()} == {"svg", "g", "title", "rect", "text"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert attributes == {"class", "viewBox", "role", "aria-label", "x", "y", "width", "height", "rx"}
    assert "http" not in source
    assert "<?xml" not in source
    assert "pygal" not in source.lower()


def test_the_same_bars_are_the_same_drawing() -> None:
    bars = [Bar("a", 1, "1 s"), Bar("b", 2, "2 s")]

    assert bars_svg("Latency", bars) == bars_svg("Latency", bars)


def test_the_drawing_says_what_it_shows_to_those_who_do_not_see_it() -> None:
    root = drawn(Bar("claude", 1.5, "1.50 s"), Bar("gemini", 2, "2.00 s"), title="Latency")

    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "Latency: claude 1.50 s; gemini 2.00 s"


def test_markup_and_controls_in_labels_stay_text() -> None:
    hostile = '</text><script>alert(1)</script>"\x1b[31m\x00&lt;'

    root = drawn(Bar(hostile, 1, hostile), title=hostile)

    assert {element.tag for element in root.iter()} == {"svg", "g", "title", "rect", "text"}
    assert texts(root, "value") == ['</text><script>alert(1)</script>"&lt;']


def test_a_long_label_is_cut_and_whole_where_it_is_pointed_at() -> None:
    long, wide = "openai:" + "x" * 100, "天" * 100

    root = drawn(Bar(long, 1, "1 s"), Bar(wide, 1, "1 s"))

    narrow_label, wide_label = texts(root, "label")
    assert narrow_label is not None
    assert wide_label is not None
    assert narrow_label.endswith("…")
    assert len(wide_label) < len(narrow_label) / 1.5  # each of its characters takes the room of two
    assert [title.text for title in root.iter("title")] == [f"{long}: 1 s", f"{wide}: 1 s"]
