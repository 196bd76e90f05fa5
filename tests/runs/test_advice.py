"""What to do about failures that no server here can bring about."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import pytest

from llmswitch.errors import AuthenticationError, CallConnectionError, LLMSwitchError
from llmswitch.pricing import Prices
from llmswitch.profiles import load_settings
from llmswitch.runs.advice import is_cut_off, todo
from llmswitch.runs.call import Question, settle
from llmswitch.types import Message, Target


def advised(error: LLMSwitchError, tmp_path: Path, provider: str = "openai", **environ: str) -> str:
    home = {"LLMSWITCH_HOME": str(tmp_path), "OPENAI_API_KEY": "sk-0123456789"}
    settings = load_settings(cwd=tmp_path, environ={**home, **environ})
    question = Question((Message("user", "Hi"),), model="m")
    return todo(error, settle(settings, Target(provider, text=provider), question), settings, Prices())


def caused(*causes: BaseException) -> CallConnectionError:
    """An error with these behind it, as a client wraps what the system said."""
    outer: BaseException = CallConnectionError("no connection")
    first = outer
    for cause in causes:
        outer.__cause__ = cause
        outer = cause
    assert isinstance(first, CallConnectionError)
    return first


@pytest.mark.parametrize("code", [9, 10])  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
def test_a_certificate_of_another_time_is_a_matter_of_the_clock(tmp_path: Path, code: int) -> None:
    refused = ssl.SSLCertVerificationError("certificate verify failed")
    refused.verify_code = code
    assert "clock" in advised(caused(OSError("wrapped"), refused), tmp_path)


@pytest.mark.parametrize(
    ("cause", "cut_off", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), True, "api.openai.com has no address"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), True, "HTTPS_PROXY"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False, "nothing listens"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False, "firewall"),
    ],
)
def test_a_connection_is_told_by_what_the_system_said(
    tmp_path: Path, cause: OSError, cut_off: bool, words: str
) -> None:
    error = caused(RuntimeError("a client's own"), cause)
    assert words in advised(error, tmp_path)
    assert is_cut_off(error) is cut_off


def test_a_circle_of_causes_ends(tmp_path: Path) -> None:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert advised(caused(one), tmp_path)


def test_a_rejected_key_is_named_with_the_file_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GROQ_API_KEY=gsk-0123456789\n")
    assert "GROQ_API_KEY in ./.env" in advised(AuthenticationError("no"), tmp_path, "groq")
    assert "into OPENAI_API_KEY" in advised(AuthenticationError("no"), tmp_path)


def test_where_no_key_is_sent_none_is_to_be_replaced(tmp_path: Path) -> None:
    assert "llmswitch init" in advised(AuthenticationError("no"), tmp_path, "ollama", OLLAMA_MODEL="m")
