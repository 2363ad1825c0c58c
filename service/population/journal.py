"""The manifest of a run: what was asked of which files, so that the same command goes on where it stopped."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from service import __version__
from service.logic.knowledge import VERSION
from service.population.partition import Partition

_OUTPUTS = (
    "findings.ndjson", "findings.csv", "findings.draft", "summary.json", "broken.ndjson", "manifest.json",
    "cards.ndjson", "changes.ndjson", "report.html", "units.json",
)  # fmt: skip
Asked = dict[str, Any]
"""Everything on which the results depend besides the export, as the summary says it: by name of the option."""
VERSIONS: Final[Asked] = {"program": __version__, "knowledge": VERSION}


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
    return [_input(path) for path in files]


def _input(path: Path) -> Input:
    """An object store may tell the time of a change in seconds, or not at all."""
    found = path.stat()
    changed = getattr(found, "st_mtime_ns", None) or round((getattr(found, "st_mtime", 0) or 0) * 1e9)
    return Input(path.name, found.st_size, changed)


def digest(files: Iterable[Path]) -> str:
    """One fingerprint of the content of some small files."""
    contents = [sha256(path.read_bytes()).hexdigest() for path in files]
    return sha256(" ".join(contents).encode()).hexdigest() if contents else ""


def site_files(site: Path | None, rxnorm_table: str | Path | None) -> list[Path]:
    """A site file and the table that it names."""
    return [path for path in (site, Path(rxnorm_table) if rxnorm_table else None) if path]


def manifest(folder: Path) -> Path:
    """Where the journal of a run is."""
    return folder / "manifest.json"


def read(folder: Path) -> Journal | None:
    """The journal of an earlier run; None if there is none. msgspec.MsgspecError if it is something else."""
    if not manifest(folder).exists():
        return None
    return msgspec.json.decode(manifest(folder).read_bytes(), type=Journal)


def write(journal: Journal, folder: Path) -> None:
    """Store the journal, whole or not at all."""
    write_whole(manifest(folder), msgspec.json.format(msgspec.json.encode(journal), indent=2))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)


def differences(old: Journal, asked: Asked, inputs: list[Input]) -> Iterator[str]:
    """What is not as it was in the earlier run, in words."""
    for name in {**old.asked, **asked}:
        before, after = old.asked.get(name), asked.get(name)
        if before != after:
            changed = name in {"site", "versus"}
            yield f"{name} file: its content changed" if changed else f"{_option(name)}: was {before}, is {after}"
    earlier, present = {i.name: i for i in old.inputs}, {i.name: i for i in inputs}
    yield from (f"{name}: is new" for name in present.keys() - earlier.keys())
    yield from (f"{name}: is gone" for name in earlier.keys() - present.keys())
    yield from (f"{name}: changed" for name in earlier.keys() & present.keys() if earlier[name] != present[name])


def _option(name: str) -> str:
    """The option of the command line, as `--as-of` for `asOf`; versions are none."""
    return name if name in VERSIONS else "--" + re.sub("[A-Z]", lambda match: "-" + match[0].lower(), name)


def discard(folder: Path) -> None:
    """Remove all that a run wrote, and nothing else."""
    for name in _OUTPUTS:
        (folder / name).unlink(missing_ok=True)
    discard_work(folder)


def discard_work(folder: Path) -> None:
    """Remove the copies of patient data."""
    shutil.rmtree(work(folder), ignore_errors=True)


def work(folder: Path) -> Path:
    """Patient data on their way: removed when the run is finished."""
    return folder / "work"


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; BlockingIOError if there is one. The lock ends with the process."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
