"""Whether what a bench stands on is installed."""

from __future__ import annotations

from importlib.util import find_spec

from llmswitch.errors import ConfigError

__all__ = ["need_extra"]

#: what the extra `bench` brings, by the names that are imported
_EXTRA = ("aiohttp", "jinja2", "rapidfuzz", "regress", "ruamel", "scipy", "sqlglot")


def need_extra() -> None:
    """Raises ConfigError where what the extra `bench` brings is not there."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"bench needs {', '.join(missing)}, which comes with an extra: pip install 'llmswitch[bench]'."
        )
