"""The manifest of a screening: what was asked of which files, so that the same command goes on where it stopped."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from service import __version__
from service.logic.knowledge import VERSION
from service.population.partition import Partition

_OUTPUTS = ("findings.ndjson", "findings.csv", "findings.draft", "summary.json", "broken.ndjson", "manifest.json")
_WORDS = {"as_of": "--as-of", "hook": "--hook", "profile": "--profile", "research": "--research", "format": "--format"}


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """Everything on which the findings depend besides the export."""

    as_of: str
    hook: str
    profile: str
    research: bool
    format: str
    site: str  # SHA-256 of the site file and of the table that it names, "" without one
    program: str = __version__
    knowledge: str = VERSION


class Input(msgspec.Struct, frozen=True):
    """A file of the export, as it was when it was read."""

    name: str
    size: int
    modified: int  # ns


class Journal(msgspec.Struct):
    """manifest.json."""

    asked: Asked
    inputs: list[Input]
    partition: Partition | None = None  # once all lines are in their buckets
    finished: bool = False


def inputs_of(files: Iterable[Path]) -> list[Input]:
    """The fingerprints of the files."""
    return [Input(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def digest(files: Iterable[Path]) -> str:
    """One fingerprint of the content of some small files."""
    contents = [sha256(path.read_bytes()).hexdigest() for path in files]
    return sha256(" ".join(contents).encode()).hexdigest() if contents else ""


def manifest(folder: Path) -> Path:
    """Where the journal of a screening is."""
    return folder / "manifest.json"


def read(folder: Path) -> Journal | None:
    """The journal of an earlier run; None if there is none. msgspec.MsgspecError if it is something else."""
    if not manifest(folder).exists():
        return None
    return msgspec.json.decode(manifest(folder).read_bytes(), type=Journal)


def write(journal: Journal, folder: Path) -> None:
    """Store the journal, whole or not at all."""
    draft = folder / "manifest.draft"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(journal), indent=2))
    draft.replace(manifest(folder))


def differences(old: Journal, asked: Asked, inputs: list[Input]) -> Iterator[str]:
    """What is not as it was in the earlier run, in words."""
    for name in Asked.__struct_fields__:
        before, after = getattr(old.asked, name), getattr(asked, name)
        if before != after:
            yield (
                "site file: its content changed"
                if name == "site"
                else f"{_WORDS.get(name, name)}: was {before}, is {after}"
            )
    earlier, present = {i.name: i for i in old.inputs}, {i.name: i for i in inputs}
    yield from (f"{name}: is new" for name in present.keys() - earlier.keys())
    yield from (f"{name}: is gone" for name in earlier.keys() - present.keys())
    yield from (f"{name}: changed" for name in earlier.keys() & present.keys() if earlier[name] != present[name])


def discard(folder: Path) -> None:
    """Remove all that a screening wrote, and nothing else."""
    for name in _OUTPUTS:
        (folder / name).unlink(missing_ok=True)
    discard_work(folder)


def discard_work(folder: Path) -> None:
    """Remove the copies of patient data."""
    shutil.rmtree(work(folder), ignore_errors=True)


def work(folder: Path) -> Path:
    """Patient data on their way: removed when the screening is finished."""
    return folder / "work"


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; BlockingIOError if there is one. The lock ends with the process."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
