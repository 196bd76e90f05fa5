"""Azure over real HTTP: both paths, before llmock, through a shim that has Azure's addresses and manners."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmock.scenarios import Fail, Reply, StreamFault
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError, ProviderError
from llmswitch.providers.azure import VENDOR
from llmswitch.types import Chunk, Response, Usage
from tests.providers.asking import ask, chunks, question, settings_of, text_of
from tests.servers.recorder import Answer, Recorder
from tests.servers.shim import AzureShim

KEY = "azure-test-0123456789abcdef"
TOKEN = "eyJ0-test-token"
DATED = "2024-10-21"


@pytest.fixture
def azure(mock: LLMockServer) -> Iterator[AzureShim]:
    with AzureShim(mock.url) as shim:
        yield shim


def environ_of(url: str, **more: str) -> dict[str, str]:
    base = {"AZURE_OPENAI_ENDPOINT": url, "AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_DEPLOYMENT_NAME": "my-luna"}
    return {name: value for name, value in {**base, **more}.items() if value}


# configuration


@pytest.mark.parametrize(
    ("endpoint", "version", "effective"),
    [
        ("https://r.openai.azure.com", "", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/", "", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/openai/v1/", "", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com", DATED, "https://r.openai.azure.com/openai"),
        ("https://r.openai.azure.com/openai", DATED, "https://r.openai.azure.com/openai"),
        ("https://gateway.example/team", "2025-01-01-preview", "https://gateway.example/team/openai"),
    ],
)
def test_the_endpoint_is_the_resource_however_it_was_copied(endpoint: str, version: str, effective: str) -> None:
    settings = settings_of(environ_of(endpoint, AZURE_OPENAI_API_VERSION=version, AZURE_OPENAI_MODEL="gpt-6-luna"))
    found = VENDOR.configure(settings)
    assert (found.base_url, found.api_version) == (effective, version or None)
    assert (found.provider, found.model, found.price_model) == ("azure", "my-luna", "gpt-6-luna")
    assert KEY not in repr(found)


def test_without_a_deployment_the_model_is_unknown_and_the_rest_is_configured() -> None:
    settings = settings_of(environ_of("https://r.openai.azure.com", AZURE_OPENAI_DEPLOYMENT_NAME=""))
    assert VENDOR.configured(settings)
    assert VENDOR.configure(settings).model is None
    assert VENDOR.model_variable == "AZURE_OPENAI_DEPLOYMENT_NAME"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AZURE_OPENAI_ENDPOINT": ""}, "AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_ENDPOINT": "r.openai.azure.com"}, "AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_ENDPOINT": "https://h/openai/deployments/d/chat/completions"}, "AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_ENDPOINT": "https://h/?api-version=2024-10-21"}, "AZURE_OPENAI_ENDPOINT"),
        ({"AZURE_OPENAI_API_VERSION": "latest"}, "AZURE_OPENAI_API_VERSION"),
        ({"AZURE_OPENAI_API_VERSION": "2024-10-21&x=y"}, "AZURE_OPENAI_API_VERSION"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        VENDOR.configure(settings_of(environ_of("https://r.openai.azure.com", **change)))


def test_without_any_credential_all_ways_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure", None)  # how Python says that a package is not there
    with pytest.raises(ConfigError) as caught:
        VENDOR.configure(settings_of(environ_of("https://r.openai.azure.com", AZURE_OPENAI_API_KEY="")))
    for word in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "llmswitch[azure]"):
        assert word in caught.value.message


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", ""])
def test_a_deployment_that_no_address_can_hold_is_refused(name: str) -> None:
    endpoint = VENDOR.configure(settings_of(environ_of("https://h", AZURE_OPENAI_API_VERSION=DATED)))
    with pytest.raises(ConfigError, match="deployment"):
        VENDOR.preview(endpoint, question(model=name))


# what is sent


@pytest.mark.parametrize("version", ["", DATED])
@pytest.mark.parametrize("credential", ["key", "token"])
def test_path_query_and_credential(azure: AzureShim, version: str, credential: str) -> None:
    change = {"AZURE_OPENAI_API_VERSION": version}
    if credential == "token":
        change |= {"AZURE_OPENAI_API_KEY": "", "AZURE_OPENAI_AD_TOKEN": TOKEN}
    ask(VENDOR, environ_of(azure.url, **change), question(model="my-luna"))
    (seen,) = azure.seen
    assert seen.path == ("/openai/deployments/my-luna/chat/completions" if version else "/openai/v1/chat/completions")
    assert seen.query == ({"api-version": DATED} if version else {})
    sent = {name: seen.headers[name] for name in ("api-key", "authorization") if name in seen.headers}
    if credential == "token":
        assert sent == {"authorization": f"Bearer {TOKEN}"}
    else:
        assert sent == ({"api-key": KEY} if version else {"authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("version", ["", DATED])
def test_a_key_goes_before_a_token_whatever_the_environment_holds(
    azure: AzureShim, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "OPENAI_ORG_ID"):
        monkeypatch.setenv(name, "hostile")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "hostile")
    monkeypatch.setenv("OPENAI_API_VERSION", "2020-hostile")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:1/hostile")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer hostile\napi-key: hostile\nX-A: hostile")
    ask(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_VERSION=version, AZURE_OPENAI_AD_TOKEN=TOKEN), question())
    (seen,) = azure.seen
    assert KEY in seen.everything
    assert TOKEN not in seen.everything
    assert "hostile" not in seen.everything


@pytest.mark.parametrize(
    ("version", "cap", "usage"),
    [
        ("", "max_completion_tokens", True),
        ("2024-10-21", "max_completion_tokens", True),
        ("2024-08-01-preview", "max_completion_tokens", True),
        ("2024-07-01-preview", "max_tokens", False),
        ("2024-06-01", "max_tokens", False),
    ],
)
def test_old_versions_are_asked_as_they_can_be(azure: AzureShim, version: str, cap: str, usage: bool) -> None:
    """The shim refuses `stream_options` as Azure does, so that an answer is the proof."""
    pieces = chunks(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_VERSION=version), question(max_tokens=50))
    (seen,) = azure.seen
    assert {"max_tokens", "max_completion_tokens"} & seen.json.keys() == {cap}
    assert ("stream_options" in seen.json) is usage
    assert text_of(pieces)
    assert any(p.usage for p in pieces) is usage


ENTRA = """
class DefaultAzureCredential:
    pass

def get_bearer_token_provider(credential, *scopes):
    assert isinstance(credential, DefaultAzureCredential)
    assert scopes == ("https://cognitiveservices.azure.com/.default",)
    return {provider}
"""


def entra(folder: Path, provider: str) -> None:
    """A package of azure-identity's names, for its real one would ask Microsoft."""
    for name in ("azure/identity", "azure/core"):
        (folder / name).mkdir(parents=True)
    (folder / "azure/__init__.py").touch()
    (folder / "azure/core/__init__.py").touch()
    (folder / "azure/core/exceptions.py").write_text("class AzureError(Exception):\n    pass\n")
    head = (
        "from azure.core.exceptions import AzureError\ndef failing():\n    raise AzureError('no login\\nlong story')\n"
    )
    (folder / "azure/identity/__init__.py").write_text(head + ENTRA.format(provider=provider))


@pytest.fixture
def entra_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import sys

    monkeypatch.syspath_prepend(tmp_path)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "azure"}
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "azure"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("version", ["", DATED])
def test_azure_identity_is_asked_where_neither_key_nor_token_is_set(
    azure: AzureShim, version: str, entra_folder: Path
) -> None:
    entra(entra_folder, f"lambda: {TOKEN!r}")
    ask(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_KEY="", AZURE_OPENAI_API_VERSION=version), question())
    (seen,) = azure.seen
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert "api-key" not in seen.headers


@pytest.mark.parametrize("version", ["", DATED])
def test_a_login_that_fails_is_an_authentication_error_of_one_line(
    azure: AzureShim, version: str, entra_folder: Path
) -> None:
    entra(entra_folder, "failing")
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_KEY="", AZURE_OPENAI_API_VERSION=version), question())
    assert (caught.value.kind, caught.value.provider) == ("authentication", "azure")
    assert "no login" in caught.value.message
    assert "\n" not in caught.value.message
    assert azure.seen == []


# what comes back


@pytest.mark.parametrize("version", ["", DATED])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer(azure: AzureShim, mock: LLMockServer, version: str, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    environ = environ_of(azure.url, AZURE_OPENAI_API_VERSION=version)
    got: Response | Chunk
    if stream:
        pieces = chunks(VENDOR, environ, question(model="my-luna"))
        got, text = pieces[0], text_of(pieces)
    else:
        got = ask(VENDOR, environ, question(model="my-luna"))
        text = got.text
    assert (text, got.response_model, got.request_id) == ("It is Paris.", "my-luna", "apim-1")


@pytest.mark.parametrize("version", ["", DATED])
def test_a_status_becomes_ours_with_azures_request_id(azure: AzureShim, mock: LLMockServer, version: str) -> None:
    mock.state.scenarios.add(Fail(429, retry_after=2))
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_VERSION=version), question())
    assert (caught.value.kind, caught.value.retry_after_s, caught.value.request_id) == ("rate_limit", 2, "apim-1")


@pytest.mark.parametrize("version", ["", DATED])
def test_a_cut_stream_is_a_connection_error(azure: AzureShim, mock: LLMockServer, version: str) -> None:
    mock.state.scenarios.add(StreamFault("disconnect", after_chunks=3))
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(azure.url, AZURE_OPENAI_API_VERSION=version), question())
    assert caught.value.kind == "connection"


@pytest.mark.parametrize("version", ["", DATED])
def test_a_redirect_sends_the_key_nowhere(version: str) -> None:
    with Recorder() as other, Recorder(Answer(status=307, headers={"location": f"{other.url}/x"})) as first:
        with pytest.raises(ProviderError) as caught:
            ask(VENDOR, environ_of(first.url, AZURE_OPENAI_API_VERSION=version), question())
        assert other.seen == []
    assert (caught.value.kind, caught.value.status) == ("connection", 307)


def test_a_prompt_that_azures_filter_blocks_is_told_apart() -> None:
    error = {
        "code": "content_filter",
        "message": "The response was filtered",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
    with Recorder(Answer({"error": error}, status=400)) as server, pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == "content_filter"


def test_an_unknown_deployment_names_the_variables() -> None:
    error = {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
    with Recorder(Answer({"error": error}, status=404)) as server, pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == "not_found"
    assert "AZURE_OPENAI_DEPLOYMENT_NAME" in caught.value.message


def test_events_without_choices_or_deltas_are_no_fault() -> None:
    """The first event tells the prompt's filter results, and asynchronous filtering sends choices of its own."""
    events = (
        {"choices": [], "model": "", "id": "", "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"index": 0, "delta": {"content": "Paris"}, "finish_reason": None}], "model": "m", "id": "c"},
        {"choices": [{"index": 0, "content_filter_offsets": {"check_offset": 1}, "finish_reason": None}], "id": ""},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m", "id": "c"},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}, "model": "m", "id": "c"},
        "[DONE]",
    )
    with Recorder(Answer(events=events)) as server:
        pieces = chunks(VENDOR, environ_of(server.url), question())
    assert text_of(pieces) == "Paris"
    assert pieces[-1].usage == Usage(3, 1)
