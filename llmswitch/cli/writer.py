"""Text on its way to a stream, while nobody waits for whoever reads it: a call's clock runs on the same event loop."""

from __future__ import annotations

import math
import os
import threading
import time
from queue import Queue
from types import TracebackType
from typing import Self, TextIO

__all__ = ["HURRIED_S", "Writer"]

#: seconds that a reader who takes nothing has, once nobody wants to wait any more
HURRIED_S = 1.0


class Writer:
    """Writes to `stream` in order, from a thread of its own; what a slow reader has not taken yet is kept.

    At the end of `with` all of it is written. A Ctrl-C then, or before, ends the wait for a reader that is stuck.
    """

    def __init__(self, stream: TextIO) -> None:
        self.failed: OSError | None = None
        self._encoding, self._errors = stream.encoding, stream.errors or "strict"
        # past the buffers of `stream`: the interpreter's last flush of them would wait for a thread that is stuck there
        self._raw = open(stream.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115  # the stream's to close
        self._texts: Queue[str | None] = Queue()
        threading.Thread(target=self._keep_writing, daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether everything so far is written, or was lost because writing `failed`."""
        return not self._texts.unfinished_tasks

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._raw.fileno()

    def write(self, text: str) -> None:
        """Have `text` written; returns at once."""
        self._texts.put(text)

    def wait(self, most_s: float = math.inf) -> None:
        """Until it is idle, or for so many seconds. In steps: nowhere but between them does Windows see a Ctrl-C."""
        ends = time.monotonic() + most_s
        while not self.idle and time.monotonic() < ends:
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait(HURRIED_S if kind is KeyboardInterrupt else math.inf)
        except KeyboardInterrupt:
            # the same key sets a terminal going again that Ctrl-S had stopped
            self.wait(HURRIED_S)
            raise
        finally:
            self._texts.put(None)

    def _keep_writing(self) -> None:
        while (text := self._texts.get()) is not None:
            try:
                if self.failed is None:
                    self._send(text)
            except OSError as error:
                self.failed = error
            self._texts.task_done()

    def _send(self, text: str) -> None:
        rest = memoryview(text.replace("\n", os.linesep).encode(self._encoding, self._errors))
        while rest:
            sent: int | None = self._raw.write(rest)
            if sent is None:  # full, and somebody made it one that does not block
                time.sleep(0.01)
            rest = rest[sent or 0 :]
