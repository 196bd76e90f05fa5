"""Which providers there are: a name, and the file that knows it. A new vendor is one file and one row here."""

from __future__ import annotations

from importlib import import_module

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import Vendor

__all__ = ["ALIASES", "find_vendor", "vendor_names"]

#: in the order in which the first configured one is asked; compatible endpoints come before `local`
_FILES = {
    "gemini": "llmswitch.providers.gemini",
    "openai": "llmswitch.providers.openai",
    "anthropic": "llmswitch.providers.anthropic",
    "azure": "llmswitch.providers.azure",
    "local": "llmswitch.providers.local",
}
ALIASES = {"claude": "anthropic", "google": "gemini"}


def find_vendor(name: str, settings: Settings) -> Vendor:
    """The row of `name`, an alias, a well-known compatible server or an endpoint of the profile's own."""
    key = ALIASES.get(name, name)
    if key in _FILES:
        return _load(key)
    from llmswitch.providers.compatible import endpoint_vendor

    row = endpoint_vendor(key, settings)
    if row is None:
        names = ", ".join(vendor_names(settings))
        raise ConfigError(f"unknown provider {name!r}. Known: {names}; name your own in LLM_ENDPOINTS.", provider=name)
    return row


def vendor_names(settings: Settings) -> tuple[str, ...]:
    """Every name that `find_vendor` takes, aliases left out, in the order of asking."""
    from llmswitch.providers.compatible import endpoint_names

    own = (name for name in endpoint_names(settings) if name not in _FILES)
    return (*(name for name in _FILES if name != "local"), *own, "local")


def _load(key: str) -> Vendor:
    vendor: Vendor = import_module(_FILES[key]).VENDOR
    return vendor
