"""What a server says, before it is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmswitch.providers.values import Halves, whole
from llmswitch.types import Chunk

#: any text, halves of letters among it
TEXTS = st.text(st.one_of(st.sampled_from("a\ud83d\ude00"), st.characters(codec="utf-8")))


@given(TEXTS)
def test_a_whole_text_can_be_written_and_keeps_every_letter(text: str) -> None:
    shown = whole(text)
    shown.encode()
    assert [c for c in text if c == "a"] == [c for c in shown if c == "a"]
    assert whole(shown) == shown


@given(st.lists(TEXTS))
def test_where_a_stream_is_cut_does_not_matter(parts: list[str]) -> None:
    halves = Halves()
    joined = [halves.join(Chunk(text=part)) for part in parts] + halves.rest()
    assert "".join(chunk.text for chunk in joined) == whole("".join(parts))
