"""One streaming pass over an export: each line to the bucket of its patient, shared resources to an index on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from service.population.export import (
    READ,
    SHARED,
    Broken,
    Head,
    Line,
    head_of,
    id_of,
    kind_of,
    patient_of,
    read_head,
    read_lines,
)

FEWEST, MOST = 32, 4096  # buckets
BUCKET_BYTES: Final = 16_000_000  # of resources, for which buckets are made; a process holds one bucket
_BUFFER: Final = 32_000_000  # bytes of all buckets kept before they are written
_INFLATION: Final = 10  # bytes of FHIR JSON in a byte of gzip, about


class Partition(msgspec.Struct):
    """What was found in the export."""

    buckets: int
    patients: int = 0  # Patient resources
    resources: dict[str, int] = msgspec.field(default_factory=dict)  # by type, those that the rules may use
    unused: dict[str, int] = msgspec.field(default_factory=dict)  # by type, the others
    broken: dict[str, int] = msgspec.field(default_factory=dict)  # by reason
    examples: list[Broken] = msgspec.field(default_factory=list)  # the first ones; all are in broken.ndjson


def bucket_count(files: Iterable[Path]) -> int:
    """So many that each fits well into memory; it depends on nothing but the files."""
    size = sum(path.stat().st_size * (_INFLATION if path.suffix == ".gz" else 1) for path in files)
    return max(FEWEST, min(MOST, size // BUCKET_BYTES))


def bucket_of(patient: str, count: int) -> int:
    """The bucket of a patient, the same in every run."""
    return crc32(patient.encode()) % count


def bucket_file(folder: Path, number: int) -> Path:
    """Where the lines of a bucket are kept: `file:line`, a tab, the resource."""
    return folder / f"{number:04}.lines"


def shared_file(folder: Path) -> Path:
    """The index of shared resources."""
    return folder / "shared.sqlite"


def partition(files: list[Path], folder: Path, broken_file: Path, advance: Callable[[int], None]) -> Partition:
    """Sort the lines of all files into `folder`; OSError if the disk is full or a file cannot be opened."""
    found = Partition(buckets=bucket_count(files))
    spill = _Spill(folder, found.buckets)
    with closing(sqlite3.connect(shared_file(folder))) as index, broken_file.open("wb") as skipped:
        index.execute("PRAGMA synchronous=OFF")
        index.execute("CREATE TABLE shared (name TEXT PRIMARY KEY, place TEXT, line BLOB)")
        for place, path in enumerate(files):
            for line in read_lines(path, advance):
                fault = line if isinstance(line, Broken) else _sort(line, place, found, spill, index)
                if fault is not None:
                    _note(fault, found)
                    skipped.write(msgspec.json.encode(fault) + b"\n")
        index.commit()
    spill.flush()
    return found


def _sort(line: Line, place: int, found: Partition, spill: _Spill, index: sqlite3.Connection) -> Broken | None:
    """One line to where it belongs, or why it belongs nowhere."""
    head = read_head(line)
    if isinstance(head, Broken):
        return head
    kind = kind_of(head)
    if kind not in READ:
        found.unused[kind] = found.unused.get(kind, 0) + 1
        return None
    patient = patient_of(head)
    if patient:
        spill.add(bucket_of(patient, found.buckets), f"{place}:{line.number}", line.content)
    elif kind in SHARED and id_of(head):
        name = f"{kind}/{id_of(head)}"
        index.execute("INSERT OR REPLACE INTO shared VALUES (?, ?, ?)", (name, f"{place}:{line.number}", line.content))
    else:
        return Broken(line.file, line.number, unassigned_reason(head))
    found.resources[kind] = found.resources.get(kind, 0) + 1
    found.patients += kind == "Patient"
    return None


def unassigned_reason(head: Head) -> str:
    if head.resource_type in SHARED or head.resource_type == "Patient":
        return "no id"
    return "subject is no patient" if head.subject or head.patient else "names no patient"


def _note(fault: Broken, found: Partition) -> None:
    found.broken[fault.reason] = found.broken.get(fault.reason, 0) + 1
    if len(found.examples) < 100:
        found.examples.append(fault)


class _Spill:
    """Lines on their way to the bucket files; files are opened to append, so that any number of buckets will do."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._buffers = [bytearray() for _ in range(count)]
        self._held = 0

    def add(self, bucket: int, place: str, content: bytes) -> None:
        """Keep a line; write them all when the buffers are full."""
        self._buffers[bucket] += b"%s\t%s\n" % (place.encode(), content)
        self._held += len(content)
        if self._held > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        for number, buffer in enumerate(self._buffers):
            if buffer:
                with bucket_file(self._folder, number).open("ab") as lines:
                    lines.write(buffer)
                buffer.clear()
        self._held = 0


# ---- reading back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A line of a bucket: its place as `number of the file:line`, the head, the resource."""

    place: str
    head: Head
    content: bytes


def patients_in(path: Path) -> Iterator[tuple[str, list[Kept]]]:
    """The patients of a bucket in the order of their ids, each with its lines as they came."""
    charts: dict[str, list[Kept]] = {}
    with path.open("rb") as lines:
        for line in lines:
            place, _, content = line.rstrip(b"\n").partition(b"\t")
            head = head_of(content)
            charts.setdefault(patient_of(head), []).append(Kept(place.decode(), head, content))
    for patient in sorted(charts):
        yield patient, charts.pop(patient)


def open_shared(folder: Path) -> sqlite3.Connection:
    """The index of shared resources, to read."""
    return sqlite3.connect(f"{shared_file(folder).resolve().as_uri()}?mode=ro", uri=True)


def find_shared(name: str, index: sqlite3.Connection) -> bytes | None:
    """A shared resource by `Type/id`."""
    row = index.execute("SELECT line FROM shared WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None
