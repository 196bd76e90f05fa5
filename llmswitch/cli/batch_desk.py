"""What the subcommands of `batch` share: finding batches, and a desk to work on each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import typer

from llmswitch.batches import Batch, Batches
from llmswitch.cli.batch_watch import Watch
from llmswitch.cli.options import switch_flags
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, LLMSwitchError, StorageError
from llmswitch.paths import Paths
from llmswitch.reports.rows import money, plain
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.folder import LINES, Folders
from llmswitch.runs.batch.submit import Expected
from llmswitch.runs.policy import read_policy

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.reports.batch import Standing

__all__ = ["Asked", "confirm", "desk_of", "folders_of", "services_of", "standing_of", "store_of", "tell", "which"]


class Asked(NamedTuple):
    """Options that every subcommand which asks a vendor takes."""

    profile: str | None = None
    trust_profile: bool = False
    timeout: str | None = None
    max_retries: str | None = None
    use_cache: bool = True
    refresh: bool = False
    max_cost: str | None = None
    allow_unknown_price: bool = False

    def settings(self, shell: Shell, profile: str | None = None) -> Settings:
        """Those of the profile that was named, or else of `profile`."""
        return shell.settings(
            profile=self.profile or profile,
            trust_profile=self.trust_profile,
            flags=switch_flags(timeout=self.timeout, max_retries=self.max_retries),
        )


def services_of(shell: Shell, settings: Settings, asked: Asked) -> Services:
    """What calls share, under the flags of this command."""
    return Services.from_settings(
        settings,
        use_cache=asked.use_cache,
        refresh=asked.refresh,
        policy=read_policy(settings, max_cost=asked.max_cost, allow_unknown_price=asked.allow_unknown_price),
        warn=shell.warn,
        clock=shell.clock,
        wall=shell.wall,
    )


def folders_of(shell: Shell) -> Folders:
    """Where the batches of this user are."""
    return Folders(Paths.from_environment(shell.environ).batches, shell.wall)


def store_of(shell: Shell) -> Batches:
    """The ledger's part of them."""
    return Batches(Paths.from_environment(shell.environ).ledger, shell.wall)


def which(shell: Shell, ids: Sequence[str]) -> list[Batch]:
    """The batches that were named, or all whose lines are there, the oldest first; ConfigError where there is none.

    A bench's own are none of those that nobody named.
    """
    store, folders = store_of(shell), folders_of(shell)
    if ids:
        return list(dict.fromkeys(store.find(name) for name in ids))
    found = [batch for batch in store.all() if batch.command == "batch" and (folders.of(batch.id) / LINES).exists()]
    if not found:
        raise ConfigError("there is no batch yet: 'llmswitch batch submit FILE' makes one.")
    return found


def desk_of(shell: Shell, batch: Batch, asked: Asked, watch: Watch) -> Desk:
    """A desk to work on `batch`, with the settings that it was submitted with. Raises ConfigError."""
    folder = folders_of(shell).of(batch.id)
    if not (folder / LINES).exists():
        raise ConfigError(f"the questions and answers of {batch.id} are gone: {folder / LINES} is not there.")
    settings = asked.settings(shell, batch.profile)
    return Desk(batch, folder, settings, services_of(shell, settings, asked), watch)


def standing_of(shell: Shell, batch: Batch) -> Standing:
    """How far it is, without asking anybody; lines that cannot be read cost a warning."""
    from llmswitch.batchlines import Lines
    from llmswitch.reports.batch import Standing

    path = folders_of(shell).of(batch.id) / LINES
    jobs = store_of(shell).jobs(batch.id)
    if not path.exists():
        return Standing(batch, jobs, None)
    try:
        with closing(Lines(path, batch.lines)) as lines:
            return Standing(batch, jobs, lines.counts())
    except StorageError as error:
        shell.warn(error.message)
        return Standing(batch, jobs, None)


def tell(shell: Shell, problems: Sequence[LLMSwitchError]) -> int:
    """Say what was in the way, each thing once; the exit code of the first, 0 where there was nothing."""
    for message in dict.fromkeys(problem.message for problem in problems):
        shell.error(message)
    return problems[0].exit_code if problems else 0


def confirm(shell: Shell, found: Sequence[Expected], limit: Decimal | None, *, piped: bool = False) -> None:
    """Ask whoever is there where it costs more than `limit` USD (None: any amount may be spent); ConfigError where
    nobody is, as where the input is `piped`, or says no."""
    likely = (one.most if one.cost.about is None else one.cost.about for one in found)
    total = sum((amount for amount in likely if amount is not None), Decimal(0))
    if limit is None or total <= limit:
        return
    sure = all(one.cost.about is not None for one in found)
    told = f"it {'will cost about' if sure else 'may cost up to'} {money(total)}"
    if piped or shell.stdin is None or not (shell.stdin.isatty() and shell.stderr.isatty()):
        raise ConfigError(f"{told}, more than --confirm-above {plain(limit)}: give --yes to send it.")
    if not typer.confirm(f"{told}. Send it?", err=True):
        raise ConfigError("nothing was sent.")
