"""What is asked of an EHR: prefetch key → analytes → codes → query, and which inputs of the rules each key brings.

A single key asks for one kind of thing. Merged keys ask for several laboratory kinds in one search: these are
advertised and fetched, the single ones stay accepted. Templates, the keys that a site file may name, the reader's maps
and the words for "could not be read" all come from this table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.logic.message import Message
from service.logic.model import Analyte
from service.terminology.analytes import LAB_CODES, LOINC


@dataclass(frozen=True, slots=True)
class Query:
    """One prefetch key: the FHIR type, the analytes of an Observation search with its `_count`, or another query.

    `words` say on a card what could not be read; without any, the name of its first analyte does. What only `children`
    need is not missed in an adult. An `extra` key is not missed where nobody sends it: it came after the others, and an
    EHR may be set up with those.
    """

    key: str
    kind: str
    analytes: tuple[Analyte, ...] = ()
    count: int = 0
    text: str = ""
    words: Message | None = None
    children: bool = False
    extra: bool = False


_CALCIUM = (Analyte.CALCIUM, Analyte.ADJUSTED_CALCIUM, Analyte.IONISED_CALCIUM)
_URINE = (Analyte.URINE_MAGNESIUM, Analyte.URINE_MAGNESIUM_24H)
_OF_PATIENT = "?patient={{context.patientId}}"

_CHILDREN = frozenset({"bodyWeight", "bodyHeight"})
_EXTRA = _CHILDREN | {"phosphate", "parathyroidHormone", "alkalinePhosphatase"}


def _lab(key: str, count: int, *analytes: Analyte, words: Message | None = None) -> Query:
    return Query(key, "Observation", analytes, count, words=words, children=key in _CHILDREN, extra=key in _EXTRA)


QUERIES: Mapping[str, Query] = MappingProxyType(
    {
        query.key: query
        for query in (
            Query("patient", "Patient", text="Patient/{{context.patientId}}", words=Message("patient")),
            Query("encounter", "Encounter", text="Encounter/{{context.encounterId}}", words=Message("encounter")),
            _lab("magnesium", 10, Analyte.SERUM_MAGNESIUM),
            _lab("rbcMagnesium", 3, Analyte.RBC_MAGNESIUM),
            _lab("ionizedMagnesium", 3, Analyte.IONISED_MAGNESIUM),
            _lab("urineMagnesium", 5, *_URINE),
            _lab("creatinine", 20, Analyte.CREATININE, Analyte.EGFR),
            _lab("urineCreatinine", 5, Analyte.URINE_CREATININE),
            _lab("potassium", 5, Analyte.POTASSIUM),
            _lab("calcium", 8, *_CALCIUM, words=Message("calcium")),
            _lab("albumin", 3, Analyte.ALBUMIN),
            _lab("bicarbonate", 3, Analyte.BICARBONATE),
            _lab("phosphate", 3, Analyte.PHOSPHATE),
            _lab("parathyroidHormone", 3, Analyte.PTH),
            _lab("alkalinePhosphatase", 3, Analyte.ALP),
            _lab("qtc", 3, Analyte.QTC),
            _lab("bodyWeight", 3, Analyte.WEIGHT),
            _lab("bodyHeight", 3, Analyte.HEIGHT),
            Query(
                "medicationRequests",
                "MedicationRequest",
                text=f"MedicationRequest{_OF_PATIENT}&status=active,completed,stopped",
                words=Message("medication orders"),
            ),
            Query(
                "medicationStatements",
                "MedicationStatement",
                text=f"MedicationStatement{_OF_PATIENT}",
                words=Message("medication statements"),
            ),
            Query(
                "medicationAdministrations",
                "MedicationAdministration",
                text=f"MedicationAdministration{_OF_PATIENT}&_sort=-effective-time&_count=50",
                words=Message("medication administrations"),
            ),
            Query("conditions", "Condition", text=f"Condition{_OF_PATIENT}", words=Message("problem list")),
        )
    }
)

# Merged key -> the single keys whose results it asks for, and its `_count`. What is measured every day stands apart from
# what is measured once a year, which the newest hundred results would not reach; serum magnesium and creatinine are
# asked for alone, because without them no dose and no gate can be judged.
MERGED: Mapping[str, tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        "chemistry": (60, ("potassium", "calcium", "albumin", "bicarbonate", "phosphate")),
        "rareLabs": (
            30,
            (
                *("rbcMagnesium", "ionizedMagnesium", "urineMagnesium", "urineCreatinine"),
                *("parathyroidHormone", "alkalinePhosphatase"),
            ),
        ),
        "measurements": (30, ("qtc", "bodyWeight", "bodyHeight")),
    }
)
PREFETCH_KEYS = (*QUERIES, *MERGED)

# Without these no honest answer is possible: who the patient is, and whether magnesium was measured.
REQUIRED_KEYS = frozenset({"patient", "magnesium"})
# Asked for on every hook: which windows hold in hospital depends on the encounter.
ALWAYS = ("patient", "encounter", "magnesium")

_MEDICATIONS = ("medicationRequests", "medicationStatements", "medicationAdministrations")
_KIDNEY = ("creatinine", "bodyHeight", "patient", "conditions", "magnesium")
_GATE = (*_KIDNEY, "medicationRequests", "medicationStatements")
_ADJUSTED = ("calcium", "albumin")
_FRACTION = ("urineMagnesium", "urineCreatinine", "magnesium", "creatinine")
# Every input that a rule names (rules.toml) -> the single keys that bring it.
INPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "24-hour urine magnesium": ("urineMagnesium",),
        "FEMg": _FRACTION,
        "QTc": ("qtc",),
        "active intravenous magnesium": _MEDICATIONS,
        "age": ("patient",),
        "albumin": ("albumin",),
        "amount and time of an infused load": _MEDICATIONS,
        "bicarbonate": ("bicarbonate",),
        "birth date": ("patient",),
        "body weight": ("bodyWeight",),
        "calcium": _ADJUSTED,
        "calcium and albumin": _ADJUSTED,
        "cancer drugs": _MEDICATIONS,
        "care setting": ("encounter",),
        "conditions": ("conditions",),
        "creatinine": ("creatinine",),
        "digoxin": _MEDICATIONS,
        "eGFR": _KIDNEY,
        "eGFR of the laboratory": ("creatinine",),
        "erythrocyte magnesium": ("rbcMagnesium",),
        "height under 18 years": ("bodyHeight",),
        "intravenous magnesium": _MEDICATIONS,
        "ionised magnesium": ("ionizedMagnesium",),
        "ionised or adjusted calcium": ("calcium",),
        "ionised, adjusted or total calcium": ("calcium",),
        "kidney gate": _GATE,
        "magnesium products and orders": _MEDICATIONS,
        "medications": _MEDICATIONS,
        "medications with dates": _MEDICATIONS,
        "medications with start date": _MEDICATIONS,
        "medications with strength and frequency": _MEDICATIONS,
        "oral magnesium taken": _MEDICATIONS,
        "phosphate": ("phosphate",),
        "potassium": ("potassium",),
        "potassium and total calcium of the same collection": ("potassium", "calcium"),
        "potassium products": _MEDICATIONS,
        "serum magnesium": ("magnesium",),
        "serum magnesium and creatinine within 24 h": ("magnesium", "creatinine"),
        "sex": ("patient",),
        "spot urine magnesium and creatinine": ("urineMagnesium", "urineCreatinine"),
        "times of intravenous magnesium": _MEDICATIONS,
        "total calcium": ("calcium",),
        "urine and erythrocyte magnesium": ("urineMagnesium", "rbcMagnesium"),
        "urine magnesium": ("urineMagnesium",),
    }
)
# Inputs that are asked of nobody, and why.
NOT_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "draft orders": "in the context of the call",
        "draft orders with dose, duration or rate": "in the context of the call",
        "draft orders with strength and frequency": "in the context of the call",
        "haemolysis mark of the specimen": "in the Observation, its notes or its Specimen where that is included",
        "pending orders": "drafts of the call; ServiceRequests that are sent are read, but not asked for",
        "reference range": "in the Observation, else in the knowledge",
        "reference range or flag of the laboratory": "in the Observation",
        "reference ranges": "in the Observations, else in the knowledge",
        "route": "in the draft order or the medication",
    }
)


def needs(name: str) -> list[tuple[str, tuple[str, ...]]]:
    """The FHIR types that bring an input which a rule lacks, with the LOINC codes of results.

    >>> needs("albumin")
    [('Observation', ('1751-7', '61151-7', '61152-5', '2862-1'))]
    """
    if name in set(Analyte):
        return [("Observation", tuple(_loinc(Analyte(name))))]
    asked = (QUERIES[key] for key in INPUTS.get(name, ()))
    return [(query.kind, tuple(code for each in query.analytes for code in _loinc(each))) for query in asked]


def members(key: str) -> tuple[str, ...]:
    """The single keys that a key stands for: itself, unless it is a merged one."""
    return MERGED[key][1] if key in MERGED else (key,)


def template(key: str, without: Collection[str] = ()) -> str:
    """The query of a key in the portable subset of CDS Hooks 2.0; of a merged one, `without` some single keys."""
    if key in MERGED:
        count, keys = MERGED[key]
        return _search([a for each in keys if each not in without for a in QUERIES[each].analytes], count)
    query = QUERIES[key]
    return query.text or _search(query.analytes, query.count)


def _search(analytes: Iterable[Analyte], count: int) -> str:
    codes = ",".join(f"{LOINC}|{code}" for analyte in analytes for code in _loinc(analyte))
    return f"Observation{_OF_PATIENT}&code={codes}&_sort=-date&_count={count}"


def _loinc(analyte: Analyte) -> list[str]:
    return [code for (system, code), means in LAB_CODES.codes.items() if system == "loinc" and means.analyte is analyte]


def templates(inputs: Collection[str]) -> dict[str, str]:
    """The queries that bring these inputs of rules, laboratory results merged where they can be.

    >>> list(templates(["serum magnesium", "potassium", "calcium"]))
    ['patient', 'encounter', 'magnesium', 'chemistry']
    """
    needed = {*ALWAYS, *(key for name in inputs for key in INPUTS.get(name, ()))}
    apart = [key for key in QUERIES if key in needed and not any(key in keys for _, keys in MERGED.values())]
    merged = [key for key, (_, keys) in MERGED.items() if needed.intersection(keys)]
    return {key: template(key) for key in (*apart, *merged)}


def keys_of(kinds: Collection[object], analytes: Collection[Analyte]) -> set[str]:
    """The single keys under which resources of these FHIR types and results of these analytes are expected."""
    return {
        key
        for key, query in QUERIES.items()
        if (not set(query.analytes).isdisjoint(analytes) if query.analytes else query.kind in kinds)
    }
