"""One patient's lines -> resources as they came: the patient's own, then the shared ones that they refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.fhir.resources import Resource
from service.history.source import Source
from service.population.export import head_of, shared_name, shared_references
from service.population.partition import Kept, Label, find_shared, open_shared

Find = Callable[[str], bytes | None]
_DEEPEST: Final = 3  # a product, a mixture, a part: as far as the reader of medications follows
_KEPT: Final = 2000  # shared resources that a process remembers


@dataclass(frozen=True, slots=True)
class Chart:
    """All of one patient, in the order in which it came."""

    patient: str
    own: tuple[Source, ...]
    shared: tuple[Source, ...]
    has_patient: bool

    def resources(self) -> Iterator[Resource]:
        """Everything, as a reader knows it."""
        for source in (*self.own, *self.shared):
            yield from source.read()


@contextmanager
def shared_finder(folder: Path) -> Iterator[Find]:
    """Shared resources by `Type/id`, from the index in `folder`."""
    with closing(open_shared(folder)) as index:
        yield lru_cache(maxsize=_KEPT)(lambda name: find_shared(name, index))


@dataclass(frozen=True, slots=True)
class Files:
    """The names of the files, and of each how many lines stand before each of its parts."""

    names: tuple[str, ...]
    before: tuple[tuple[int, ...], ...]

    def place(self, label: Label) -> str:
        """`file:line`."""
        return f"{self.names[label.file]}:{self.before[label.file][label.part] + label.line}"


def chart_of(patient: str, lines: list[Kept], find: Find, files: Files) -> Chart:
    """A patient's resources, and the shared ones down to what they are made of."""
    own = tuple(Source(_full_url(patient, line.label, files), line.content) for line in lines if line.content)
    references = (reference for line in lines if line.content for reference in line.label.references)
    shared = tuple(_shared(list(dict.fromkeys(references)), find))
    return Chart(patient, own, shared, any(line.label.kind == "Patient" for line in lines))


def _full_url(patient: str, label: Label, files: Files) -> str:
    return f"urn:uuid:{patient}" if label.kind == "Patient" else files.place(label)


def _shared(references: list[str], find: Find) -> Iterator[Source]:
    """Shared resources, and those of which they are made."""
    seen: set[str] = set()
    for _ in range(_DEEPEST):
        ahead: list[str] = []
        for reference in references:
            content = find(shared_name(reference)) if reference not in seen else None
            seen.add(reference)
            if content is not None:
                yield Source(reference, content)
                ahead += shared_references(head_of(content))
        references = ahead
