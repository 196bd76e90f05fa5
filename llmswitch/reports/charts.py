"""Bars as SVG inside a page: pygal draws them, the page's own style colours them."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from llmswitch.text import one_line

__all__ = ["Bar", "bars_svg", "tidy_imports"]

#: in the drawing's own units, which a phone shows at about their size and a wide screen somewhat larger
_WIDTH, _ROW, _LABEL, _FOR_VALUES = 340, 44, 20, 84
#: half-width characters of a label that fit over its bar
_LONGEST_LABEL = 46


class Bar(NamedTuple):
    """What a bar is of, how long it is (0 or more), and what is written behind it, its unit included."""

    label: str
    value: float
    text: str


def bars_svg(title: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars from 0, the first on top, each under its label. For at least one bar.

    What pygal wraps around them (script, style, ids, addresses, a declaration) is left behind: only the rectangles'
    places and lengths are taken, so that the page's policy can forbid everything else.
    """
    height = _ROW * len(bars)
    drawn = _drawn(bars, height)
    left = min(float(rect.get("x", 0)) for rect in drawn)
    root = ElementTree.Element(
        "svg",
        {
            "class": "bars",
            "viewBox": f"{left:.1f} 0 {_WIDTH - left:.1f} {height}",
            "role": "img",
            "aria-label": one_line(f"{title}: {'; '.join(f'{bar.label} {bar.text}' for bar in bars)}", 4000),
        },
    )
    for bar, rect in zip(bars, drawn, strict=True):
        root.append(_row(bar, left=left, top=float(rect.get("y", 0)), length=float(rect.get("width", 0))))
    return ElementTree.tostring(root, encoding="unicode")


def tidy_imports() -> None:
    """Take back what pygal leaves behind for plugins of maps: Python 3.11 warns of it at every later import."""
    from pygal import PluginImportFixer

    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, PluginImportFixer)]


def _drawn(bars: Sequence[Bar], height: int) -> list[ElementTree.Element]:
    """pygal's rectangles in the order of `bars`: it draws the first of its values at the bottom."""
    from pygal import HorizontalBar

    tidy_imports()
    chart = HorizontalBar(
        width=_WIDTH,
        height=height,
        margin=0,
        margin_right=_FOR_VALUES,
        range=(0, max(bar.value for bar in bars) or 1),
        show_legend=False,
        show_x_labels=False,
        show_y_labels=False,
    )
    chart.add("", [bar.value for bar in reversed(bars)])
    tree = chart.render_tree()
    return [rect for rect in tree.iter("rect") if "reactive" in rect.get("class", "").split()][::-1]


def _row(bar: Bar, *, left: float, top: float, length: float) -> ElementTree.Element:
    row = ElementTree.Element("g")
    ElementTree.SubElement(row, "title").text = one_line(f"{bar.label}: {bar.text}", 2000)
    _text(row, "label", left, top + _LABEL - 6, _cut(one_line(bar.label)))
    place = {"x": f"{left:.1f}", "y": f"{top + _LABEL:.1f}", "width": f"{max(length, 1):.1f}", "height": "14"}
    ElementTree.SubElement(row, "rect", {**place, "rx": "2"})
    _text(row, "value", left + max(length, 1) + 6, top + _LABEL + 11.5, one_line(bar.text))
    return row


def _text(row: ElementTree.Element, kind: str, x: float, y: float, text: str) -> None:
    ElementTree.SubElement(row, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = text


def _cut(label: str) -> str:
    """As much of `label` as fits; wide characters, as in Chinese, take the room of two."""
    room = _LONGEST_LABEL
    for place, character in enumerate(label):
        room -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if room < 0:
            return f"{label[:place]}…"
    return label
