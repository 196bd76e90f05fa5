"""Pages of HTML that need nothing but themselves, with nothing in them that a model's text could start.

Whatever was not written here is hostile. Three things stand between it and the reader's browser: all of it is
escaped; Markdown is read without raw HTML, without images and with links to web and mail addresses only; and the
page's own policy allows no request, and no script or style but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table
from llmswitch.text import one_line, sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

__all__ = ["BEST", "direction", "markdown_html", "name_html", "page", "preformatted", "safe", "table_html"]

#: stands behind the best value of a column
BEST = "★"
#: characters; beyond them Markdown takes its parser, and the reader, too long
_LONGEST_MARKDOWN = 100_000
#: quotes in quotes: each costs the parser as much again for every line that follows
_DEEP_QUOTE = re.compile(r"^(?:[ \t]*(?:[-+*] +)?>){8}", re.MULTILINE)
#: markdown-it leaves out what is nested deeper
_DEEPEST = 20
_ADDRESS = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def safe(text: str) -> str:
    """`text` for HTML's text and quoted attributes: no control characters, no directional overrides, no markup."""
    return escape(sanitize(text))


def name_html(text: str) -> str:
    """`text` on one line, apart from the direction of what is around it; a long target folds after its `&` and `=`."""
    parts = re.split(r"(?<=[&=_/,])", one_line(text, 2000))
    return f"<bdi>{'<wbr>'.join(safe(part) for part in parts)}</bdi>"


def page(title: str, parts: Iterable[str], *, kind: str | None = None) -> str:
    """A whole document in English around `parts`, which are HTML already; light and dark as the reader's system is.

    Of a `kind`, it has that one's own style and script behind those of every page.
    """
    assets = resources.files("llmswitch.reports").joinpath("assets")
    names = ["page"] if kind is None else ["page", kind]
    style, script = (
        "".join(assets.joinpath(f"{name}.{ending}").read_text("utf-8") for name in names) for ending in ("css", "js")
    )
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{safe(one_line(title, 100))}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            *parts,
            "</main>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        )
    )


def _digest(source: str) -> str:
    """What names an inline style or script in a policy: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def table_html(table: Table) -> str:
    """`table` in a box of its own that scrolls sideways. The page's script makes its headings buttons that sort.

    Rows sort by `Cell.value`, in columns of text by the text; what has neither stays last. `table.title` is for
    those who have the page read out.
    """
    title = safe(table.title)
    headings = "".join(f'<th scope="col"{_kind(column)}>{safe(column.title)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{_row(table.columns, row)}</tr>\n" for row in table.rows)
    footer = f"<tfoot><tr>{_row(table.columns, table.footer)}</tr></tfoot>\n" if table.footer is not None else ""
    return (
        f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table class="sortable">\n'
        f'<caption class="unseen">{title}</caption>\n'
        f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}</tbody>\n{footer}</table></div>"
    )


def _row(columns: Sequence[Column], row: Sequence[str | Cell]) -> str:
    cells = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
    return "".join(_cell(place, column, cell) for place, (column, cell) in enumerate(zip(columns, cells, strict=True)))


def _cell(place: int, column: Column, cell: Cell) -> str:
    """The first of a row is its heading."""
    key = _key(column, cell)
    attributes = _kind(column) + ("" if key is None else f' data-key="{safe(key)}"')
    text = name_html(cell.text)
    if cell.best:
        text = f'<strong class="best">{text} <abbr title="best">{BEST}</abbr></strong>'
    if cell.note:
        text += "".join(f"<small>{safe(part)}</small>" for part in one_line(cell.note, 2000).split(", "))
    return f'<th scope="row"{attributes}>{text}</th>' if place == 0 else f"<td{attributes}>{text}</td>"


def _kind(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _key(column: Column, cell: Cell) -> str | None:
    """What the script sorts by; None for what is unknown."""
    if cell.value is not None and math.isfinite(cell.value):
        return repr(float(cell.value))
    return None if column.number or cell.text in ("", UNKNOWN) else one_line(cell.text, 2000)


def direction(text: str) -> str:
    """`ltr` or `rtl`, by the first letter that has one. `dir="auto"` says the same, but has Chromium take half a
    minute over a text of a megabyte, or of many lines."""
    letters = (unicodedata.bidirectional(character) for character in text)
    return "ltr" if next((kind for kind in letters if kind in ("L", "R", "AL")), "L") == "L" else "rtl"


def preformatted(text: str) -> str:
    """`text` as it is, line by line; a long one scrolls in its own box."""
    scrolls = ' class="long" tabindex="0"' if len(text) > _LONGEST_MARKDOWN else ""
    return f'<pre dir="{direction(text)}"{scrolls}>\n{safe(text)}</pre>'


def markdown_html(text: str) -> str:
    """`text` read as Markdown, its first heading an h4; as it is where it is too long or too deep to be read so.

    Raw HTML is shown as text. An image is a word about it, and a link's address stands behind it.
    """
    clean = sanitize(text)
    if len(clean) > _LONGEST_MARKDOWN or _DEEP_QUOTE.search(clean):
        return preformatted(clean)
    reader = _reader()
    try:
        env: EnvType = {}
        tokens = reader.parse(clean, env)
        if any(token.level >= _DEEPEST - 1 for token in tokens):
            return preformatted(clean)
        for token in tokens:
            _settle(token)
        # sanitized again: '&#x202e;' is one of the characters that Markdown has names for
        body = sanitize(reader.renderer.render(tokens, reader.options, env))
    except RecursionError:
        return preformatted(clean)
    return f'<div class="markdown" dir="{direction(clean)}">{body}</div>'


def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": _DEEPEST})
    reader.enable(["table", "strikethrough"])
    # an address that is not allowed leaves its link standing as the text that it was
    reader.validateLink = _allowed  # type: ignore[method-assign]  # its own way to be told which links are allowed
    reader.add_render_rule("image", _image)
    reader.add_render_rule("link_close", _link_close)
    reader.add_render_rule("table_open", _table_open)
    reader.add_render_rule("table_close", _table_close)
    return reader


def _allowed(url: str) -> bool:
    return _ADDRESS.match(url) is not None


def _settle(token: Token) -> None:
    """Take out of a token what the page has no use for, and make inline styles, which the policy forbids, classes."""
    token.info = ""
    style = token.attrs.pop("style", None)
    if style in ("text-align:right", "text-align:center"):
        token.attrs["class"] = "number" if style == "text-align:right" else "middle"
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1:]) + 3)}"
    address = ""
    for child in token.children or ():
        if child.type == "link_open":
            address = str(child.attrs["href"])
            child.attrs = {"href": address, "rel": "noopener noreferrer"}
        elif child.type == "link_close":
            # an autolink's own text is its address
            child.content = "" if child.info == "auto" else address


def _image(_self: object, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    address = safe(str(tokens[index].attrs["src"]))
    return f'<span class="address">[image: {safe(tokens[index].content)} <span dir="ltr">{address}</span>]</span>'


def _link_close(_self: object, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    address = tokens[index].content
    return f'</a> <span class="address" dir="ltr">({safe(address)})</span>' if address else "</a>"


def _table_open(_self: object, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: EnvType) -> str:
    return '<div class="scroll" tabindex="0"><table>\n'


def _table_close(_self: object, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: EnvType) -> str:
    return "</table></div>\n"
