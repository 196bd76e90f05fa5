"""Compatible servers: rows of data, names of the profile's own, and what each is sent over real HTTP."""

from __future__ import annotations

import subprocess
import sys

import pytest
from llmock.scenarios import Reply
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError, ProviderError
from llmswitch.providers.base import Vendor
from llmswitch.providers.compatible import _SERVERS, endpoint_names, endpoint_vendor
from llmswitch.types import Usage
from tests.providers.asking import ask, chunks, question, settings_of, text_of
from tests.servers.recorder import Answer, Recorder

KEY = "gsk-test-0123456789abcdef"
LOCAL = ("ollama", "vllm", "lmstudio")


def vendor(name: str, environ: dict[str, str]) -> Vendor:
    found = endpoint_vendor(name, settings_of(environ))
    assert found is not None
    return found


def test_finding_a_row_and_configuring_it_imports_no_sdk() -> None:
    """In a process of its own, for this one has imported them all."""
    code = """
import sys
from pathlib import Path
from llmswitch.profiles import load_settings
from llmswitch.providers import find_vendor
environ = {"LLMSWITCH_HOME": "/nonexistent", "OPENAI_API_KEY": "k", "GROQ_API_KEY": "k",
           "AZURE_OPENAI_ENDPOINT": "https://h", "AZURE_OPENAI_API_KEY": "k"}
settings = load_settings(cwd=Path("/nonexistent"), environ=environ)
for name in ("openai", "azure", "groq", "ollama"):
    find_vendor(name, settings).configure(settings)
print([m for m in ("openai", "httpx2", "asyncio", "pydantic", "ssl") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# names


def test_own_endpoints_come_first_and_each_name_once() -> None:
    names = endpoint_names(settings_of({"LLM_ENDPOINTS": "box, Lab-2,groq,,box"}))
    assert names[:3] == ("box", "lab-2", "groq")
    assert sorted(names) == sorted({"box", "lab-2", *_SERVERS})


def test_a_name_that_is_nobodys_has_no_row() -> None:
    assert endpoint_vendor("box", settings_of({"BOX_BASE_URL": "http://127.0.0.1:1"})) is None


@pytest.mark.parametrize("names", ["a b", "a/b", "-a", "a,b:c", "ü"])
def test_a_name_that_no_target_can_hold_is_refused(names: str) -> None:
    with pytest.raises(ConfigError, match="LLM_ENDPOINTS"):
        endpoint_names(settings_of({"LLM_ENDPOINTS": names}))


@pytest.mark.parametrize("name", LOCAL)
def test_a_server_without_a_key_counts_only_where_the_user_named_it(name: str) -> None:
    assert not vendor(name, {}).configured(settings_of({}))
    assert not vendor(name, {"LLM_ENDPOINTS": "box"}).configured(settings_of({"LLM_ENDPOINTS": "box"}))
    for environ in (
        {"LLM_ENDPOINTS": f"box,{name}"},
        {f"{name.upper()}_BASE_URL": "http://127.0.0.1:9/v1"},
        {f"{name.upper()}_MODEL": "m"},
    ):
        assert vendor(name, environ).configured(settings_of(environ))


@pytest.mark.parametrize("name", sorted(_SERVERS.keys() - set(LOCAL)))
def test_a_server_with_a_key_needs_one_and_no_more(name: str) -> None:
    variable = f"{name.upper()}_API_KEY"
    row = vendor(name, {})
    assert not row.configured(settings_of({"LLM_ENDPOINTS": name}))
    with pytest.raises(ConfigError, match=f"{variable} is not set") as caught:
        row.configure(settings_of({}))
    assert caught.value.provider == name
    settings = settings_of({variable: KEY})
    assert row.configured(settings)
    endpoint = row.configure(settings)
    assert endpoint.base_url.startswith("https://")
    assert endpoint.price_provider is not None
    assert KEY not in repr(endpoint)


@pytest.mark.parametrize("name", sorted(_SERVERS))
def test_a_default_model_is_one_that_has_a_price(name: str) -> None:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    server = _SERVERS[name]
    assert (server.default_model is None) is (server.prices is None)
    if server.default_model is not None:
        price = calc_price(
            Tokens(input_tokens=1000, output_tokens=1000), server.default_model, provider_id=server.prices
        )
        assert price.total_price > 0


def test_a_row_can_be_moved_and_given_another_model() -> None:
    environ = {"GROQ_BASE_URL": "http://127.0.0.1:9/x/", "GROQ_API_KEY": KEY, "GROQ_MODEL": "m"}
    endpoint = vendor("groq", environ).configure(settings_of(environ))
    assert (endpoint.base_url, endpoint.model) == ("http://127.0.0.1:9/x", "m")


def test_an_endpoint_without_an_address_is_told_which_variable_to_set() -> None:
    environ = {"LLM_ENDPOINTS": "my-box"}
    with pytest.raises(ConfigError, match="MY_BOX_BASE_URL is not set"):
        vendor("my-box", environ).configure(settings_of(environ))


def test_an_endpoint_without_a_model_is_configured_all_the_same() -> None:
    environ = {"LLM_ENDPOINTS": "my-box", "MY_BOX_BASE_URL": "http://127.0.0.1:9/v1"}
    row = vendor("my-box", environ)
    assert row.configure(settings_of(environ)).model is None
    assert row.model_variable == "MY_BOX_MODEL"


# over HTTP

WHOLE = {
    "choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def test_an_endpoint_without_a_key_sends_the_key_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "GROQ_API_KEY"):
        monkeypatch.setenv(name, "hostile")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer hostile\nX-A: hostile")
    ours = {"OPENAI_API_KEY": "ours-secret", "OPENAI_ORGANIZATION": "ours-secret", "OPENAI_PROJECT_ID": "ours-secret"}
    with Recorder(Answer(WHOLE)) as server:
        environ = {**ours, "OLLAMA_BASE_URL": f"{server.url}/v1"}
        assert ask(vendor("ollama", environ), environ, question(model="m")).text == "Paris"
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer none"
    assert "hostile" not in seen.everything
    assert "ours-secret" not in seen.everything


def test_an_endpoint_with_a_key_sends_it_to_its_own_address() -> None:
    with Recorder(Answer(WHOLE)) as server:
        environ = {"LLM_ENDPOINTS": "my-box", "MY_BOX_BASE_URL": f"{server.url}/api", "MY_BOX_API_KEY": KEY}
        answer = ask(vendor("my-box", environ), environ, question(model="m", max_tokens=5))
    (seen,) = server.seen
    assert (seen.path, seen.headers["authorization"]) == ("/api/chat/completions", f"Bearer {KEY}")
    assert seen.json == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "stream": False,
    }
    assert (answer.provider, answer.text, answer.usage) == ("my-box", "Paris", Usage(3, 2))


def test_mistral_is_sent_only_the_fields_that_it_knows() -> None:
    events = ({"choices": [{"delta": {"content": "Paris"}, "finish_reason": "stop"}], "usage": WHOLE["usage"]},)
    with Recorder(Answer(events=(*events, "[DONE]"))) as server:
        environ = {"MISTRAL_API_KEY": KEY, "MISTRAL_BASE_URL": f"{server.url}/v1"}
        pieces = chunks(vendor("mistral", environ), environ, question(model="m", seed=3, max_tokens=5))
    (seen,) = server.seen
    assert seen.json.keys() == {"model", "messages", "random_seed", "max_tokens", "stream"}
    assert pieces[-1].usage == Usage(3, 2)


@pytest.mark.parametrize(
    ("name", "path"),
    [("groq", "/groq/openai/v1"), ("xai", "/xai/v1"), ("together", "/together/v1")],
)
@pytest.mark.parametrize("stream", [True, False])
def test_llmocks_servers_answer(mock: LLMockServer, name: str, path: str, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    prefix = name.upper()
    environ = {f"{prefix}_BASE_URL": mock.url + path, f"{prefix}_API_KEY": KEY}
    row, request = vendor(name, environ), question("capital?", model="m")
    if stream:
        pieces = chunks(row, environ, request)
        text, finish = text_of(pieces), [p.finish_reason for p in pieces if p.finish_reason]
        usage = [p.usage for p in pieces if p.usage][-1]
    else:
        whole = ask(row, environ, request)
        text, finish, usage = whole.text, [whole.finish_reason], whole.usage
    assert (text, finish) == ("It is Paris.", ["stop"])
    assert usage.input_tokens
    assert usage.output_tokens


def test_an_error_names_the_endpoints_own_variables() -> None:
    with Recorder(Answer({"detail": "Not Found"}, status=404)) as server:
        environ = {"LLM_ENDPOINTS": "my-box", "MY_BOX_BASE_URL": server.url}
        with pytest.raises(ProviderError) as caught:
            ask(vendor("my-box", environ), environ, question(model="m"))
    assert (caught.value.kind, caught.value.provider) == ("not_found", "my-box")
    assert caught.value.message == "my-box: Not Found (HTTP 404). Check the model (MY_BOX_MODEL) and MY_BOX_BASE_URL."
