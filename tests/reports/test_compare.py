"""Ranking, ratios and what several askings show, over comparisons built by hand."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

import pytest
from rich.console import Console

from llmswitch.errors import CallTimeoutError, ServerError
from llmswitch.reports.compare import best_target, comparison_table, failures, footnotes, narrowed, statements
from llmswitch.reports.compare_document import comparison_document
from llmswitch.reports.measures import MEASURES, differences, standings
from llmswitch.reports.rows import Cell
from llmswitch.reports.sections import Sections
from llmswitch.reports.table import plain, print_table
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample
from llmswitch.types import Usage
from tests.reports.comparisons import answered, comparison, failed

LATENCY = next(measure for measure in MEASURES if measure.name == "duration_s")
COST = next(measure for measure in MEASURES if measure.name == "cost")


def column(found: Comparison, title: str) -> list[Cell]:
    table = comparison_table(found)
    place = [column.title for column in table.columns].index(title)
    return [cell if isinstance(cell := row[place], Cell) else Cell(cell) for row in table.rows]


def rounds(target: str, times: Sequence[float], cost: str | None = "0.001") -> list[Sample]:
    return [answered(target, "x", duration_s=time, repeat=n, cost=cost) for n, time in enumerate(times)]


def test_the_best_is_marked_and_the_others_have_their_ratio_to_it() -> None:
    found = comparison([answered("a", "x", duration_s=2.0, cost="0.004"), answered("b", "x", cost="0.001")])
    slow, fast = column(found, "latency")
    assert (slow.text, slow.note, slow.best) == ("2.00 s", "2.0× slower", False)
    assert (fast.text, fast.note, fast.best) == ("1.00 s", "", True)
    assert column(found, "cost")[0].note == "4.0× the cost"
    assert column(found, "tokens/s")[0].note == "2.0× slower"
    assert (best_target(found, LATENCY), best_target(found, COST)) == ("b", "b")


def test_what_is_the_same_to_the_eye_has_no_ratio() -> None:
    found = comparison([answered("a", "x", duration_s=1.0), answered("b", "x", duration_s=1.001)])
    assert [cell.note for cell in column(found, "latency")] == ["", ""]
    assert [cell.best for cell in column(found, "cost")] == [True, True]


def test_one_alone_is_best_of_nothing() -> None:
    found = comparison([answered("a", "x"), failed("b", ServerError("no"))])
    assert not any(isinstance(cell, Cell) and cell.best for row in comparison_table(found).rows for cell in row)
    assert best_target(found, LATENCY) == "a"
    assert column(found, "finish")[1].text == "server"
    assert "the best" not in " ".join(footnotes(found, comparison_table(found)))


def test_none_that_answered_is_best_of_nothing_either() -> None:
    found = comparison([failed("a", ServerError("no")), failed("b", CallTimeoutError("no"))])
    assert best_target(found, LATENCY) is None
    assert best_target(found, COST) is None
    assert plain(comparison_table(found)).count("–") == 12


def test_a_cached_answer_is_shown_with_its_first_costs_and_no_time_that_counts() -> None:
    fresh = [answered("b", "x", duration_s=9, cost="0.004"), answered("c", "x", duration_s=10, cost="0.004")]
    found = comparison([answered("a", "x", cached=True, cost="0.002"), *fresh])
    assert best_target(found, LATENCY) == "b"
    assert best_target(found, COST) == "a"
    assert column(found, "latency")[0] == Cell("2 ms")
    assert column(found, "cost")[0].text == "$0.002000"
    assert column(found, "output")[0].text == "40"
    assert column(found, "finish")[0].text == "stop, cached"
    assert any("cached" in note for note in footnotes(found, comparison_table(found)))


@pytest.mark.parametrize(
    "other",
    [
        answered("b", "", duration_s=0.1, cost="0.0001"),
        answered("b", " \n", duration_s=0.1, cost="0.0001"),
        answered("b", "I can't.", duration_s=0.1, cost="0.0001", finish_reason="content_filter"),
        answered("b", "x", duration_s=0.1, cost="0.0001", finish_reason="error"),
    ],
)
def test_what_is_no_whole_answer_is_never_the_best(other: Sample) -> None:
    found = comparison([answered("a", "x"), other, answered("c", "x", duration_s=2, cost="0.002")])
    assert best_target(found, LATENCY) == "a"
    assert best_target(found, COST) == "a"
    assert [cell.best for cell in column(found, "latency")] == [True, False, False]


def test_an_unknown_cost_is_no_rival_and_a_free_one_has_no_ratios() -> None:
    found = comparison([answered("a", "x", cost=None), answered("b", "x", cost="0"), answered("c", "x", cost="0.1")])
    unknown, free, dear = column(found, "cost")
    assert unknown.text == "–"
    assert free.best
    assert dear.note == ""
    assert best_target(found, COST) == "b"


def test_money_is_shown_to_the_last_digit_it_has() -> None:
    found = comparison([answered("a", "x", cost="0.000000000123"), answered("b", "x", cost="1234.5")])
    document = comparison_document(found, Sections())
    assert Decimal(document["results"][0]["cost"]["amount"]) == Decimal("0.000000000123")
    assert column(found, "cost")[1].text == "$1,234.50"


def test_medians_and_reach_of_several_askings() -> None:
    found = comparison([*rounds("a", [1, 2, 9]), *rounds("b", [3, 3, 3])], repeats=3)
    a, b = column(found, "latency")
    assert a.text == "2.00 s"
    assert a.note == "1.00 s to 9.00 s"
    assert b.note == "3.00 s"


def test_two_are_different_only_where_every_round_says_so() -> None:
    clear = comparison([*rounds("a", [1, 1.1, 1.2, 1, 1.1, 1.2]), *rounds("b", [2, 2, 2.2, 2, 2, 2])], repeats=6)
    told = differences(standings(clear, LATENCY))
    assert [(d.better, d.worse, d.shown) for d in told] == [("a", "b", True)]
    assert best_target(clear, LATENCY) == "a"
    assert any(line.startswith("latency: b is 1.") for line in statements(clear))
    mixed = comparison([*rounds("a", [1, 1.1, 1.2, 1, 1.1, 3]), *rounds("b", [2, 2, 2.2, 2, 2, 2])], repeats=6)
    assert best_target(mixed, LATENCY) is None
    assert not any(cell.best or "slower" in cell.note for cell in column(mixed, "latency"))
    assert any("latency: b and a cannot be told apart" in line for line in statements(mixed))


def test_too_few_rounds_say_how_many_it_takes() -> None:
    found = comparison([*rounds("a", [1, 1, 1]), *rounds("b", [2, 2, 2]), *rounds("c", [3, 3, 3])], repeats=3)
    assert best_target(found, LATENCY) is None
    assert statements(found) == ("3 rounds that all of them answered are too few to tell a, b, c apart; 7 can.",)


def test_drift_that_hits_both_alike_hides_no_difference() -> None:
    drift = [1, 2, 3, 4, 5, 6, 7]
    found = comparison([*rounds("a", drift), *rounds("b", [time * 1.2 for time in drift])], repeats=7)
    assert best_target(found, LATENCY) == "a"


def test_rounds_that_one_of_them_failed_are_no_pairs() -> None:
    times = [1.0] * 6
    failing = [*rounds("b", [2.0] * 5), failed("b", ServerError("no"), repeat=5)]
    found = comparison([*rounds("a", times), *failing], repeats=6)
    assert best_target(found, LATENCY) is None
    assert column(found, "finish")[1].text == "5 stop, 1 server"


def test_costs_that_never_vary_are_told_apart_exactly() -> None:
    found = comparison([*rounds("a", [1] * 6, "0.001"), *rounds("b", [1] * 6, "0.003")], repeats=6)
    assert best_target(found, COST) == "a"
    assert "cost: b is 3.0× the cost of a (3.00×)." in statements(found)


def test_rounds_that_only_one_answered_make_nobody_the_best() -> None:
    """Over all rounds a has the better median; in every round that both answered, b is faster."""
    a = rounds("a", [1.0] * 11 + [3.0] * 9)
    b = [failed("b", CallTimeoutError("late"), repeat=n) for n in range(11)]
    b += [answered("b", "x", duration_s=2.0, repeat=n) for n in range(11, 20)]
    found = comparison([*a, *b], repeats=20)
    assert best_target(found, LATENCY) is None
    assert not any(difference.shown for difference in differences(standings(found, LATENCY)))
    assert any("latency: b and a cannot be told apart" in line for line in statements(found))


def test_no_round_that_both_answered_is_said() -> None:
    a = [*rounds("a", [1.0]), failed("a", ServerError("no"), repeat=1)]
    b = [failed("b", ServerError("no")), answered("b", "x", repeat=1)]
    found = comparison([*a, *b], repeats=2)
    assert best_target(found, LATENCY) is None
    assert statements(found) == ("0 rounds that all of them answered are too few to tell a, b apart; 6 can.",)


def test_a_free_target_is_the_cheapest_where_every_round_says_so() -> None:
    found = comparison([*rounds("a", [1] * 6, "0"), *rounds("b", [1] * 6, "0.003")], repeats=6)
    assert best_target(found, COST) == "a"
    assert "cost: a is free, b is not." in statements(found)
    (told,) = (d for d in comparison_document(found, Sections())["differences"] if d["measure"] == "cost")
    assert (told["different"], told["ratio"], told["low"]) == (True, None, None)


def test_a_real_but_tiny_difference_is_called_tiny() -> None:
    found = comparison([*rounds("a", [1] * 6, "0.001000"), *rounds("b", [1] * 6, "0.001003")], repeats=6)
    assert "cost: b and a differ by less than 1 % (1.00×)." in statements(found)


def test_the_only_figure_among_answers_without_one_is_best_of_nothing() -> None:
    unknown = comparison([answered("a", "x", cost=None), answered("b", "x")])
    assert best_target(unknown, COST) is None
    cached = comparison([answered("a", "x", cached=True), answered("b", "x", duration_s=9)])
    assert best_target(cached, LATENCY) is None


def test_absurd_ratios_are_capped() -> None:
    found = comparison([answered("a", "x", duration_s=5e5), answered("b", "x", duration_s=1e-6)])
    assert column(found, "latency")[0].note == "over 1,000× slower"


def test_tokens_of_several_askings_are_their_median() -> None:
    samples = [answered("a", "x", repeat=n) for n in range(3)]
    many = replace(samples[0].response, usage=Usage(20, 5, 0, 0, 0)) if samples[0].response else None
    found = comparison([samples[0]._replace(response=many), *samples[1:]], repeats=3)
    assert column(found, "output")[0].text == "40"


def test_for_80_cells_the_model_stands_under_its_target() -> None:
    found = comparison([answered("a", "x", duration_s=2.0), answered("b", "x"), failed("c", ServerError("no"))])
    table = narrowed(comparison_table(found))
    first, _, third = table.rows
    assert first[0] == Cell("a", "m-1")
    assert first[2] == Cell("2.00 s", "2.0×", value=2.0)
    assert first[4] == Cell("20 in", "40 out")
    assert third[4] == "–"


def test_the_document_of_repeats_holds_every_sample_and_its_statistics() -> None:
    samples = [*rounds("a", [1] * 6), *rounds("b", [2] * 5), failed("b", CallTimeoutError("late"), repeat=5)]
    document = comparison_document(comparison(samples, repeats=6), Sections())
    assert len(document["samples"]) == 12
    assert document["results"][1]["text"] == "x"
    b = document["statistics"][1]
    assert b["errors"] == {"timeout": 1}
    assert b["duration_s"] == {"answers": 5, "median": 2.0, "low": None, "high": None, "min": 2.0, "max": 2.0}
    assert document["statistics"][0]["duration_s"]["low"] == 1.0


@pytest.mark.parametrize("targets", [2, 4])
@pytest.mark.parametrize("repeats", [1, 6])
def test_on_80_cells_every_row_has_its_target_and_every_figure_is_whole(targets: int, repeats: int) -> None:
    names = [f"openai:model-{n}" for n in range(targets)]
    found = comparison(
        [s for n, name in enumerate(names) for s in rounds(name, [n + 1.25 + 0.1 * r for r in range(repeats)])],
        repeats=repeats,
    )
    table = comparison_table(found)
    out = io.StringIO()
    console = Console(width=80)
    with patch.dict("os.environ", {"COLUMNS": "80"}):
        print_table(table, out, decorated=True, narrow=narrowed(table))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= console.width
    joined = "".join(line[:20].strip() for line in lines)
    for n, name in enumerate(names):
        assert name in joined
        assert any(f"{n + 1.25 + 0.1 * (repeats - 1) / 2:.2f} s" in line for line in lines)


def test_a_failed_target_says_why_below_the_table() -> None:
    found = comparison([answered("a", "x"), failed("b", ServerError("no luck"))])
    assert failures(found) == ("b: no luck",)
