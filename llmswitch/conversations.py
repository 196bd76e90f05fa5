"""The texts of conversations, and nothing else's: kept so that `ask -c` can go on, until `logs prune` forgets them.

They lie beside the calls in the ledger's file. An attachment is kept once, under the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import opened, reading
from llmswitch.errors import ConfigError, StorageError
from llmswitch.ledger import from_pico
from llmswitch.text import encodable
from llmswitch.types import Attachment, Cost, Message, Usage

__all__ = ["Conversation", "ConversationSummary", "Conversations", "Turn", "TurnCall", "new_conversation_id"]

#: Crockford's base 32: no i, l, o or u, so that nothing is mistaken for a digit
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: ids count seconds from 2020-01-01 UTC; 30 bits of them last until 2054
_EPOCH = 1_577_836_800
_LISTED = 5


def new_conversation_id(now: float, randomness: int) -> str:
    """Ten letters and digits: six for the second `now` (epoch seconds), so that ids sort by age, four random ones."""
    number = (int(now - _EPOCH) % 2**30) << 20 | randomness % 2**20
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(45, -1, -5))


class TurnCall(NamedTuple):
    """The call that gave a turn's answer."""

    provider: str
    request_model: str | None
    usage: Usage
    cost: Cost | None
    duration_s: float
    cached: bool


class Turn(NamedTuple):
    """One question and its answer. `at` is epoch seconds; `call` is None where the call was not recorded."""

    at: float
    prompt: Message
    answer: str
    system: str | None
    target: str
    call: TurnCall | None = None


class Conversation(NamedTuple):
    """A whole conversation, its oldest turn first; there is at least one."""

    id: str
    turns: tuple[Turn, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """What a next request begins with."""
        return tuple(m for turn in self.turns for m in (turn.prompt, Message("assistant", turn.answer)))

    @property
    def system(self) -> str | None:
        """The newest turn's system prompt."""
        return self.turns[-1].system

    @property
    def target(self) -> str:
        """Whom the newest turn asked."""
        return self.turns[-1].target


class ConversationSummary(NamedTuple):
    """One line of a list. Times are epoch seconds; `prompt` is the whole first one, `target` the newest turn's."""

    id: str
    started_at: float
    updated_at: float
    turns: int
    prompt: str
    target: str


class Conversations(NamedTuple):
    """The conversations in the ledger's file at `path`. Every method raises StorageError where that cannot be used."""

    path: Path

    def append(self, conversation_id: str, turn: Turn) -> None:
        """Keep `turn` as the newest of a conversation, which it starts where there is none of that id.

        The turn is linked to the newest recorded call of the conversation that no turn has yet; `turn.call` is not
        looked at. A lone surrogate, which no file can hold, becomes U+FFFD.
        """
        with opened(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                """INSERT INTO conversations VALUES (?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at""",
                (conversation_id, turn.at, turn.at),
            )
            inserted = connection.execute(
                """INSERT INTO turns (conversation_id, at, prompt, answer, system, target, call_id)
                VALUES (:id, :at, :prompt, :answer, :system, :target,
                    (SELECT max(id) FROM calls WHERE conversation_id = :id AND id > coalesce(
                        (SELECT max(call_id) FROM turns WHERE conversation_id = :id), 0)))""",
                {
                    "id": conversation_id,
                    "at": turn.at,
                    "prompt": encodable(turn.prompt.text),
                    "answer": encodable(turn.answer),
                    "system": turn.system and encodable(turn.system),
                    "target": encodable(turn.target),
                },
            )
            for position, attachment in enumerate(turn.prompt.attachments):
                digest = hashlib.sha256(attachment.data).hexdigest()
                connection.execute("INSERT OR IGNORE INTO attachments VALUES (?, ?)", (digest, attachment.data))
                connection.execute(
                    "INSERT INTO turn_attachments VALUES (?, ?, ?, ?, ?)",
                    (
                        inserted.lastrowid,
                        position,
                        digest,
                        encodable(attachment.media_type),
                        encodable(attachment.name),
                    ),
                )
            connection.execute("COMMIT")

    def load(self, prefix: str) -> Conversation:
        """The one conversation whose id begins with `prefix`; ConfigError where there is none, or several."""
        with reading(self.path) as connection:
            found = connection.execute(
                "SELECT id FROM conversations WHERE substr(id, 1, ?) = ? ORDER BY id DESC LIMIT ?",
                (len(prefix), prefix.lower(), _LISTED + 1),
            ).fetchall()
            if not found or not prefix:
                raise ConfigError(f"no conversation {prefix!r}. 'llmswitch logs list' shows those there are.")
            if len(found) > 1:
                listed = ", ".join(row[0] for row in found[:_LISTED]) + (", …" if len(found) > _LISTED else "")
                raise ConfigError(f"{prefix!r} begins the ids of several conversations: {listed}. Type more of it.")
            return Conversation(found[0][0], _turns(connection, found[0][0]))

    def latest(self) -> str | None:
        """The id of the conversation that was spoken in last; None where there is none."""
        with reading(self.path) as connection:
            row = connection.execute(
                "SELECT id FROM conversations ORDER BY updated_at DESC, id DESC LIMIT 1"
            ).fetchone()
            return None if row is None else str(row[0])

    def list(self, limit: int) -> tuple[ConversationSummary, ...]:
        """The `limit` conversations spoken in last, the newest first."""
        with reading(self.path) as connection:
            rows = connection.execute(
                """SELECT id, started_at, updated_at,
                    (SELECT count(*) FROM turns WHERE conversation_id = c.id),
                    (SELECT prompt FROM turns WHERE conversation_id = c.id ORDER BY id LIMIT 1),
                    (SELECT target FROM turns WHERE conversation_id = c.id ORDER BY id DESC LIMIT 1)
                FROM conversations c ORDER BY updated_at DESC, id DESC LIMIT ?""",
                (limit,),
            )
            return tuple(ConversationSummary(*row) for row in rows)

    def prune(self, older_than_s: float, now: float) -> int:
        """Forget every conversation silent for `older_than_s` seconds, its texts' bytes too; returns how many.

        What was deleted is overwritten, in the file and in SQLite's log beside it. The calls stay in the ledger:
        they hold no text. StorageError where another process keeps the log from being emptied: call it again.
        """
        if not self.path.exists():
            return 0
        with opened(self.path) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            deleted = connection.execute("DELETE FROM conversations WHERE updated_at < ?", (now - older_than_s,))
            connection.execute("DELETE FROM attachments WHERE sha256 NOT IN (SELECT sha256 FROM turn_attachments)")
            connection.execute("COMMIT")
            connection.executescript("PRAGMA incremental_vacuum")  # `execute` takes one step, which frees one page
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StorageError(
                    f"{deleted.rowcount} conversations are forgotten, but another process still reads {self.path} "
                    "and their bytes stay beside it until you type the same again."
                )
            return deleted.rowcount


def _turns(connection: sqlite3.Connection, conversation_id: str) -> tuple[Turn, ...]:
    attachments: dict[int, list[Attachment]] = {}
    for turn_id, *attachment in connection.execute(
        """SELECT turn_id, media_type, data, name FROM turn_attachments NATURAL JOIN attachments
        WHERE turn_id IN (SELECT id FROM turns WHERE conversation_id = ?) ORDER BY turn_id, position""",
        (conversation_id,),
    ):
        attachments.setdefault(turn_id, []).append(Attachment(*attachment))
    connection.row_factory = sqlite3.Row
    rows = connection.execute(
        """SELECT calls.*, turns.id AS turn_id, at, prompt, answer, system, turns.target AS asked, call_id
        FROM turns LEFT JOIN calls ON calls.id = call_id WHERE turns.conversation_id = ? ORDER BY turns.id""",
        (conversation_id,),
    )
    return tuple(
        Turn(
            at=row["at"],
            prompt=Message("user", row["prompt"], tuple(attachments.get(row["turn_id"], ()))),
            answer=row["answer"],
            system=row["system"],
            target=row["asked"],
            call=None if row["call_id"] is None else _call(row),
        )
        for row in rows
    )


def _call(row: sqlite3.Row) -> TurnCall:
    pico = row["cost_pico"]
    return TurnCall(
        provider=row["provider"],
        request_model=row["request_model"],
        usage=Usage(row["input_tokens"], row["output_tokens"], estimated=bool(row["usage_estimated"])),
        cost=None if pico is None else Cost(from_pico(pico), row["cost_source"], bool(row["cost_exact"])),
        duration_s=row["duration_s"],
        cached=bool(row["cached"]),
    )
