"""The files of a Bulk Data export as lines, each with its place; what cannot be read is a `Broken`, never an error."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from service.fhir.primitives import local_reference

MAX_LINE: Final = 16_000_000  # bytes; a resource of this size is no chart entry
SHARED: Final = frozenset({"Medication", "Specimen"})  # may belong to no patient
READ: Final = SHARED | {
    "Patient", "Observation", "MedicationRequest", "MedicationStatement", "MedicationAdministration",
    "MedicationDispense", "Condition", "Encounter", "ServiceRequest",
}  # fmt: skip
CHUNK_BYTES: Final = 128_000_000  # of an uncompressed file, for one process
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_LINES_PER_REPORT: Final = 500


@dataclass(frozen=True, slots=True)
class Broken:
    """A line (or the rest of a file) that was skipped; `reason` is one of a few, `detail` never holds content."""

    file: str
    line: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, without its end."""

    file: str
    number: int
    content: bytes


class Head(msgspec.Struct, rename="camel"):
    """Of a resource what tells whose it is, to what it refers, whether it is needed; untyped, for `total` reads it."""

    resource_type: Any = None
    id: Any = None
    subject: Any = None
    patient: Any = None
    medication_reference: Any = None
    medication: Any = None
    specimen: Any = None
    ingredient: Any = None
    status: Any = None
    code: msgspec.Raw = msgspec.Raw(b"")
    component: msgspec.Raw = msgspec.Raw(b"")
    has_member: msgspec.Raw = msgspec.Raw(b"")
    contained: msgspec.Raw = msgspec.Raw(b"")


_head = msgspec.json.Decoder(Head)


def export_files(folder: Path) -> list[Path]:
    """The NDJSON files of an export, in the order in which they are read."""
    return sorted(p for p in folder.iterdir() if p.name.endswith((".ndjson", ".ndjson.gz")) and p.is_file())


def unread_files(folder: Path) -> list[str]:
    """The names of what lies in an export and is not read: another format, or a folder."""
    read = set(export_files(folder))
    return sorted(path.name for path in folder.iterdir() if path not in read and not path.name.startswith("."))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file that one process reads: the lines that begin from byte `start` until before `end`."""

    file: int  # its place among the files
    number: int  # among the chunks of the file
    path: Path
    start: int = 0
    end: int = sys.maxsize


def chunks_of(files: Sequence[Path]) -> list[Chunk]:
    """All files in parts of about `CHUNK_BYTES`; a compressed one cannot be entered in its middle and is one part."""
    return [chunk for place, path in enumerate(files) for chunk in _parts(place, path)]


def _parts(place: int, path: Path) -> Iterator[Chunk]:
    with path.open("rb") as raw:
        whole = raw.read(2) in {_GZIP, *_UTF16}
    size = path.stat().st_size
    starts = [0] if whole or size <= CHUNK_BYTES else range(0, size, CHUNK_BYTES)
    for number, start in enumerate(starts):
        yield Chunk(place, number, path, start, start + CHUNK_BYTES if len(starts) > 1 else sys.maxsize)


def read_lines(path: Path, advance: Callable[[int], None]) -> Iterator[Line | Broken]:
    """The lines of one file, compressed or not; `advance` is told how many of its bytes were read since last time."""
    return (line for line in read_chunk(Chunk(0, 0, path), advance) if isinstance(line, Broken) or line.content)


def read_chunk(chunk: Chunk, advance: Callable[[int], None]) -> Iterator[Line | Broken]:
    """The lines of a part of a file, numbered from its beginning, empty ones included."""
    number, name = 0, chunk.path.name
    with chunk.path.open("rb") as raw:
        told = _seek_line(raw, chunk.start)
        stream = _uncompressed(raw) if chunk.start == 0 else raw
        try:
            for content in _bounded(stream, chunk.end):
                number += 1
                if number == 1 and content.startswith(_UTF16) and chunk.start == 0:
                    yield Broken(name, 1, "UTF-16", "the whole file was skipped: FHIR NDJSON is UTF-8")
                    break
                if number % _LINES_PER_REPORT == 0:
                    advance(raw.tell() - told)
                    told = raw.tell()
                yield from _line(name, number, content, first=number == 1 and chunk.start == 0)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield Broken(name, number + 1, "damaged gzip", f"the rest of the file was lost ({error})")
        advance(min(chunk.end, raw.seek(0, 2)) - told)


def _seek_line(raw: IO[bytes], start: int) -> int:
    """Go to the first line that begins at `start` or after it; the place."""
    if start:
        raw.seek(start - 1)
        while (part := raw.readline(MAX_LINE)) and not part.endswith(b"\n"):
            pass
    return raw.tell()


def _uncompressed(raw: IO[bytes]) -> IO[bytes]:
    """By content, not by name: servers differ in what they call a compressed file."""
    compressed = raw.read(2) == _GZIP
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[return-value]


def _bounded(stream: IO[bytes], end: int) -> Iterator[bytes]:
    """Lines that begin before `end`; of one longer than MAX_LINE bytes only its beginning is held and given."""
    while stream.tell() < end and (content := stream.readline(MAX_LINE + 1)):
        last = content
        while len(last) > MAX_LINE and not last.endswith(b"\n"):
            last = stream.readline(MAX_LINE + 1)
        yield content


def _line(file: str, number: int, content: bytes, *, first: bool) -> Iterator[Line | Broken]:
    if len(content) > MAX_LINE:
        yield Broken(file, number, "too long", f"more than {MAX_LINE} bytes")
        return
    stripped = (content.removeprefix(_BOM) if first else content).strip()
    yield Line(file, number, stripped)


def read_head(line: Line) -> Head | Broken:
    """The head of the resource in a line, checked to the line's end, so that no later reader can stumble."""
    try:
        line.content.decode("utf-8")
        head = head_of(line.content)
    except UnicodeDecodeError as error:
        return Broken(line.file, line.number, "not UTF-8", f"byte {error.start}")
    except msgspec.ValidationError:
        return Broken(line.file, line.number, "no JSON object")
    except (msgspec.DecodeError, RecursionError) as error:
        return Broken(line.file, line.number, "not JSON", str(error))
    if not kind_of(head):
        return Broken(line.file, line.number, "no resourceType")
    return head


def head_of(content: bytes) -> Head:
    """The head of a resource in a line that `read_head` has accepted."""
    return _head.decode(content)


def kind_of(head: Head) -> str:
    """The resource type, "" if there is none."""
    return _text(head.resource_type)


def id_of(head: Head) -> str:
    """The id, "" if there is none."""
    return _text(head.id)


def patient_of(head: Head) -> str:
    """The id of the patient to whom a resource belongs; "" if it names none."""
    if head.resource_type == "Patient":
        return id_of(head)
    named = _reference(head.subject) or _reference(head.patient)
    if named.startswith("urn:uuid:"):
        return named.removeprefix("urn:uuid:")
    kind, _, ident = local_reference(named).rpartition("/")
    return ident if kind == "Patient" else ""


def shared_references(head: Head) -> Iterator[str]:
    """The references of a resource to medications and specimens, as written."""
    places = [head.medication_reference, head.medication, _member(head.medication, "reference")]
    places += head.specimen if isinstance(head.specimen, list) else [head.specimen]
    for part in head.ingredient if isinstance(head.ingredient, list) else ():
        places += [_member(part, "itemReference"), _member(_member(part, "item"), "reference")]
    for place in places:
        if (reference := _reference(place)) and not reference.startswith("#"):
            yield reference


def shared_name(reference: str) -> str:
    """`Type/id` under which a shared resource is found, "" if the reference is to something else.

    A bare `urn:uuid:…` does not tell its type; only medications are referred to in this way.
    """
    if reference.startswith("urn:uuid:"):
        return "Medication/" + reference.removeprefix("urn:uuid:")
    local = local_reference(reference)
    return local if local.partition("/")[0] in SHARED else ""


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _reference(value: object) -> str:
    return _text(_member(value, "reference"))
