"""One patient's lines -> resources: the patient's own, then the shared ones that they refer to, down to their parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.fhir.decode import Resource, read_bundle
from service.population.export import head_of, shared_name, shared_references
from service.population.partition import Kept, find_shared, open_shared

Find = Callable[[str], bytes | None]
_DEEPEST: Final = 3  # a product, a mixture, a part: as far as the reader of medications follows
_KEPT: Final = 2000  # shared resources that a process remembers


@contextmanager
def shared_finder(folder: Path) -> Iterator[Find]:
    """Shared resources by `Type/id`, from the index in `folder`."""
    with closing(open_shared(folder)) as index:
        yield lru_cache(maxsize=_KEPT)(lambda name: find_shared(name, index))


def resources_of(patient: str, lines: list[Kept], find: Find, files: tuple[str, ...]) -> Iterator[Resource]:
    """The patient's own resources in the order in which they came, then the shared ones."""
    for line in lines:
        where = f"urn:uuid:{patient}" if line.head.resource_type == "Patient" else _quoted(line.place, files)
        yield from read_bundle(line.content, where).resources
    references = (reference for line in lines for reference in shared_references(line.head))
    for reference, content in shared_of(list(dict.fromkeys(references)), find):
        yield from read_bundle(content, reference).resources


def _quoted(place: str, files: tuple[str, ...]) -> str:
    file, _, line = place.partition(":")
    return f"{files[int(file)]}:{line}"


def shared_of(references: list[str], find: Find) -> Iterator[tuple[str, bytes]]:
    """Shared resources, and those of which they are made."""
    seen: set[str] = set()
    for _ in range(_DEEPEST):
        ahead: list[str] = []
        for reference in references:
            content = find(shared_name(reference)) if reference not in seen else None
            seen.add(reference)
            if content is not None:
                yield reference, content
                ahead += shared_references(head_of(content))
        references = ahead
