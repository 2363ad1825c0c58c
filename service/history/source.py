"""Resources as they came, before anybody has read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import msgspec

from service.fhir.decode import read_bundle
from service.fhir.resources import Resource

T = TypeVar("T")


class Source(NamedTuple):
    """A resource as it came: where it is quoted, and its bytes."""

    full_url: str
    content: bytes

    def read(self) -> list[Resource]:
        """The resource as a reader knows it; none if nobody does."""
        return read_bundle(self.content, self.full_url).resources


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    entry: list[msgspec.Raw] | None = None


class _Entry(msgspec.Struct, rename="camel"):
    full_url: str | None = None
    resource: msgspec.Raw = msgspec.Raw(b"")


def sources_in(raw: bytes | msgspec.Raw, where: str = "$") -> Iterator[Source]:
    """The resources of a Bundle, an array, or a lone one, as they came; what cannot be told apart is left out."""
    data = bytes(raw).strip()
    if data.startswith(b"["):
        for number, item in enumerate(_decoded(data, list[msgspec.Raw]) or ()):
            yield from sources_in(item, f"{where}[{number}]")
        return
    bundle = _decoded(data, _Bundle)
    if bundle is None or bundle.resource_type != "Bundle":
        yield Source(where, data)
        return
    for number, item in enumerate(bundle.entry or ()):
        entry = _decoded(item, _Entry)
        if entry is not None and bytes(entry.resource):
            yield from sources_in(entry.resource, entry.full_url or f"{where}.entry[{number}]")


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
