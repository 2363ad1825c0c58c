"""The source attributes of a rule, as 45 CFR 170.315(b)(11)(iv)(A) lists them for evidence-based interventions.

What a rule uses of a person is derived from its inputs and the queries that bring them, never typed; a test watches
what the rules read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from service.logic.knowledge import CHECKED_ON, VERSION, Knowledge, RuleEntry
from service.terminology.queries import INPUTS, QUERIES

REGULATION = "45 CFR 170.315(b)(11)(iv)(A)"
# Attribute -> its paragraph and words: nothing that is decoded of a chart states them (a test looks).
NEVER_READ: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "race": (5, "race"),
        "ethnicity": (6, "ethnicity"),
        "language": (7, "language"),
        "sexualOrientation": (8, "sexual orientation"),
        "genderIdentity": (9, "gender identity"),
        "socialDeterminants": (12, "social determinants of health"),
    }
)
SEX = "Patient.gender (administrative gender), for eGFR and for ranges that the laboratory states by sex."
BIRTH = "Patient.birthDate, for the age, for eGFR, and for ranges by age."
HEALTH = "No assessment is read. Conditions of the problem list are, pregnancy and alcohol use among them."
_AGE_ALONE = frozenset({"age", "birth date"})
Json = dict[str, Any]


@cache
def statements() -> Mapping[str, Any]:
    """What is said once, as it stands in statements.toml."""
    return tomllib.loads(files(__package__).joinpath("statements.toml").read_text(encoding="utf-8"))


def source_attributes(rule: str, knowledge: Knowledge) -> Json:
    """The thirteen attributes of one rule, with this site's changes named."""
    entry = knowledge.rules[rule]
    said = statements()["attributes"]
    return {
        "rule": rule,
        "regulation": REGULATION,
        "bibliographicCitation": [f"{knowledge.references[c.source].title}: {c.at}" for c in entry.citations],
        "developer": said["developer"],
        "fundingSource": said["funding"],
        "release": {"knowledge": VERSION, "checkedOn": CHECKED_ON, "changedBySite": _changed(entry, knowledge)},
        "use": {name: {"used": False} for name in NEVER_READ} | _use(entry),
    }


def _changed(entry: RuleEntry, knowledge: Knowledge) -> list[str]:
    """The parameters of a rule that this site has set to another value."""
    own = (knowledge.parameters[name] for name in entry.parameters if name in knowledge.parameters)
    return [parameter.id for parameter in own if parameter.changed_by_site]


def _use(entry: RuleEntry) -> Json:
    person = [name for name in entry.inputs if "patient" in INPUTS.get(name, ())]
    ranged = [name for name in entry.inputs if _is_laboratory(name)]
    conditions = [name for name in entry.inputs if "conditions" in INPUTS.get(name, ())]
    return {
        "sex": _used([*(n for n in person if n not in _AGE_ALONE), *ranged], SEX),
        "dateOfBirth": _used([*person, *ranged], BIRTH),
        "healthStatusAssessments": _used(conditions, HEALTH),
    }


def _is_laboratory(name: str) -> bool:
    """An input that is a result with a range of the laboratory, which may be stated by sex or age."""
    return any(QUERIES[key].analytes for key in INPUTS.get(name, ()))


def _used(inputs: Iterable[str], how: str) -> Json:
    by = list(dict.fromkeys(inputs))
    return {"used": True, "how": how, "inputs": by} if by else {"used": False}
