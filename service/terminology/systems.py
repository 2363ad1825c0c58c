"""Which standard code system a site's own system is: `[systems]` of the site file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The names under which a site file speaks of standard systems, with the address that FHIR gives each.
STANDARD: Mapping[str, str] = MappingProxyType(
    {
        "atc": "http://www.whocc.no/atc",
        "cpt": "http://www.ama-assn.org/go/cpt",
        "icd-9": "http://hl7.org/fhir/sid/icd-9-cm",
        "icd-10": "http://hl7.org/fhir/sid/icd-10",
        "icd-10-cm": "http://hl7.org/fhir/sid/icd-10-cm",
        "loinc": "http://loinc.org",
        "ndc": "http://hl7.org/fhir/sid/ndc",
        "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
        "snomed": "http://snomed.info/sct",
    }
)


class CodeSystems:
    """A site's own systems: address -> name in `STANDARD` of the one whose codes stand under it."""

    def __init__(self, local: Mapping[str, str]) -> None:
        self._addresses = {_plain(system): STANDARD[name] for system, name in local.items()}

    def standard(self, system: str) -> str:
        """The address of the standard system whose codes stand under `system`; itself if the site maps none."""
        return self._addresses.get(_plain(system), system) if self._addresses else system


def _plain(system: str) -> str:
    return system.strip().lower().partition("|")[0].rstrip("/")


NO_LOCAL_SYSTEMS = CodeSystems({})
