"""What the readers of single resources need to know of the whole: the moment, the patient, the site's codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

import msgspec

from service.fhir import primitives
from service.fhir.decode import contained
from service.fhir.memory import Comparison, Memory
from service.fhir.resources import Reference, Resource
from service.logic.knowledge import Knowledge
from service.logic.message import Message
from service.logic.model import PartialDateTime
from service.terminology.analytes import LabCodes
from service.terminology.drugs import DrugVocabulary
from service.terminology.systems import NO_LOCAL_SYSTEMS, CodeSystems

# English, and found for translation.
NOT_SENT = Message("not sent, and there is no access to the FHIR server").template
TRUNCATED = Message("not among the newest results that a search for several kinds brought").template


@dataclass(frozen=True, slots=True)
class ReadContext:
    """The circumstances of one reading."""

    as_of: datetime
    zone: tzinfo
    knowledge: Knowledge
    codes: LabCodes
    vocabulary: DrugVocabulary
    systems: CodeSystems = NO_LOCAL_SYSTEMS
    accept_unknown_status: bool = True
    birth: PartialDateTime | None = None
    sex: str = ""
    finished: frozenset[str] = frozenset()  # ids of encounters that are over
    panels: Mapping[str, bool] = field(default_factory=dict)  # results of a panel of another specimen: stated of it?
    index: Mapping[str, Resource] = field(default_factory=dict)  # Medication and Specimen by every name they have
    memory: Memory | None = None  # of readings at other moments

    def is_past(self, stated: datetime) -> bool:
        """True if a stated time lies before the moment of evaluation."""
        return self._compared(stated, before=True, outcome=stated < self.as_of)

    def is_ahead(self, stated: datetime) -> bool:
        """True if a stated time lies after the moment of evaluation."""
        return self._compared(stated, before=False, outcome=stated > self.as_of)

    def _compared(self, stated: datetime, *, before: bool, outcome: bool) -> bool:
        if self.memory is not None:
            self.memory.compared.append(Comparison(stated, before, outcome))
        return outcome

    def find(self, reference: Reference | None, inside: msgspec.Raw) -> Resource | None:
        """The Medication or Specimen that is meant: one of those `inside` the resource, or of the data at hand."""
        wanted = primitives.text(reference.reference) if reference else ""
        if wanted.startswith("#"):
            return next((held for held in contained(inside) if held.id in {wanted, wanted[1:]}), None)
        return (self.index.get(wanted) or self.index.get(primitives.local_reference(wanted))) if wanted else None


def name(resource: Resource) -> str:
    """How a resource is quoted: `Type/id`, `Type/id#id` inside another, else the type and its place in the Bundle."""
    ident = primitives.text(resource.id)
    if "#" in resource.full_url and ":" not in resource.full_url:  # contained in another
        return resource.full_url
    return f"{resource.resourceType}/{ident}" if ident else f"{resource.resourceType} ({resource.full_url})"
