from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.reports.html import direction, markdown_html, page, preformatted, safe, table_html
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table


class Parsed(HTMLParser):
    """Elements in order with their attributes, and all text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


#: what an answer may become, and with which attributes
ALLOWED = {
    **{tag: set[str]() for tag in ("p", "br", "em", "strong", "s", "code", "blockquote", "ul", "li", "hr")},
    **{tag: set[str]() for tag in ("h4", "h5", "h6", "table", "thead", "tbody", "tr")},
    "div": {"class", "dir", "tabindex"},
    "pre": {"class", "dir", "tabindex"},
    "span": {"class", "dir"},
    "a": {"href", "rel"},
    "ol": {"start"},
    "th": {"class"},
    "td": {"class"},
}

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<svg/onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img src=x onerror=alert(1)>",
    "<template><script>alert(1)</script></template>",
    '<iframe src="https://evil.invalid"></iframe>',
    '<meta http-equiv="refresh" content="0;url=https://evil.invalid">',
    '<base href="https://evil.invalid/">',
    "<style>body{display:none}</style>",
    "<!-- <p>",
    "-->",
    "</textarea></title></style></noscript>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#x6a;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:image/png;base64,AAAA)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.invalid/)",
    "[x](/relative)",
    "[x](#fragment)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](https://evil.invalid/pixel.png)",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '![" onerror="alert(1)](https://a.invalid/"onerror="alert(1))',
    '[x](https://a.invalid/"onmouseover="alert(1) "t\\" onclick=alert(1)")',
    '[x](https://a.invalid "title")',
    '```"><script>alert(1)</script>\ncode\n```',
    '``` x" onclick="alert(1)\ncode\n```',
    '|a|b|\n|:-:|-:|\n|<script>|"onclick=|',
    "`<script>`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "1000000000. x",
)


def check(source: str) -> Parsed:
    """Nothing in it but what is allowed."""
    parsed = Parsed(source)
    for tag, attributes in parsed.elements:
        assert tag in ALLOWED, tag
        assert set(attributes) <= ALLOWED[tag], (tag, attributes)
        for kind in (attributes.get("class") or "").split():
            assert kind in ("markdown", "long", "scroll", "address", "number", "middle"), kind
    for link in parsed.of("a"):
        assert re.match(r"(https?://|mailto:)", link["href"] or "", re.IGNORECASE)
        assert link["rel"] == "noopener noreferrer"
    return parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_an_answer_becomes_an_element_that_is_not_allowed(text: str) -> None:
    check(markdown_html(text))
    check(markdown_html(f"# heading {text}\n\n- item {text}\n\n> quote {text}\n\n**{text}**"))
    assert check(preformatted(text)).text == f"\n{text}"


@given(st.lists(st.sampled_from((*HOSTILE, *"[]()<>!`*_|\\&#;:\"'/ \n\tax-", "](", "![", "https://a.invalid", "\n\n"))))
def test_no_mixture_of_markup_becomes_an_element_that_is_not_allowed(parts: list[str]) -> None:
    check(markdown_html("".join(parts)))


def test_markdown_is_read() -> None:
    parsed = check(
        markdown_html(
            "# One\n\n*em* **strong** ~~gone~~ `code`\n\n1. a\n2. b\n\n- c\n\n> quote\n\n---\n\n```python\nx = 1\n```"
        )
    )

    assert set(parsed.tags) >= {"h4", "em", "strong", "s", "code", "ol", "ul", "li", "blockquote", "hr", "pre"}
    assert "x = 1" in parsed.text


def test_the_answers_headings_are_below_those_of_the_page() -> None:
    tags = check(markdown_html("# one\n\n## two\n\n### three\n\n#### four\n\n###### six")).tags

    assert [tag for tag in tags if tag.startswith("h")] == ["h4", "h5", "h6", "h6", "h6"]


def test_a_link_shows_where_it_leads() -> None:
    parsed = check(
        markdown_html("[https://bank.invalid](https://evil.invalid/?a=1&b=2) and [mail](mailto:a@b.invalid)")
    )

    assert "https://bank.invalid (https://evil.invalid/?a=1&b=2)" in parsed.text
    assert "mail (mailto:a@b.invalid)" in parsed.text


def test_an_address_that_is_its_own_text_is_shown_once() -> None:
    assert check(markdown_html("<https://example.invalid/x>")).text.count("example.invalid") == 1


def test_a_link_to_anything_but_the_web_or_mail_stays_the_text_it_was() -> None:
    parsed = check(markdown_html("[click](javascript:alert(1)) or [here](/etc/passwd)"))

    assert parsed.of("a") == []
    assert "[click](javascript:alert(1)) or [here](/etc/passwd)" in parsed.text


def test_an_image_is_a_word_about_it() -> None:
    parsed = check(markdown_html("see ![a cat](https://evil.invalid/cat.png) there"))

    assert "[image: a cat https://evil.invalid/cat.png]" in parsed.text


def test_columns_are_aligned_without_inline_styles() -> None:
    parsed = check(markdown_html("|a|b|c|\n|:-|:-:|-:|\n|1|2|3|"))

    assert [attributes.get("class") for attributes in parsed.of("td")] == [None, "middle", "number"]


def test_line_breaks_stay_where_the_answer_has_them() -> None:
    assert check(markdown_html("roses are red\nviolets are blue")).tags.count("br") == 1


def test_a_character_spelt_as_an_entity_is_as_harmless_as_itself() -> None:
    assert check(markdown_html("a&#x202e;b\u202ec\x1b[31md")).text.strip() == "abcd"


def test_a_text_too_long_for_markdown_is_shown_as_it_is() -> None:
    text = "*word* " * 20_000

    parsed = check(markdown_html(text))

    assert parsed.tags == ["pre"]
    assert parsed.of("pre")[0]["class"] == "long"
    assert parsed.text == f"\n{text}"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{' ' * 2 * depth}- level {depth}\n" for depth in range(30)),
        "> " * 30 + "deep",
        "> " * 9 + "a\n" * 40_000,
        "- > " * 15 + "deep",
    ],
    ids=["lists", "quotes", "quotes over many lines", "both"],
)
def test_a_text_nested_too_deep_for_markdown_is_shown_whole(text: str) -> None:
    parsed = check(markdown_html(text))

    assert parsed.tags == ["pre"]
    assert parsed.text == f"\n{text}"


def test_the_direction_is_that_of_the_first_letter() -> None:
    assert direction("שלום world") == "rtl"
    assert direction("3. مرحبا") == "rtl"
    assert direction("world שלום") == "ltr"
    assert direction("123 …") == "ltr"
    assert check(markdown_html("مرحبا **x**")).of("div")[0]["dir"] == "rtl"


def test_safe_is_for_text_and_for_attributes() -> None:
    assert safe("<a href=\"x\" id='y'>&\x1b[2J\u202e") == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;"


TABLE = Table(
    (Column("target"), Column("latency", number=True), Column("finish")),
    (
        ("claude", Cell("1.20 s", "1 s to 2 s, 2.3× slower", value=1.2), "stop"),
        (Cell("local"), Cell("0.52 s", best=True, value=0.52), Cell(UNKNOWN)),
        ("groq", UNKNOWN, "timeout"),
    ),
    title="Figures",
    footer=("total", "2", ""),
)


def test_a_table_names_rows_and_columns() -> None:
    parsed = Parsed(table_html(TABLE))

    assert [heading["scope"] for heading in parsed.of("th")] == ["col"] * 3 + ["row"] * 4
    assert parsed.tags.count("tr") == 5
    assert parsed.tags.count("caption") == 1
    assert parsed.of("div")[0]["aria-label"] == "Figures"


def test_rows_sort_by_value_then_text_and_what_is_unknown_by_nothing() -> None:
    parsed = Parsed(table_html(TABLE))

    keys = [cell.get("data-key") for cell in (*parsed.of("th")[3:6], *parsed.of("td"))]
    assert keys[:3] == ["claude", "local", "groq"]
    assert keys[3:9] == ["1.2", "stop", "0.52", None, None, "timeout"]


def test_the_best_is_marked_and_a_note_stands_by_its_value() -> None:
    parsed = Parsed(table_html(TABLE))

    assert "0.52 s ★" in parsed.text
    assert parsed.of("abbr") == [{"title": "best"}]
    assert parsed.tags.count("small") == 2  # each part of a note on a line of its own
    assert "1.20 s1 s to 2 s2.3× slower" in parsed.text


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_table_becomes_markup(text: str) -> None:
    hostile = Table(
        (Column(text), Column(text, number=True)), ((text, Cell(text, text, True, 1.0)),), text, (text, text)
    )

    parsed, plain = (Parsed(table_html(table)) for table in (hostile, _plain(hostile)))

    # a place where a long name may fold is the one thing that depends on the text
    assert [tag for tag in parsed.tags if tag != "wbr"] == plain.tags
    assert [set(attributes) for _, attributes in parsed.elements if attributes] == [
        set(attributes) for _, attributes in plain.elements if attributes
    ]


def _plain(table: Table) -> Table:
    """The same with nothing but an x for each text."""
    return Table(
        tuple(Column("x", c.number) for c in table.columns), (("x", Cell("x", "x", True, 1.0)),), "x", ("x", "x")
    )


def test_a_page_allows_its_own_style_and_script_and_nothing_else() -> None:
    source = page("Title", ["<p>part</p>"])

    policy = Parsed(source).of("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "<p>part</p>" in source
    assert "http" not in re.sub(r'http-equiv="', "", source)


def test_a_pages_title_is_text() -> None:
    source = page("</title><script>alert(1)</script>", [])

    assert source.count("<script>") == 1
    assert "<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;</title>" in source
