"""An export sorted by patient, file by file in parallel: each line to the bucket of its patient.

Several processes append to the same bucket files, each a buffer at a time. Each line carries its place (file, part,
line), so that order does not matter, nor that a part which was interrupted is sorted again: of lines with one place the
whole one counts. Why this and no engine: see docs/adr.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from service.population.export import (
    READ,
    SHARED,
    Broken,
    Chunk,
    Head,
    Line,
    id_of,
    kind_of,
    patient_of,
    read_chunk,
    read_head,
    shared_references,
)

FEWEST, MOST = 32, 4096  # buckets
BUCKET_BYTES: Final = 16_000_000  # of resources, for which buckets are made; a process holds one bucket
_BUFFER: Final = 32_000_000  # bytes of all buckets kept by a process before they are written
_INFLATION: Final = 10  # bytes of FHIR JSON in a byte of gzip, about
_EXAMPLES: Final = 100


class Partition(msgspec.Struct):
    """What was found in the export."""

    buckets: int
    patients: int = 0  # Patient resources
    resources: dict[str, int] = msgspec.field(default_factory=dict)  # by type, those that the rules may use
    unused: dict[str, int] = msgspec.field(default_factory=dict)  # by type, the others
    broken: dict[str, int] = msgspec.field(default_factory=dict)  # by reason
    examples: list[Broken] = msgspec.field(default_factory=list)  # the first ones; all are in broken.ndjson
    lines: dict[str, list[int]] = msgspec.field(default_factory=dict)  # by file: lines before each of its parts


class Part(msgspec.Struct):
    """What was found in one part of a file."""

    lines: int = 0
    patients: int = 0
    resources: dict[str, int] = msgspec.field(default_factory=dict)
    unused: dict[str, int] = msgspec.field(default_factory=dict)
    broken: list[Broken] = msgspec.field(default_factory=list)  # their lines counted from the beginning of the part


def bucket_count(files: Iterable[Path]) -> int:
    """So many that each fits well into memory; it depends on nothing but the files."""
    size = sum(path.stat().st_size * (_INFLATION if path.suffix == ".gz" else 1) for path in files)
    return max(FEWEST, min(MOST, size // BUCKET_BYTES))


def bucket_of(patient: str, count: int) -> int:
    """The bucket of a patient, the same in every run."""
    return crc32(patient.encode()) % count


def bucket_file(folder: Path, number: int) -> Path:
    """Where the lines of a bucket are kept: a `Label`, a tab, the resource."""
    return folder / f"{number:04}.lines"


def shared_file(folder: Path) -> Path:
    """The index of shared resources."""
    return folder / "shared.sqlite"


Needs = Callable[[Head, bytes], bool]
"""Whether a job needs a resource, given its head and its bytes; can be sent to another process."""


def everything(_head: Head, _content: bytes) -> bool:
    """A job that needs every resource."""
    return True


# ---- one part of a file ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SortTask:
    """A part to sort; can be sent to another process."""

    chunk: Chunk
    buckets: int
    folder: Path
    needs: Needs = everything

    @property
    def done(self) -> Path:
        """There once the part is sorted."""
        return self.folder / f"{self.chunk.file:05}-{self.chunk.number:05}.sorted"


class Label(msgspec.Struct, array_like=True, frozen=True):
    """What stands before a line in a bucket."""

    file: int
    part: int
    line: int
    owner: str  # the patient; of a shared resource its `Type/id`
    kind: str
    references: list[str]  # to shared resources


_label = msgspec.json.Decoder(Label)


def sort_chunk(task: SortTask) -> int:
    """Sort the lines of a part into the buckets; how many bytes were read. OSError if the disk is full."""
    part, spill, read = Part(), _Spill(task.folder, task.buckets), 0

    def advance(size: int) -> None:
        nonlocal read
        read += size

    for bucket, label, content in read_labelled(task.chunk, task.buckets, part, task.needs, advance):
        spill.add(bucket, label, content)
    spill.flush()
    draft = task.done.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(part))
    draft.replace(task.done)
    return read


def read_labelled(
    chunk: Chunk, buckets: int, part: Part, needs: Needs = everything, advance: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, Label, bytes]]:
    """The lines of a part that somebody reads, each with its bucket; `part` is told the rest. The last bucket is shared.

    Of a line that the job does not need only the label is given: it may be all that tells of a patient.
    """
    for line in read_chunk(chunk, advance):
        part.lines = line.line if isinstance(line, Broken) else line.number
        found = line if isinstance(line, Broken) else _labelled_line(line, chunk, buckets, part, needs)
        if isinstance(found, Broken):
            part.broken.append(found)
        elif found is not None and not isinstance(line, Broken):
            bucket, label, needed = found
            yield bucket, label, line.content if needed else b""


def _labelled_line(
    line: Line, chunk: Chunk, buckets: int, part: Part, needs: Needs
) -> tuple[int, Label, bool] | Broken | None:
    """Where one line belongs and whether it is needed, or why it belongs nowhere; None for one that nobody reads."""
    if not line.content:
        return None
    head = read_head(line)
    if isinstance(head, Broken):
        return head
    kind, owner = kind_of(head), patient_of(head)
    if kind not in READ:
        part.unused[kind] = part.unused.get(kind, 0) + 1
        return None
    bucket = bucket_of(owner, buckets) if owner else buckets
    if not owner:
        if kind not in SHARED or not id_of(head):
            return Broken(line.file, line.number, unassigned_reason(head))
        owner = f"{kind}/{id_of(head)}"
    references = list(dict.fromkeys(shared_references(head)))
    part.resources[kind] = part.resources.get(kind, 0) + 1
    part.patients += kind == "Patient"
    label = Label(chunk.file, chunk.number, line.number, owner, kind, references)
    return bucket, label, needs(head, line.content)


def unassigned_reason(head: Head) -> str:
    """Why a resource belongs to nobody."""
    if head.resource_type in SHARED or head.resource_type == "Patient":
        return "no id"
    return "subject is no patient" if head.subject or head.patient else "names no patient"


class _Spill:
    """Lines on their way to the bucket files; files are opened to append, so that any number of buckets will do."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._buffers = [bytearray() for _ in range(count + 1)]  # the last one is of shared resources
        self._held = 0

    def add(self, bucket: int, label: Label, content: bytes) -> None:
        """Keep a line; write them all when the buffers are full."""
        self._buffers[bucket] += b"%s\t%s\n" % (msgspec.json.encode(label), content)
        self._held += len(content)
        if self._held > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        for number, buffer in enumerate(self._buffers):
            if buffer:
                _append(bucket_file(self._folder, number), buffer)
                buffer.clear()
        self._held = 0


def _append(path: Path, lines: bytearray) -> None:
    """Append whole lines, one process at a time; what a process left half written is ended first."""
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.seek(0, 2) and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            file.write(b"\n")
        file.write(lines)


# ---- all parts -------------------------------------------------------------------------------------------------------


def partition(tasks: Sequence[SortTask], broken_file: Path) -> Partition:
    """What all parts gave, once they are sorted: sums, broken lines with their place in the file, the shared index."""
    buckets = tasks[0].buckets if tasks else FEWEST
    parts = ((task.chunk.file, msgspec.json.decode(task.done.read_bytes(), type=Part)) for task in tasks)
    found = join_parts(buckets, parts, broken_file)
    if tasks:
        _index_shared(tasks[0].folder, buckets)
    return found


def join_parts(buckets: int, parts: Iterable[tuple[int, Part]], broken_file: Path) -> Partition:
    """The parts of all files, in order: sums, and broken lines with their place in the file."""
    found = Partition(buckets)
    with broken_file.open("wb") as skipped:
        for file, part in parts:
            before = found.lines.setdefault(str(file), [0])
            for fault in part.broken:
                placed = replace(fault, line=fault.line + before[-1])
                _note(placed, found)
                skipped.write(msgspec.json.encode(placed) + b"\n")
            before.append(before[-1] + part.lines)
            _add(found, part)
    return found


def _note(fault: Broken, found: Partition) -> None:
    found.broken[fault.reason] = found.broken.get(fault.reason, 0) + 1
    if len(found.examples) < _EXAMPLES:
        found.examples.append(fault)


def _add(found: Partition, part: Part) -> None:
    found.patients += part.patients
    for whole, some in ((found.resources, part.resources), (found.unused, part.unused)):
        for kind, number in some.items():
            whole[kind] = whole.get(kind, 0) + number


def _index_shared(folder: Path, bucket: int) -> None:
    """Shared resources by name on disk; of several with one name the last one counts."""
    shared_file(folder).unlink(missing_ok=True)
    with closing(sqlite3.connect(shared_file(folder))) as index:
        index.execute("PRAGMA synchronous=OFF")
        index.execute("CREATE TABLE shared (name TEXT PRIMARY KEY, place INTEGER, line BLOB)")
        index.executemany(
            "INSERT INTO shared VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET place = excluded.place, "
            "line = excluded.line WHERE (excluded.place, length(excluded.line)) >= (place, length(line))",
            _shared_rows(bucket_file(folder, bucket)),
        )
        index.commit()


def _shared_rows(path: Path) -> Iterator[tuple[str, int, bytes]]:
    for label, content in _labelled(path):
        yield label.owner, (label.file << 42) + (label.part << 32) + label.line, content


def _labelled(path: Path) -> Iterator[tuple[Label, bytes]]:
    """The whole lines of a bucket file; what was left half written before its tab is passed over."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            label, tab, content = line.rstrip(b"\n").partition(b"\t")
            if tab:
                yield _label.decode(label), content


# ---- reading back ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A line of a bucket: where it came from, what it is, the resource."""

    label: Label
    content: bytes


def patients_in(path: Path) -> Iterator[tuple[str, list[Kept]]]:
    """The patients of a bucket in the order of their ids, each with its lines as they came, each once."""
    charts: dict[str, dict[tuple[int, int, int], Kept]] = {}
    for label, content in _labelled(path):
        chart, place = charts.setdefault(label.owner, {}), (label.file, label.part, label.line)
        if place not in chart or len(chart[place].content) < len(content):
            chart[place] = Kept(label, content)
    for patient in sorted(charts):
        chart = charts.pop(patient)
        yield patient, [chart[place] for place in sorted(chart)]


def open_shared(folder: Path) -> sqlite3.Connection:
    """The index of shared resources, to read."""
    return sqlite3.connect(f"{shared_file(folder).resolve().as_uri()}?mode=ro", uri=True)


def find_shared(name: str, index: sqlite3.Connection) -> bytes | None:
    """A shared resource by `Type/id`."""
    row = index.execute("SELECT line FROM shared WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None
