"""Patients written as lines of text ("mg 0.45 mmol/L, -3h") -> snapshots, and what the service says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from service.cds.cards import Card, Presentation, to_cards
from service.cds.i18n import Wording
from service.logic.evaluate import Assessment, evaluate
from service.logic.knowledge import load
from service.logic.model import (
    Analyte,
    Condition,
    Exposure,
    Failed,
    Finding,
    Hook,
    Indicator,
    Ingredient,
    LabResult,
    Medication,
    MissingInputs,
    NotMet,
    Order,
    Outcome,
    PartialDateTime,
    PatientSnapshot,
    Problem,
    Quantity,
    ReferenceRange,
    Schedule,
    Withheld,
)
from service.logic.units import convert, fits
from service.terminology.conditions import ACUTE
from service.terminology.drugs import DRUG_VOCABULARY

KNOW = load()
NOW = datetime(2026, 3, 10, 10, tzinfo=UTC)
ANALYTES = {
    "mg": Analyte.SERUM_MAGNESIUM,
    "rbc_mg": Analyte.RBC_MAGNESIUM,
    "ionised_mg": Analyte.IONISED_MAGNESIUM,
    "urine_mg": Analyte.URINE_MAGNESIUM,
    "urine_mg_24h": Analyte.URINE_MAGNESIUM_24H,
    "creatinine": Analyte.CREATININE,
    "urine_creatinine": Analyte.URINE_CREATININE,
    "egfr": Analyte.EGFR,
    "k": Analyte.POTASSIUM,
    "ca": Analyte.CALCIUM,
    "adjusted_ca": Analyte.ADJUSTED_CALCIUM,
    "ionised_ca": Analyte.IONISED_CALCIUM,
    "albumin": Analyte.ALBUMIN,
    "bicarbonate": Analyte.BICARBONATE,
    "phosphate": Analyte.PHOSPHATE,
    "qtc": Analyte.QTC,
    "weight": Analyte.WEIGHT,
    "height": Analyte.HEIGHT,
}
UNITS = {"mEq/L": "meq/L", "mg/24h": "mg/(24.h)", "mmol/24h": "mmol/(24.h)", "mL/min": "mL/min/{1.73_m2}"}
_NEVER_USED = {"registered", "cancelled", "entered-in-error"}
_MAGNESIUM = {"mg_preparation", "mg_containing_antacid"}
_SPAN = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


# ---- lines ----------------------------------------------------------------------------------------------------------


def moment(words: str, now: datetime = NOW) -> PartialDateTime:
    """ "-3h", "-40d" or "+2h" from now; "day -40d" for a source that gives the day only."""
    found = re.fullmatch(r"(day )?([+-]?)(\d+(?:\.\d+)?)(min|h|d)", words)
    if found is None:
        raise ValueError(f"not a moment: {words!r}")
    away = float(found[3]) * _SPAN[found[4]]
    at = now + away if found[2] == "+" else now - away
    return whole_day(at.date()) if found[1] else PartialDateTime(at, at)


def whole_day(day: date) -> PartialDateTime:
    """A date without a time of day."""
    return PartialDateTime(datetime.combine(day, time.min, UTC), datetime.combine(day, time(23, 59, 59), UTC))


def lab(line: str, now: datetime = NOW, number: int = 0) -> LabResult:
    """ "mg 0.45 mmol/L, -3h, range 0.70-1.00, haemolysed"; without a time 2 h ago, without a unit no unit."""
    head, *options = line.split(", ")
    name, value, unit = (*head.split(maxsplit=2), "")[:3]
    analyte, unit = ANALYTES[name], UNITS.get(unit, unit)
    said: dict[str, Any] = {"taken": moment("-2h", now)}
    for option in options:
        said |= _lab_option(option, unit, now)
    comparator, digits = re.fullmatch(r"([<>]?)(.+)", value).groups()  # type: ignore[union-attr]
    usable = fits(unit, analyte)
    return LabResult(
        reference=f"Observation/o{number}",
        analyte=analyte,
        reported=Quantity(Decimal(digits), unit) if usable else None,
        value=convert(Decimal(digits), unit, analyte) if usable else None,
        comparator=comparator,
        problem=_problem(unit, usable, said.get("status", "final"), said["taken"], now),
        raw=value,
        **said,
    )


def _lab_option(option: str, unit: str, now: datetime) -> dict[str, Any]:
    word, _, rest = option.partition(" ")
    if option == "haemolysed":
        return {"haemolysed": True}
    if option == "no time":
        return {"taken": None}
    if word in {"status", "flag", "specimen"}:
        return {word: rest}
    if word == "range":
        low, high, of = re.fullmatch(r"([\d.]*)-([\d.]*)(?: (\S+))?", rest).groups()  # type: ignore[union-attr]
        ends = (Decimal(low) if low else None, Decimal(high) if high else None)
        return {"range": ReferenceRange(*ends, UNITS.get(of, of) or unit)}
    if word in {"issued", "from"}:
        return {{"issued": "issued", "from": "collected_from"}[word]: moment(rest, now).start}
    return {"taken": moment(option, now)}


def _problem(unit: str, usable: bool, status: str, taken: PartialDateTime | None, now: datetime) -> Problem | None:
    """What the reader of FHIR would say; plausibility is tested through the reader itself."""
    if status in _NEVER_USED:
        return Problem.STATUS
    if status == "preliminary":
        return Problem.PRELIMINARY
    if taken is None:
        return Problem.NO_TIME
    if taken.start > now:
        return Problem.FUTURE
    return None if usable else Problem.UNKNOWN_UNIT if unit else Problem.NO_UNIT


def drug(
    line: str, now: datetime = NOW, reference: str = "MedicationStatement/m0", *, draft: bool = False
) -> Medication:
    """ "magnesium oxide, oral, 400 mg, 2/d, since -40d"; parts of a combination are joined by " + ".

    The kind of order (decision 14b): "scheduled", "scale", "as needed, at most 4/d", "once, ordered -3h".
    """
    head, *options = line.split(", ")
    said: dict[str, Any] = {"exposure": Exposure.UNKNOWN if draft else Exposure.ACTIVE, "recognised_by": "code"}
    for option in options:
        said |= _drug_option(option, now)
    dose = said.pop("dose", None)
    found = [DRUG_VOCABULARY.drugs[name] for name in head.split(" + ")]
    parts = [Ingredient(d.name, d.drug_class, dose if d.drug_class in _MAGNESIUM else None) for d in found]
    return Medication(reference=reference, name=head, ingredients=tuple(parts), **said)


_WORDS: dict[str, dict[str, Any]] = {
    "stopped": {"exposure": Exposure.ENDED},
    "not taken": {"exposure": Exposure.NOT_TAKEN},
    "perhaps taken": {"exposure": Exposure.UNKNOWN},
    "oral": {"route": "oral"},
    "iv": {"route": "iv"},
    "other": {"route": "other"},
    "scheduled": {"schedule": Schedule.SCHEDULED},
    "scale": {"schedule": Schedule.SCALE},
    "as needed": {"schedule": Schedule.AS_NEEDED},
    "once": {"once": True, "schedule": Schedule.SCHEDULED},
    "by name": {"recognised_by": "name"},
}
_AMOUNT = {"mg": Decimal(1), "g": Decimal(1000)}


_TIMES = {"since": "start", "until": "end", "ordered": "ordered_at"}


def _drug_option(option: str, now: datetime) -> dict[str, Any]:
    if option in _WORDS:
        return _WORDS[option]
    word, _, rest = option.partition(" ")
    if word in _TIMES:
        return {_TIMES[word]: moment(rest, now)}
    if word == "given":
        return {"exposure": Exposure.ENDED, "start": moment(rest, now), "end": moment(rest, now)}
    if word == "said":
        return {"text": rest}
    if option.startswith("at most "):
        return {"most_per_day": Decimal(option.removeprefix("at most ").removesuffix("/d"))}
    return _drug_number(option, word, rest)


def _drug_number(option: str, word: str, rest: str) -> dict[str, Any]:
    if word == "over":
        number, unit = rest.split()
        return {"duration_min": Decimal(number) * int(_SPAN[unit] / _SPAN["min"])}
    if word == "rate":
        return {"rate_mg_min": Decimal(rest.removesuffix(" mg/min"))}
    if option.endswith("/d"):
        return {"doses_per_day": Decimal(option.removesuffix("/d"))}
    return {"dose": Decimal(word) * _AMOUNT[rest]}


def condition(line: str, now: datetime = NOW, number: int = 0) -> Condition:
    """ "torsades, since -1h", "dialysis, dialysate 0.5", "eclampsia, by text", "depression, inactive"."""
    tags, *options = line.split(", ")
    said: dict[str, Any] = {"active": "inactive" not in options}
    for option in options:
        if option == "by text":
            said["recognised_by"] = "text"
        elif option == "finished stay":
            said["of_finished_encounter"] = True
        elif option.startswith("since "):
            said["onset"] = moment(option.removeprefix("since "), now)
        elif option.startswith("dialysate "):
            said["dialysate_mg"] = Decimal(option.removeprefix("dialysate "))
        elif option != "inactive":
            raise ValueError(f"not about a condition: {option!r}")
    known = frozenset(tags.split("+"))
    return Condition(f"Condition/c{number}", known, tags, acute=known & ACUTE, **said)


def order(line: str, now: datetime = NOW, number: int = 0) -> Order:
    """ "test mg", "blood count" (no test of ours), or a medication as in `drug`; ", not selected" on order-select."""
    selected, line = not line.endswith(", not selected"), line.removesuffix(", not selected")
    if line == "blood count":
        return Order(f"ServiceRequest/r{number}", selected, draws_blood=True)
    if line.startswith("test "):
        test = ANALYTES[line.removeprefix("test ")]
        return Order(f"ServiceRequest/r{number}", selected, test=test, draws_blood=not line.startswith("test urine"))
    reference = f"MedicationRequest/r{number}"
    return Order(reference, selected, medication=drug(line, now, reference, draft=True))


def _reference(line: str, number: int) -> str:
    """A dose that was given is an administration, all else an entry of the medication list."""
    kind = "MedicationAdministration" if ", given " in line else "MedicationStatement"
    return f"{kind}/m{number}"


def patient(
    *labs: str,
    drugs: Iterable[str] = (),
    conditions: Iterable[str] = (),
    orders: Sequence[str] = (),
    born: str | None = "1970-05-05",
    now: datetime = NOW,
    hook: str = "patient-view",
    setting: str = "",
    pending: Iterable[str] = (),
    **rest: Any,
) -> PatientSnapshot:
    """One patient; `setting` is "ward", "clinic" or "" when no encounter tells."""
    asked = [order(line, now, n) for n, line in enumerate(orders)]
    tests = {ANALYTES[name] for name in pending} | {o.test for o in asked if o.test is not None}
    return PatientSnapshot(
        reference="Patient/p",
        as_of=now,
        hook=Hook(hook),
        birth=whole_day(date.fromisoformat(born)) if born else None,
        sex=rest.pop("sex", "female"),
        inpatient={"ward": True, "clinic": False, "": None}[setting],
        labs=tuple(lab(line, now, n) for n, line in enumerate(labs)),
        medications=tuple(drug(line, now, _reference(line, n)) for n, line in enumerate(drugs)),
        conditions=tuple(condition(line, now, n) for n, line in enumerate(conditions)),
        orders=tuple(asked),
        pending=frozenset(tests),
        **rest,
    )


# ---- what the service says ------------------------------------------------------------------------------------------


def judged(snapshot: PatientSnapshot) -> Assessment:
    """Every rule asked about one patient."""
    return evaluate(snapshot, KNOW)


def told(outcome: Outcome) -> str:
    """An outcome in a word: its result, "not met", "lacking x, y" or "withheld by gate: result"."""
    match outcome:
        case Finding():
            return outcome.result
        case NotMet():
            return "not met"
        case MissingInputs():
            return "lacking " + ", ".join(outcome.inputs)
        case Withheld():
            return f"withheld by {outcome.gate}: {outcome.finding.result}"
        case Failed():
            return f"failed: {outcome.error}"


def said_by(rule: str, snapshot: PatientSnapshot) -> str:
    """What one rule says of one patient."""
    return told(judged(snapshot).outcome(rule))


def urgency(rule: str, snapshot: PatientSnapshot) -> str:
    """The indicator of a rule's finding, or "none"."""
    outcome = judged(snapshot).outcome(rule)
    return outcome.indicator.value if isinstance(outcome, Finding) else "none"


def cards(assessment: Assessment, language: str = "en") -> list[Card]:
    """The cards of an assessment; each suggested test stands as its name."""
    how = Presentation(Wording(language, UTC))
    return to_cards(assessment, KNOW, how, lambda test: {"test": test.value})


def words(assessment: Assessment) -> str:
    """All that the findings say, on the card or on the page behind it, in English."""
    wording = Wording("en", UTC)
    found = [j.outcome for j in assessment.judgements if isinstance(j.outcome, Finding)]
    said = [t for f in found for t in (f.text, f.action, f.why, *f.advice, *(p.text for p in f.proposals)) if t]
    return " ".join(wording.plain(text) for text in said)


def highest(shown: Iterable[Card]) -> str:
    """The highest indicator of the cards, "none" without a card."""
    found = [Indicator(card.body["indicator"]) for card in shown]
    return max(found, key=lambda indicator: indicator.rank).value if found else "none"


def doses(assessment: Assessment) -> Iterator[str]:
    """Ids of every dose row that the findings of an assessment propose."""
    for judgement in assessment.judgements:
        if isinstance(judgement.outcome, Finding):
            yield from (proposal.dose.id for proposal in judgement.outcome.proposals)
