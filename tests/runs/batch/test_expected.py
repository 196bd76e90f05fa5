"""What a batch will come to, before anything of it is sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from llmswitch.reports.batch import expected_lines
from llmswitch.runs.batch.inputs import Row
from llmswitch.runs.batch.plan import Plan
from llmswitch.runs.batch.prepare import Order
from llmswitch.runs.batch.submit import drafted, expected
from tests.runs.batch.life import Life, folders_of, services_of, settings_of


def test_answers_that_nobody_limits_are_bounded_as_a_budget_would(tmp_path: Path) -> None:
    life = Life(tmp_path, {"OPENAI_API_KEY": "sk-nobody", "OPENAI_MODEL": "gpt-4o"}, "openai")
    settings, folders = settings_of(life), folders_of(life)
    order = Order(folders.new_id(), Plan((life.target,), "text"), settings, services_of(settings))
    rows = (Row(number, f"question {number}") for number in range(1, 1001))
    with drafted(order, folders, rows) as draft:
        (one,) = expected(draft.prepared, order.services)
    assert (one.cost.about, one.cost.high) == (None, None)
    # 1,000 answers of 8,192 tokens at $5 a million in a batch, and little input
    assert one.most is not None
    assert Decimal("40.96") < one.most < Decimal(41)
    (line,) = expected_lines([one])
    assert "to $40.9" in line
    assert line.endswith("at 8,192 tokens an answer: nobody limits them")
