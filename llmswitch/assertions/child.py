"""The process that grades what may take long: a line of JSON in, a line for each verdict out, until its input ends.

Run as `python -m llmswitch.assertions.child SECONDS`. An assertion that takes longer than that ends the process, by a
thread of C that waits for no lock: whoever asked may be gone, and a runaway regular expression lets no Python run.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import BinaryIO

from llmswitch.assertions.grade import judged
from llmswitch.assertions.wire import decode_job, encode_verdict

__all__ = ["READY", "serve"]

READY = b"ready\n"


def serve(jobs: BinaryIO, verdicts: BinaryIO, limit_s: float) -> None:
    """Grade until `jobs` ends or nobody reads `verdicts`."""
    verdicts.write(READY)
    verdicts.flush()
    for line in jobs:
        assertions, answer = decode_job(line)
        for assertion in assertions:
            faulthandler.dump_traceback_later(limit_s, exit=True)
            verdict = judged(assertion, answer)
            faulthandler.cancel_dump_traceback_later()
            verdicts.write(encode_verdict(verdict))
            verdicts.flush()


if __name__ == "__main__":
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))
    except BrokenPipeError:
        sys.stdout = None  # it would be flushed once more
