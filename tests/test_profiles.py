"""Which file holds a value, which source wins, and what a working tree's file may not decide."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings, load_settings
from llmswitch.trust import TrustStore, checked_url, is_loopback

Load = Callable[..., Settings]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "profiles").mkdir(parents=True)
    return tmp_path / "tree"


@pytest.fixture
def load(cwd: Path, home: Path) -> Load:
    def run(environ: dict[str, str] | None = None, **options: object) -> Settings:
        environment = {"LLMSWITCH_HOME": str(home), **(environ or {})}
        return load_settings(cwd=cwd, environ=environment, **options)  # type: ignore[arg-type]  # a test's shorthand

    return run


def own(home: Path, name: str, text: str) -> Path:
    path = home / "config" / "profiles" / f"{name}.env"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_sources_win_in_the_order_of_the_contract(load: Load, cwd: Path) -> None:
    (cwd / "profiles" / "p.env").write_text("TEMPERATURE=0.2\n")
    (cwd / ".env").write_text("TEMPERATURE=0.4\nMAX_TOKENS=4\nLLM_SYSTEM=from dotenv\n")
    environ = {"TEMPERATURE": "0.3", "MAX_TOKENS": "3"}
    flags = {"TEMPERATURE": ("--temperature", "0.1")}
    assert load(environ, profile="p", flags=flags).get("TEMPERATURE") == "0.1"
    assert load(environ, profile="p").get("TEMPERATURE") == "0.2"
    assert load(environ).get("TEMPERATURE") == "0.3"
    assert load().get("TEMPERATURE") == "0.4"
    settings = load(environ, profile="p")
    assert (settings.get("MAX_TOKENS"), settings.get("LLM_SYSTEM")) == ("3", "from dotenv")
    assert (settings.get("CACHE_TTL"), settings.get("OPENAI_MODEL")) == ("3600", None)


def test_empty_means_unset_in_every_source(load: Load, cwd: Path) -> None:
    (cwd / "profiles" / "p.env").write_text("OPENAI_BASE_URL=\nMAX_TOKENS=''\n")
    (cwd / ".env").write_text("MAX_TOKENS=7\n")
    assert load({"OPENAI_BASE_URL": ""}, profile="p").get("OPENAI_BASE_URL") is None
    assert load({"MAX_TOKENS": ""}, profile="p").get("MAX_TOKENS") == "7"


def test_a_profile_is_looked_up_in_three_places(load: Load, cwd: Path, home: Path) -> None:
    own(home, "p", "LLM_SYSTEM=own\n")
    assert load(profile="p").get("LLM_SYSTEM") == "own"
    assert load({"LLM_PROFILE": "p"}).get("LLM_SYSTEM") == "own"
    (cwd / ".env.q").write_text("LLM_SYSTEM=dotted\n")
    assert load(profile="q").get("LLM_SYSTEM") == "dotted"
    (cwd / "profiles" / "q.env").write_text("LLM_SYSTEM=folder\n")
    assert load(profile="q").get("LLM_SYSTEM") == "folder"


@pytest.mark.parametrize("name", ["../p", "", ".hidden", "a/b", "-x", "a b"])
def test_a_profiles_name_cannot_be_a_path(load: Load, name: str) -> None:
    if name:
        with pytest.raises(ConfigError, match="not a profile's name"):
            load(profile=name)


def test_a_missing_profile_names_those_there_are(load: Load, cwd: Path) -> None:
    (cwd / "profiles" / "nightly.env").write_text("")
    with pytest.raises(ConfigError, match="nightly"):
        load(profile="nighty")


def test_only_the_tables_variables_are_read_and_none_enters_the_environment(load: Load, cwd: Path) -> None:
    (cwd / ".env").write_text("PATH=/evil\nLLMSWITCH_HOME=/evil\nLLM_PROFILE=evil\nTEMPERATURE=1\n")
    before = dict(os.environ)
    settings = load()
    assert settings.find("PATH") is None
    assert settings.profile is None
    assert "evil" not in str(settings.paths)
    assert dict(os.environ) == before


def test_aliases_are_weaker_in_the_same_source_only(load: Load, cwd: Path) -> None:
    both = load({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": "m"}).secret("GOOGLE_API_KEY")
    assert both is not None
    assert both.reveal() == "g"
    (cwd / "profiles" / "p.env").write_text("GEMINI_API_KEY=m\n")
    named = load({"GOOGLE_API_KEY": "g"}, profile="p").secret("GOOGLE_API_KEY")
    assert named is not None
    assert named.reveal() == "m"


def test_the_lowest_budget_of_all_sources_counts(load: Load, cwd: Path) -> None:
    (cwd / "profiles" / "p.env").write_text("LLM_BUDGET_DAILY=5\n")
    (cwd / ".env").write_text("LLM_BUDGET_DAILY=2\n")
    assert load({"LLM_BUDGET_DAILY": "3"}, profile="p").get("LLM_BUDGET_DAILY") == "2"


def test_expansion_stays_in_the_file_unless_it_is_the_users_own(load: Load, cwd: Path, home: Path) -> None:
    (cwd / ".env").write_text("GREETING=hello\nLLM_SYSTEM=${GREETING} there ${NONE:-x}\nTEMPERATURE=1\n")
    settings = load({"NONE": "secret-from-environment"})
    assert settings.get("TEMPERATURE") == "1"
    with pytest.raises(ConfigError, match=r"LLM_SYSTEM.*\$\{NONE\}.*profiles trust"):
        settings.get("LLM_SYSTEM")
    (cwd / ".env").write_text("GREETING=hello\nLLM_SYSTEM=${GREETING} there\n")
    assert load().get("LLM_SYSTEM") == "hello there"
    own(home, "p", "OPENAI_API_KEY=${TEAM_KEY}\nLLM_SYSTEM=${UNSET:-default}\n")
    settings = load({"TEAM_KEY": "k"}, profile="p")
    key = settings.secret("OPENAI_API_KEY")
    assert key is not None
    assert key.reveal() == "k"
    assert settings.get("LLM_SYSTEM") == "default"


def test_a_value_taken_from_outside_through_another_line_is_refused_too(load: Load, cwd: Path) -> None:
    (cwd / ".env").write_text("A=${OPENAI_API_KEY}\nB=${A}\nLLM_SYSTEM=x${B}\n")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        load({"OPENAI_API_KEY": "sk-real"}).get("LLM_SYSTEM")


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["A0=" + "x" * 64] + [f"A{n}={f'${{A{n - 1}}}' * 10}" for n in range(1, 30)] + ["LLM_SYSTEM=${A29}"]),
        "A=" + "x" * 60_000 + "\nLLM_SYSTEM=${A}${A}",
        "A=" + "x" * 60_000 + "".join(f"\nA{n}_MODEL=-${{A}}" for n in range(5000)),
        "A=" + "".join(f"${{a{n}}}" for n in range(40_000)) + "\nB=${A}" * 20_000,
    ],
    ids=["doubling", "long", "many", "names"],
)
def test_names_in_names_cannot_fill_the_memory(load: Load, cwd: Path, text: str) -> None:
    (cwd / ".env").write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"[A-Z0-9_]+ in .*/\.env grows too long"):
        load()
    assert time.process_time() - started < 10


@pytest.mark.parametrize("piece", ["${", "${a:-", "${a:", "${a:b", "$", "}", "${${a:b}"])
@pytest.mark.parametrize("end", ["", "}", ":}"])
def test_expansion_takes_time_in_step_with_the_text(load: Load, cwd: Path, piece: str, end: str) -> None:
    (cwd / ".env").write_text("LLM_SYSTEM=" + piece * (900_000 // len(piece)) + end)
    started = time.process_time()
    with suppress(ConfigError):
        load().find("LLM_SYSTEM")
    assert time.process_time() - started < 10


HOSTS = ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "TEAM_BASE_URL"]


@pytest.mark.parametrize("name", HOSTS)
def test_a_working_tree_may_not_decide_a_host(load: Load, cwd: Path, name: str) -> None:
    for file, profile in ((cwd / ".env", None), (cwd / "profiles" / "p.env", "p"), (cwd / ".env.q", "q")):
        file.write_text(f"{name}=https://evil.invalid/v1\n")
        with pytest.raises(ConfigError, match="profiles trust"):
            load(profile=profile).url(name)
        assert load(profile=profile, trust_profile=True).url(name) == "https://evil.invalid/v1"
        file.write_text(f"{name}=http://127.0.0.1:8000/v1/\n")
        assert load(profile=profile).url(name) == "http://127.0.0.1:8000/v1"
        file.unlink()
    assert load({name: "https://mine.invalid"}).url(name) == "https://mine.invalid"


@pytest.mark.parametrize(
    "line", ["GOOGLE_LOCATION=europe-west1", "REDIS_URL=redis://10.0.0.1", "LLM_PRICES=./cheap.json"]
)
def test_location_redis_and_prices_need_trust(load: Load, cwd: Path, line: str) -> None:
    (cwd / ".env").write_text(line + "\n")
    with pytest.raises(ConfigError, match="profiles trust"):
        load().get(line.partition("=")[0])


def test_a_refused_value_that_does_not_win_harms_nobody(load: Load, cwd: Path) -> None:
    (cwd / ".env").write_text("OPENAI_BASE_URL=https://evil.invalid\n")
    assert load({"OPENAI_BASE_URL": "https://mine.invalid"}).url("OPENAI_BASE_URL") == "https://mine.invalid"


def test_trust_holds_for_the_very_bytes(load: Load, cwd: Path) -> None:
    file = cwd / ".env"
    file.write_text("OPENAI_BASE_URL=https://team.invalid\n")
    store = TrustStore(load().paths.trust)
    store.add(file, file.read_bytes())
    assert load().url("OPENAI_BASE_URL") == "https://team.invalid"
    file.write_text("OPENAI_BASE_URL=https://team.invalid \n")
    with pytest.raises(ConfigError):
        load().url("OPENAI_BASE_URL")


def test_a_working_trees_profile_may_not_shadow_the_users_own(load: Load, cwd: Path, home: Path) -> None:
    own(home, "production", "LLM_PROVIDER=claude\n")
    shadow = cwd / "profiles" / "production.env"
    shadow.write_text("LLM_PROVIDER=local\n")
    with pytest.raises(ConfigError, match="stands before your own"):
        load(profile="production")
    assert load(profile="production", trust_profile=True).get("LLM_PROVIDER") == "local"
    TrustStore(load().paths.trust).add(shadow, shadow.read_bytes())
    assert load(profile="production").get("LLM_PROVIDER") == "local"


def test_the_users_own_folder_is_own_even_as_the_working_folder(home: Path) -> None:
    own(home, "p", "OPENAI_BASE_URL=https://mine.invalid\n")
    settings = load_settings(cwd=home / "config", environ={"LLMSWITCH_HOME": str(home)}, profile="p")
    assert settings.url("OPENAI_BASE_URL") == "https://mine.invalid"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9:80/v1", True),
        ("http://[::1]:8000", True),
        ("http://127.0.0.1.evil.invalid", False),
        ("http://localhost.evil.invalid", False),
        ("http://127.0.0.1@evil.invalid/", False),
        ("http://0.0.0.0", False),
        ("https://evil.invalid/#@127.0.0.1", False),
        ("europe-west1", False),
        ("http://[::1", False),
        ("http://[127.0.0.1]x", False),
    ],
)
def test_loopback_is_told_from_what_looks_like_it(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    "url",
    [
        "evil.invalid",
        "ftp://x",
        "https://",
        "http://evil.invalid\\@127.0.0.1",
        "http://a b",
        "http://x:port",
        "http://\u2024",
        "http://[::1",
        "http://[::1]x:5",
        "http://[127.0.0.1]",
        "http://[::g]",
        "http://999.1.1.1/v1",
        "http://a@b@c",
        "http://a,b",
        "http://u[@h",
    ],
)
def test_an_address_that_parsers_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        checked_url(url, "OPENAI_BASE_URL")


@pytest.mark.parametrize(
    "url",
    ["https://h.test:8443/v1", "https://a_b-c.d", "http://[::1]:1", "https://u:p@h", "https://10.0.0.1", "https://h:"],
)
def test_a_plain_address_passes(url: str) -> None:
    assert checked_url(url, "OPENAI_BASE_URL") == url


@pytest.mark.parametrize("url", ["http://[::1", "http://[::1]x:5"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_broken_address_of_a_working_tree_is_an_error_of_its_variable(
    load: Load, cwd: Path, url: str, trust: bool
) -> None:
    (cwd / ".env").write_text(f"OPENAI_BASE_URL={url}\n")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        load(trust_profile=trust).url("OPENAI_BASE_URL")


def test_a_file_is_trusted_however_its_path_was_typed(load: Load, cwd: Path) -> None:
    file = cwd / ".env"
    file.write_text("OPENAI_BASE_URL=https://team.invalid\n")
    store = TrustStore(load().paths.trust)
    store.add(cwd / ".." / cwd.name / ".env", file.read_bytes())
    assert load().url("OPENAI_BASE_URL") == "https://team.invalid"
    assert store.trusts(cwd / "profiles" / ".." / ".env", file.read_bytes())


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{"], ids=["deep", "list", "cut"])
def test_a_damaged_list_of_trusted_files_is_named(load: Load, cwd: Path, content: str) -> None:
    (cwd / ".env").write_text("LLM_PROVIDER=local\n")
    path = load().paths.trust
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"trusted\.json is damaged: move it away"):
        load()


def test_http_beyond_this_machine_is_warned_about(load: Load) -> None:
    warned: list[str] = []
    load({"OPENAI_BASE_URL": "http://far.invalid/v1"}, warn=warned.append).url("OPENAI_BASE_URL")
    assert "in the clear" in warned[0]


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ключ", "tab\t"])
def test_a_key_no_header_can_carry_is_refused_without_being_shown(load: Load, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"OPENAI_API_KEY": f"x{key}x"}).secret("OPENAI_API_KEY")
    assert "OPENAI_API_KEY" in caught.value.message
    assert key not in caught.value.message


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff\xfe", "UTF-8"), (b"A B C=\nLLM_PROVIDER claude\n", "line"), (b"A" * 1_000_001, "1 MB")],
)
def test_a_profile_that_is_none_is_refused(load: Load, cwd: Path, content: bytes, says: str) -> None:
    (cwd / "profiles" / "p.env").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load(profile="p")


def test_a_folder_called_dot_env_is_no_file(load: Load, cwd: Path) -> None:
    (cwd / ".env").mkdir()
    assert load().get("LLM_PROVIDER") is None


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_a_deadline_is_a_positive_number_of_seconds(load: Load, value: str) -> None:
    with pytest.raises(ConfigError, match="LLM_TIMEOUT"):
        load({"LLM_TIMEOUT": value}).seconds("LLM_TIMEOUT")


@pytest.mark.parametrize(("value", "on"), [("true", True), ("NO", False), ("1", True), ("off", False)])
def test_switches_read_as_people_write_them(load: Load, value: str, on: bool) -> None:
    assert load({"CACHE_ENABLED": value}).flag("CACHE_ENABLED") is on


def test_a_switch_that_is_neither_is_named(load: Load) -> None:
    with pytest.raises(ConfigError, match="CACHE_ENABLED"):
        load({"CACHE_ENABLED": "maybe"}).flag("CACHE_ENABLED")
