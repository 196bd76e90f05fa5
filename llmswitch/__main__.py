"""`python -m llmswitch`, and where the installed command starts."""

from __future__ import annotations

import sys


def run() -> None:
    """The console script: the exit code of the contract, Ctrl-C at any time included."""
    try:
        from llmswitch.cli.app import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
