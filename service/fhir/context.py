"""What the readers of single resources need to know of the whole: the moment, the patient, the site's codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from service.fhir import total
from service.fhir.wire import Resource
from service.logic.knowledge import Knowledge
from service.logic.model import When
from service.terminology.analytes import LabCodes
from service.terminology.drugs import Formulary

NOT_SENT = "not sent, and there is no access to the FHIR server"


@dataclass(frozen=True, slots=True)
class Reading:
    """The circumstances of one reading."""

    as_of: datetime
    zone: tzinfo
    knowledge: Knowledge
    codes: LabCodes
    formulary: Formulary
    accept_unknown_status: bool = True
    birth: When | None = None
    sex: str = ""
    index: Mapping[str, Resource] = field(default_factory=dict)  # Medication and Specimen by every name they have

    def find(self, reference: str) -> Resource | None:
        """A Medication or Specimen of the data at hand: by full URL, or by type and id."""
        return self.index.get(reference) or self.index.get(total.local_reference(reference))

    @staticmethod
    def name(resource: Resource) -> str:
        """How a resource is quoted: `Type/id`, else its place in the Bundle."""
        return name(resource)


def name(resource: Resource) -> str:
    """`Type/id`, else the type and its place in the Bundle."""
    kind, ident = total.text(resource.resourceType), total.text(resource.id)
    return f"{kind}/{ident}" if ident else f"{kind} ({resource.where})"
