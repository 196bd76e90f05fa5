"""The variables a profile may hold, as data. Nothing else is read from a file."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["VARIABLES", "Variable", "variable"]


class Variable(NamedTuple):
    """One variable of the contract's table.

    `aliases` are further names, weaker than `name` in the same source. `decides_host` marks what may send keys
    somewhere else, `guarded` what an untrusted file may not set at all; `lowest` takes the lowest of all sources.
    """

    name: str
    default: str | None = None
    aliases: tuple[str, ...] = ()
    secret: bool = False
    decides_host: bool = False
    guarded: bool = False
    lowest: bool = False


_TABLE = (
    Variable("LLM_PROVIDER"),
    Variable("LLM_SYSTEM"),
    Variable("MAX_TOKENS"),
    Variable("TEMPERATURE"),
    Variable("LLM_TIMEOUT", "600"),
    Variable("LLM_CONNECT_TIMEOUT", "10"),
    Variable("LLM_FIRST_TOKEN_TIMEOUT", "120"),
    Variable("LLM_IDLE_TIMEOUT", "60"),
    Variable("GOOGLE_API_KEY", aliases=("GEMINI_API_KEY",), secret=True),
    Variable("GOOGLE_PROJECT_ID"),
    Variable("GOOGLE_LOCATION", decides_host=True),
    Variable("GEMINI_MODEL"),
    Variable("GOOGLE_GEMINI_BASE_URL", decides_host=True),
    Variable("GOOGLE_GENAI_API_VERSION"),
    Variable("OPENAI_API_KEY", secret=True),
    Variable("OPENAI_MODEL"),
    Variable("OPENAI_ORGANIZATION"),
    Variable("OPENAI_PROJECT_ID"),
    Variable("OPENAI_BASE_URL", decides_host=True),
    Variable("ANTHROPIC_API_KEY", secret=True),
    Variable("ANTHROPIC_MODEL"),
    Variable("ANTHROPIC_BASE_URL", decides_host=True),
    Variable("AZURE_OPENAI_API_KEY", secret=True),
    Variable("AZURE_OPENAI_AD_TOKEN", secret=True),
    Variable("AZURE_OPENAI_ENDPOINT", decides_host=True),
    Variable("AZURE_OPENAI_DEPLOYMENT_NAME"),
    Variable("AZURE_OPENAI_API_VERSION"),
    Variable("AZURE_OPENAI_MODEL"),
    Variable("LLM_ENDPOINTS"),
    Variable("CACHE_ENABLED", "true"),
    Variable("CACHE_TTL", "3600"),
    Variable("CACHE_NAMESPACE"),
    Variable("REDIS_URL", secret=True, decides_host=True),
    Variable("LLM_FALLBACK"),
    Variable("LLM_FALLBACK_ON"),
    Variable("LLM_BALANCE"),
    Variable("LLM_TIERS"),
    Variable("LLM_MAX_RETRIES", "2"),
    Variable("LLM_BUDGET_DAILY", lowest=True),
    Variable("LLM_BUDGET_MONTHLY", lowest=True),
    Variable("LLM_PRICES", guarded=True),
    Variable("LLM_HISTORY", "on"),
)

VARIABLES: dict[str, Variable] = {row.name: row for row in _TABLE}
_ALIASES: dict[str, str] = {alias: row.name for row in _TABLE for alias in row.aliases}

#: what follows an endpoint's or a provider's name: OLLAMA_BASE_URL, GROQ_API_KEY, OPENAI_RPM
_SUFFIXES = {
    "_BASE_URL": Variable("*_BASE_URL", decides_host=True),
    "_API_KEY": Variable("*_API_KEY", secret=True),
    "_MODEL": Variable("*_MODEL"),
    "_RPM": Variable("*_RPM"),
    "_TPM": Variable("*_TPM"),
}


def variable(name: str) -> Variable | None:
    """The row of `name` or of what it is an alias of; rows are made for endpoints; None for foreign names."""
    name = _ALIASES.get(name, name)
    if name in VARIABLES:
        return VARIABLES[name]
    for suffix, pattern in _SUFFIXES.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return Variable(name, secret=pattern.secret, decides_host=pattern.decides_host)
    return None
