"""Assertions on how near the answer is to a text: edits, and n-grams in common."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding, scored, yes_or_no
from llmswitch.assertions.js import trim, units, words

__all__ = ["bleu", "levenshtein", "rouge_n"]

_NGram = tuple[str, ...]


def levenshtein(assertion: Assertion, answer: Answer) -> Finding:
    """At most `threshold` (5) edits of one UTF-16 code unit lead from the answer to the value."""
    from rapidfuzz.distance import Levenshtein

    if not isinstance(assertion.value, str):
        raise GradingError("its value is no text to compare with.")
    threshold = 5 if assertion.threshold is None else assertion.threshold
    most = max(0, math.floor(threshold))
    # with a cutoff, long texts are not compared to their ends
    distance = Levenshtein.distance(units(answer.text), units(assertion.value), score_cutoff=most)
    found = distance <= threshold
    seen = f"its distance is {distance}" if distance <= most else f"its distance is above {most}"
    return yes_or_no(assertion, found, f"{seen}, where {threshold:g} is the threshold")


def bleu(assertion: Assertion, answer: Answer) -> Finding:
    """BLEU of 1- to 4-grams in lower case against a text, or a list of them, is at least `threshold` (0.5).

    Orders that the answer is too short for are left out, and a precision of 0 counts as 1e-7. Source: Papineni et al.,
    BLEU: a method for automatic evaluation of machine translation (2002).
    """
    given = assertion.value if isinstance(assertion.value, list) else [assertion.value]
    if not given or not all(isinstance(one, str) for one in given):
        raise GradingError("its value is neither a text nor a list of them.")
    return scored(assertion, _bleu(answer.text, given), 0.5, "BLEU")


def _bleu(answer: str, references: Sequence[str]) -> float:
    said = words(answer.lower())
    if not said:
        return 0.0
    # no word at all is an empty one there
    wanted = [words(reference.lower()) or [""] for reference in references]
    length = min((abs(len(one) - len(said)), len(one)) for one in wanted)[1]
    precisions = []
    for n in range(1, min(4, len(said)) + 1):
        grams = Counter(_ngrams(said, n))
        common = max((grams & Counter(_ngrams(one, n))).total() for one in wanted)
        precisions.append(common / grams.total() or 1e-7)
    brevity = 1.0 if len(said) > length else math.exp(1 - length / len(said))
    return brevity * math.exp(math.fsum(map(math.log, precisions)) / len(precisions))


def rouge_n(assertion: Assertion, answer: Answer) -> Finding:
    """ROUGE-1: the F-measure of words in common, each counted as often as both have it, is at least `threshold` (0.75).

    In lower case, words as the Penn Treebank divides them. Source: Lin, ROUGE: a package for automatic evaluation of
    summaries (2004).
    """
    if not isinstance(assertion.value, str):
        raise GradingError("its value is no text to compare with.")
    said, wanted = (Counter(_treebank(text.lower())) for text in (answer.text, assertion.value))
    common = (said & wanted).total()
    score = 2 * common / (said.total() + wanted.total()) if common else 0.0
    return scored(assertion, score, 0.75, "ROUGE-1")


def _ngrams(tokens: Sequence[str], n: int) -> list[_NGram]:
    return [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]


#: the steps of the Penn Treebank's tokenizer, quotes left out; text is in lower case. Source: R. MacIntyre, 1995
_STEPS = tuple(
    (re.compile(expression), replacement)
    for expression, replacement in (
        (r"\.{3}", " ... "),
        (r"[:,](?!\d)", r" \g<0> "),
        (r"[;@#$%&]", r" \g<0> "),
        (r"([^.])(?<!\b[a-z]\.[a-z])(\.)([\])}>'\s]*)\Z", r"\1 \2\3 "),
        (r"[?!]", r" \g<0> "),
        (r"[\]\[(){}<>]", r" \g<0> "),
        (r"--", r" -- "),
        (r"\A|\Z", " "),
        (r"([^'])' ", r"\1 ' "),
        (r"'([smd]) ", r" '\1 "),
        (r"('ll|'re|'ve|n't) ", r" \1 "),
        (r"(?<!\w)(can)(not)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(d)('ye)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(gim|lem)(me)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(gon)(na)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(got)(ta)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(more)('n)(?!\w)", r" \1 \2 "),
        (r"(?<!\w)(wan)(na)(?= )", r" \1 \2 "),
        (r"(?<!\w)('t)(is|was)(?!\w)", r" \1 \2 "),
    )
)
_QUOTE = re.compile(r"``|''|\"")


def _treebank(text: str) -> list[str]:
    text = trim(re.sub(r"[\s\x85\ufeff]+", " ", text))
    text = _directed(text)
    for expression, replacement in _STEPS:
        text = expression.sub(replacement, text)
    return text.split()


def _directed(text: str) -> str:
    """Double quotes as tokens of their own: `` where a quotation begins, '' where it ends."""
    opened, parts, last = False, [], 0
    for found in _QUOTE.finditer(text):
        opened = found[0] == "``" or (not opened and _opens(text, found))
        parts += [text[last : found.start()], " `` " if opened else " '' "]
        last = found.end()
    return "".join((*parts, text[last:]))


def _opens(text: str, found: re.Match[str]) -> bool:
    """A mark at the start, or after white space or punctuation that ends no sentence, and with something to quote."""
    import unicodedata

    start, end = found.span()
    before = text[start - 1 : start]
    kind = unicodedata.category(before)[0] if before else "Z"
    if before in tuple(".!?") or (kind not in "ZP" and before != "<"):
        return False
    if end == len(text) and before and before not in " <" and unicodedata.category(before) != "Ps":
        return False
    return found[0] == '"' or (start > 0 and _quotes(text, end))


def _quotes(text: str, start: int) -> bool:
    """Whether two apostrophes before `start` begin a quotation that two more end."""
    import unicodedata

    following = _QUOTE.search(text, start)
    if following is None or following[0] != "''" or following.start() == start:
        return False
    kind = unicodedata.category(text[start])
    return kind[0] in "LN" or kind in ("Sc", "Ps")
