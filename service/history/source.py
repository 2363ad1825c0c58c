"""A resource as it came, before anybody has read it."""

from __future__ import annotations

from typing import NamedTuple

from service.fhir.decode import read_bundle
from service.fhir.resources import Resource


class Source(NamedTuple):
    """A resource as it came: where it is quoted, and its bytes."""

    full_url: str
    content: bytes

    def read(self) -> list[Resource]:
        """The resource as a reader knows it; none if nobody does."""
        return read_bundle(self.content, self.full_url).resources
