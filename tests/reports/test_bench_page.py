"""The page of a run, in a browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page

from llmswitch.reports.bench_page import bench_page
from llmswitch.runs.bench.document import RunDocument
from tests.reports.conftest import Show
from tests.reports.runs import TARGETS, check, compared, failed, many_rows, nights, row, rows_of, run, target
from tests.reports.test_bench_formats import NASTY, nasty_run
from tests.reports.test_compare_page import FAINT, sideways

CLIENT = {"loop_lag_p99_s": 0.03, "cpu_fraction": 0.91, "saturated": True, "paced": True, "in_flight": 44.0}


def document() -> RunDocument:
    checks = [check(), check("score:-2pp", "gemini", "inconclusive"), check("cost:+5%", verdict="pass")]
    return run(
        target(TARGETS[0], p50=0.4, passed=0.93, pass_at_k={"1": 0.9, "5": 1.0}, pass_hat_k={"1": 0.9, "5": 0.6}),
        target(TARGETS[1], p50=0.61, passed=0.97, cost="0.31"),
        target(TARGETS[2], p50=0.77, passed=0.8, cost="0.02", errors={"timeout": 2}),
        target(TARGETS[3], p50=0.92, passed=0.9, cost=None),
        comparisons=[compared(TARGETS[0], TARGETS[1]), compared("claude", "gemini", "score", verdict="undecided")],
        gate={"verdict": "fail", "checks": checks, "baseline": None, "alpha": 0.05, "reason": "fail: 1 of 3 checks."},
        client={**CLIENT, "offered_rps": 170.0, "asked_rps": 200.0},
        warnings=["{{missing}} has no value."],
    )


@pytest.fixture(scope="module")
def full() -> str:
    """A page with every section in it."""
    found = document()
    return bench_page(found, many_rows(TARGETS, 20, 3), nights(12, *found["targets"]))


def three() -> str:
    """Three cases: one passes everywhere, one nowhere, one with one of two."""
    rows = [
        row("1.1", "a", text="right", prompt="one"),
        row("1.1", "b", text="right too", prompt="one"),
        row("1.2", "a", text="<b>good</b>", prompt="two"),
        row("1.2", "b", passed=False, text="bad", prompt="two"),
        row("1.2", "b", 1, text="better", prompt="two"),
        replace(failed("1.10", "a"), description="refund"),
        row("1.10", "b", passed=False, text="", description="refund"),
    ]
    return bench_page(run(target("a"), target("b")), rows_of(rows))


@pytest.mark.parametrize("width", [1280, 390], ids=["wide", "phone"])
def test_everything_is_there_and_nothing_sticks_out(show: Show, full: str, width: int) -> None:
    page = show(full, width=width)

    assert page.locator("h1").inner_text() == "support answers"
    assert page.locator(".verdict-line").inner_text().split() == ["✗", "FAIL", "1", "of", "3", "checks."]
    assert page.locator("section > h2").all_inner_texts() == [
        "Gate",
        "Figures",
        "Latency, and cost against quality",
        "Night after night",
        "Cases",
        "How it was measured",
    ]
    assert "This machine was the bottleneck" in page.locator("aside").inner_text()
    assert page.locator("figcaption").all_inner_texts() == [
        "E2E latency",
        "Time to first token",
        "Cost of 1,000 calls against score",
        "Passed",
        "E2E latency, median",
        "E2E latency, p95",
        "Cost of 1,000 calls",
    ]
    page.locator(".case .cell").nth(1).click()
    assert sideways(page) == 0
    inside: bool = page.evaluate(
        """() => [...document.querySelectorAll("figure, section > .scroll, .matrix, article")].every((element) => {
            const box = element.getBoundingClientRect();
            return box.left >= 0 && box.right <= innerWidth;
        })"""
    )
    assert inside


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_against_its_background(show: Show, full: str, dark: bool) -> None:
    page = show(full, dark=dark)

    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate(FAINT) == []


#: each line's and mark's colour against the card behind it, as WCAG 2.2 asks of graphics, under 3
FAINT_LINES = """() => {
  const light = (colour) => colour.match(/[\\d.]+/g).map(Number).slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const card = light(getComputedStyle(document.querySelector("figure")).backgroundColor);
  return [0, 1, 2, 3, 4, 5, 6, 7].map((place) => {
    const svg = document.querySelector(".swatch").cloneNode(true);
    svg.setAttribute("class", `plot s${place}`);
    document.body.append(svg);
    const own = light(getComputedStyle(svg.querySelector(".curve")).stroke);
    return (Math.max(own, card) + 0.05) / (Math.min(own, card) + 0.05);
  }).filter((contrast) => contrast < 3);
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_series_are_seen_against_the_card_and_told_apart_without_their_colours(
    show: Show, full: str, dark: bool
) -> None:
    page = show(full, dark=dark)

    assert page.evaluate(FAINT_LINES) == []
    dashes = "element => getComputedStyle(element).strokeDasharray"
    drawn = [path.evaluate(dashes) for path in page.locator("figure").first.locator("path.curve").all()]
    assert len(set(drawn)) == len(TARGETS)
    assert page.locator("figure").first.locator("text.letter.middle").all_text_contents() == ["A", "B", "C", "D"]


def test_drawings_say_what_they_show_to_those_who_do_not_see_them(show: Show, full: str) -> None:
    labels = show(full).locator("figure svg").evaluate_all("all => all.map((svg) => svg.getAttribute('aria-label'))")

    assert labels[0].startswith("E2E latency: claude median ")
    assert "gemini 0.80 at $0.20" in labels[2]
    assert all(TARGETS[1] in label for label in labels)


def titles(page: Page) -> list[str]:
    return [text.split()[0] for text in page.locator(".case:visible > summary > :first-child").all_text_contents()]


def test_figures_sort_by_number(show: Show, full: str) -> None:
    page = show(full)
    rows = page.locator("section.figures table").first.locator("tbody th bdi")

    page.get_by_role("button", name="E2E p50", exact=True).click()
    page.get_by_role("button", name="E2E p50", exact=True).click()

    assert rows.all_inner_texts() == [*TARGETS[::-1]]


def test_cases_that_did_not_pass_come_first_and_their_cells_tell_how_often(show: Show) -> None:
    page = show(three())

    assert titles(page) == ["1.2", "1.10", "1.1"]
    cells = page.locator(".case .cell").evaluate_all("all => all.map((cell) => cell.title)")
    assert cells == ["a passed", "b passed in part", "a failed", "b did not pass", "a passed", "b passed"]
    assert page.locator(".case .cell").nth(1).text_content() == "b passed in part◐ 1/2"


def test_a_cell_opens_the_case_at_the_answer_behind_it(show: Show) -> None:
    page = show(three())
    case = page.locator(".case").first

    assert not case.locator("article").first.is_visible()
    case.locator(".cell").nth(1).click()
    assert case.locator("article.sought h3 bdi").inner_text() == "b"
    assert case.locator(".prompt").inner_text().strip() == "two"
    assert case.locator("article.sought > pre").inner_text() == "bad"  # what did not pass comes first
    assert case.locator("article.sought .reasons").inner_text() == "contains: '30 days' is not in it"
    assert not case.get_by_text("better").is_visible()
    case.locator("article.sought summary").click()
    assert case.get_by_text("better").is_visible()
    assert case.locator("article").first.locator("pre").inner_text() == "<b>good</b>"
    case.locator(".cell").first.click()
    assert case.locator("article.sought h3 bdi").inner_text() == "a"
    case.locator(".cell").first.click()
    assert not case.locator("article").first.is_visible()


def test_a_case_opens_by_keyboard_and_without_the_script(show: Show) -> None:
    page = show(three())
    page.locator(".case summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".case article").first.is_visible()

    plain = show(three(), java_script_enabled=False)
    plain.locator(".case .cell").nth(1).click()
    assert plain.locator(".case article").nth(1).is_visible()
    assert plain.locator(".filters").count() == 0


def test_cases_can_be_searched_and_those_that_all_passed_hidden(show: Show) -> None:
    page = show(three())

    page.get_by_role("button", name="Not all passed (2)").click()
    assert titles(page) == ["1.2", "1.10"]
    page.get_by_role("searchbox").fill("REFUND")
    assert titles(page) == ["1.10"]
    assert page.locator(".filters [role=status]").inner_text() == "1 shown"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Targets differ (1)").click()
    assert titles(page) == ["1.2"]
    assert page.locator(".filters [aria-pressed=true]").inner_text() == "Targets differ (1)"


def test_a_large_run_has_a_page_of_bounded_size_that_says_what_it_leaves_out(show: Show) -> None:
    answer = "<&'" * 400
    source = bench_page(run(*(target(name) for name in TARGETS)), many_rows(TARGETS, 1100, 1, text=answer))

    assert len(source.encode()) < 10_000_000
    page = show(source)
    assert page.locator(".case").count() == 1000
    told = page.locator("section > .note", has_text="1,000 are shown here").inner_text()
    assert re.search(r"of 1,100 cases did not pass everywhere, and come first\.", told)
    assert re.search(r"[\d,]+ answers of them are left out to keep the page small", told)
    first = page.locator(".case").first
    first.locator(".cell.bad").first.click()
    assert first.locator("article.sought pre, article.sought .reasons").count() > 0  # what failed was kept


@pytest.mark.parametrize("rows", [[], [failed("1.1", "a")], [row("1.1", "a", passed=None, score=None)]])
def test_a_run_of_next_to_nothing_has_a_page(show: Show, rows: list[object]) -> None:
    empty = target("a", passed=None, cost=None, samples=len(rows), duration_s={}, time_to_first_token_s={})

    page = show(bench_page(run(empty, verdict="not judged"), rows_of(rows)))  # type: ignore[arg-type]  # of all three

    assert page.locator(".case").count() == len(rows)
    assert "NOT JUDGED" in page.locator(".verdict-line").inner_text()


#: elements and attributes that the page has; any other would be a text's
KNOWN = set(
    "html head meta title style script body main header section aside article figure figcaption details summary time "  # noqa: SIM905
    "h1 h2 h3 p ul li div span bdi wbr strong small b abbr pre dl dt dd table caption thead tbody tr th td button "
    "input svg g rect path circle text".split()
)
HARMLESS = set(
    "lang charset http-equiv content name class role aria-label aria-sort aria-hidden aria-pressed tabindex scope "  # noqa: SIM905
    "title data-key data-place data-passed data-differ type placeholder dir datetime viewBox x y width height cx cy r "
    "d open hidden".split()
)


def test_nothing_hostile_becomes_an_element_or_runs(show: Show) -> None:
    # each a target, a case and a check of its own: every other is enough, and takes a quarter of the time
    texts = [text.replace("alert(1)", "window.__pwned=1") for text in NASTY[::2]]
    found, rows = nasty_run(*texts, "x" * 50_000, "天" * 5000)

    page = show(bench_page(found, rows_of(rows), nights(1, *found["targets"])), width=390)

    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.locator("thead button").first.click()
    page.locator(".case .cell").first.click()
    page.get_by_role("searchbox").fill("<script>")
    tags, attributes = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("*")];
            const names = all.flatMap((element) => element.getAttributeNames());
            return [[...new Set(all.map((element) => element.localName))], [...new Set(names)]];
        }"""
    )
    assert set(tags) <= KNOWN
    assert set(attributes) <= HARMLESS
    assert page.locator(".case").count() == len({one.case for one in rows})
    assert {name: page.locator(name).count() for name in ("script", "style", "main", "header")} == dict.fromkeys(
        ("script", "style", "main", "header"), 1
    )
    assert page.evaluate("window.__pwned") is None
    assert "\u202e" not in page.locator("body").inner_text()
    assert sideways(page) == 0
