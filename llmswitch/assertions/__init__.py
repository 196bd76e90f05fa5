"""Which assertions there are: a name, the file that knows it, and what may stand in a suite.

A new assertion is one row here and one function `(assertion, answer) -> Finding` in its family's file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from llmswitch.assertions import checks
from llmswitch.assertions.base import Assertion
from llmswitch.text import one_line

__all__ = ["Row", "find", "names", "unknown"]


class Row(NamedTuple):
    """What is known of a type before it is used.

    `quick` tells that it takes no longer than reading the answer, so that it may run on an event loop, `graded` that
    a model grades, `compares` that this model is shown all answers of a case, `code` that it runs what a suite brings.
    `negatable` tells that `not-` means something. `members` is for assert-set alone, which is no test of its own.
    """

    name: str
    module: str
    function: str
    checks: tuple[checks.Check, ...] = ()
    quick: bool = False
    graded: bool = False
    compares: bool = False
    code: bool = False
    negatable: bool = True
    members: bool = False

    @property
    def run(self) -> Any:
        """The function, imported now; of a `graded` row, its `Judging`."""
        return getattr(import_module(f"llmswitch.assertions.{self.module}"), self.function)

    def check(self, assertion: Assertion) -> str | None:
        """What is wrong with it before anything is asked, as a sentence; None where nothing is.

        A value with a template in it may still turn out to be wrong, which is then an error of the one sample.
        """
        if assertion.negated and not self.negatable:
            return f"not-{self.name} means nothing: leave the 'not-' out."
        for one in (checks.numbers, *self.checks):
            if (fault := one(assertion)) is not None:
                return f"{assertion.name}: {fault}"
        return None


_ROWS = (
    Row("equals", "text", "equals", (checks.given,), quick=True),
    Row("contains", "text", "contains", (checks.text_or_number,), quick=True),
    Row("icontains", "text", "icontains", (checks.text_or_number,), quick=True),
    Row("contains-any", "text", "contains_any", (checks.texts,), quick=True),
    Row("icontains-any", "text", "icontains_any", (checks.texts,), quick=True),
    Row("contains-all", "text", "contains_all", (checks.texts,), quick=True),
    Row("icontains-all", "text", "icontains_all", (checks.texts,), quick=True),
    Row("starts-with", "text", "starts_with", (checks.text,), quick=True),
    Row("regex", "text", "regex", (checks.text,)),
    Row("is-json", "structure", "is_json", (checks.json_schema,)),
    Row("contains-json", "structure", "contains_json", (checks.json_schema,)),
    Row("is-xml", "xml", "is_xml", (checks.elements,)),
    Row("contains-xml", "xml", "contains_xml", (checks.elements,)),
    Row("is-sql", "sql", "is_sql", (checks.sql,)),
    Row("levenshtein", "similarity", "levenshtein", (checks.any_text,)),
    Row("rouge-n", "similarity", "rouge_n", (checks.any_text,)),
    Row("bleu", "similarity", "bleu", (checks.references,)),
    Row("latency", "measures", "latency", (checks.threshold,), quick=True),
    Row("cost", "measures", "cost", (checks.threshold,), quick=True),
    Row("perplexity", "measures", "perplexity", quick=True),
    Row("perplexity-score", "measures", "perplexity_score", quick=True),
    Row("word-count", "measures", "word_count", (checks.count,), quick=True),
    Row("finish-reason", "measures", "finish_reason", (checks.finish_reason,), quick=True),
    Row("is-refusal", "refusal", "is_refusal", quick=True),
    Row("python", "code", "run_python", (checks.text,), code=True),
    Row("llm-rubric", "judgings", "RUBRIC", (checks.rubric, checks.share), graded=True),
    Row("model-graded-closedqa", "judgings", "CLOSED_QA", (checks.any_text,), graded=True, negatable=False),
    Row("model-graded-factuality", "judgings", "FACTUALITY", (checks.category_scores,), graded=True, negatable=False),
    Row("factuality", "judgings", "FACTUALITY", (checks.category_scores,), graded=True, negatable=False),
    Row("select-best", "judgings", "BEST", (checks.text,), graded=True, compares=True, negatable=False),
    Row("assert-set", "grade", "fold", (checks.members,), negatable=False, members=True),
)
_BY_NAME = {row.name: row for row in _ROWS}


_EMBEDDINGS = "it takes embeddings, and no provider here has a call for them"
#: what promptfoo has and this has not -> why
_ELSEWHERE = {
    "human": "it asks a person",
    "javascript": "it needs Node: write it as python",
    "max-score": "compare the targets' scores in the report instead",
    "ruby": "it needs Ruby: write it as python",
    "similar": _EMBEDDINGS,
    "similar:cosine": _EMBEDDINGS,
    "similar:dot": _EMBEDDINGS,
    "similar:euclidean": _EMBEDDINGS,
    "webhook": "it sends answers elsewhere",
}


def find(type_name: str) -> Row | None:
    """The row of an assertion's type, written without `not-`; None where there is none, which `unknown` explains."""
    return _BY_NAME.get(type_name)


def names() -> tuple[str, ...]:
    """Every type that `find` knows."""
    return tuple(_BY_NAME)


def unknown(type_name: str) -> str:
    """Why a suite cannot have the type, as a sentence."""
    from difflib import get_close_matches

    if type_name in _ELSEWHERE:
        return f"the assertion {type_name} is not supported: {_ELSEWHERE[type_name]}."
    near = get_close_matches(type_name[:40], _BY_NAME, n=1)
    meant = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(_BY_NAME)}."
    return f"there is no assertion {one_line(type_name, 40)!r}.{meant}"
