"""The words in which everything past the FHIR readers speaks: frozen values, no behaviour beyond small look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from service.logic.frozen import dataclass
from service.logic.message import Message


class Analyte(StrEnum):
    """What was measured; the value is the name used in the REST answer. Canonical units in `units.py`."""

    SERUM_MAGNESIUM = "serum magnesium"
    RBC_MAGNESIUM = "erythrocyte magnesium"
    IONISED_MAGNESIUM = "ionised magnesium"
    URINE_MAGNESIUM = "urine magnesium"
    URINE_MAGNESIUM_24H = "24-hour urine magnesium"
    CREATININE = "creatinine"
    URINE_CREATININE = "urine creatinine"
    EGFR = "eGFR"
    POTASSIUM = "potassium"
    CALCIUM = "total calcium"
    ADJUSTED_CALCIUM = "albumin-adjusted calcium"
    IONISED_CALCIUM = "ionised calcium"
    ALBUMIN = "albumin"
    BICARBONATE = "bicarbonate"
    PHOSPHATE = "phosphate"
    PTH = "parathyroid hormone"
    ALP = "alkaline phosphatase"
    QTC = "QTc interval"
    WEIGHT = "body weight"
    HEIGHT = "body height"


class Problem(StrEnum):
    """Why a result must not be interpreted."""

    NO_UNIT = "no unit"
    UNKNOWN_UNIT = "unknown unit"
    NO_VALUE = "no value"
    IMPLAUSIBLE = "implausible value"
    IMPOSSIBLE_RANGE = "reference range impossible for the unit"
    STATUS = "status not usable"
    PRELIMINARY = "preliminary"
    NO_TIME = "no time"
    FUTURE = "after the moment of evaluation"


class Hook(StrEnum):
    """The moments at which the service is asked."""

    PATIENT_VIEW = "patient-view"
    ORDER_SELECT = "order-select"
    ORDER_SIGN = "order-sign"
    ENCOUNTER_START = "encounter-start"
    ENCOUNTER_DISCHARGE = "encounter-discharge"
    MEDICATION_REFILL = "medication-refill"


class Indicator(StrEnum):
    """How urgent a finding is, in the words of CDS Hooks."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return ("info", "warning", "critical").index(self.value)


@dataclass(frozen=True, slots=True)
class Citation:
    """A place in a source of references.toml."""

    source: str
    at: str


@dataclass(frozen=True, slots=True)
class PartialDateTime:
    """A moment as precise as its source: `start == end` for an instant, a whole day or month otherwise."""

    start: datetime
    end: datetime

    @property
    def date_only(self) -> bool:
        """True if the source gave no time of day."""
        return self.start != self.end


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit as reported (a UCUM code that `units.py` knows); never one without the other."""

    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """The laboratory's own limits, in the unit in which it gave them (its own or that of the result)."""

    low: Decimal | None
    high: Decimal | None
    unit: str


@dataclass(frozen=True, slots=True)
class LabResult:
    """One measured value. `reported` is compared with limits, `value` (canonical unit) feeds formulas."""

    reference: str
    analyte: Analyte
    reported: Quantity | None
    value: Decimal | None
    taken: PartialDateTime | None
    comparator: str = ""
    range: ReferenceRange | None = None
    flag: str = ""  # "L", "H" or "N" from the laboratory's interpretation
    status: str = "final"
    issued: datetime | None = None
    haemolysed: bool = False
    specimen: str = ""
    collected_from: datetime | None = None  # start of a timed collection
    problem: Problem | None = None
    raw: str = ""  # the number as sent, for quoting a result that cannot be interpreted


class Exposure(StrEnum):
    """Whether a medication is being taken, as its source states it."""

    ACTIVE = "active"
    ENDED = "ended"
    NOT_TAKEN = "not taken"
    LOCAL = "local use"  # acts where it is applied: eye, ear, nose, skin
    UNKNOWN = "unknown"


class Schedule(StrEnum):
    """What kind of order a medication is (decision 14b)."""

    SCHEDULED = "scheduled"  # given at set times, at a rate, or once
    SCALE = "scale"  # by a level: a sliding scale, a replacement protocol, untimed intravenous magnesium
    AS_NEEDED = "as needed"
    UNSTATED = "unstated"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One active ingredient. `mg_per_dose` is milligrams of the named compound in one dose, if stated."""

    name: str
    drug_class: str
    mg_per_dose: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Medication:
    """One medication of the list, an administration, or a draft order."""

    reference: str
    name: str
    ingredients: tuple[Ingredient, ...]
    recognised_by: str  # "code", "ingredient" or "name"
    exposure: Exposure
    route: str = ""  # "oral", "iv", "local", "other" or "" when not stated
    start: PartialDateTime | None = None
    end: PartialDateTime | None = None
    doses_per_day: Decimal | None = None
    duration_min: Decimal | None = None  # of one infusion
    rate_mg_min: Decimal | None = None  # as ordered, when the order states a rate rather than a duration
    schedule: Schedule = Schedule.UNSTATED
    once: bool = False  # one single dose
    most_per_day: Decimal | None = None  # doses per day at most, of an as-needed product
    ordered_at: PartialDateTime | None = None  # when a request was written
    request: str = ""  # of an administration: the reference of the request that it fulfils
    text: str = ""  # the words of the dosage, as written

    classes: frozenset[str] = field(init=False)  # class names as in drugs.toml

    def __post_init__(self) -> None:
        """Classes follow from the ingredients; they are asked for far more often than a medication is read."""
        object.__setattr__(self, "classes", frozenset(item.drug_class for item in self.ingredients))


@dataclass(frozen=True, slots=True)
class Condition:
    """A problem or diagnosis as tags of conditions.toml."""

    reference: str
    tags: frozenset[str]
    text: str
    active: bool
    onset: PartialDateTime | None = None
    recognised_by: str = "code"  # or "text": never lowers a warning
    dialysate_mg: Decimal | None = None  # mmol/L, when the text states it
    acute: frozenset[str] = frozenset()  # those of its tags that count only while recent (conditions.toml)
    of_finished_encounter: bool = False  # a diagnosis of a stay that is over: history, where it is an acute one


@dataclass(frozen=True, slots=True)
class Order:
    """A draft (or pending) order: a laboratory test or a medication, never both."""

    reference: str
    selected: bool = True
    test: Analyte | None = None
    medication: Medication | None = None
    draws_blood: bool = False  # a blood chemistry or haematology test or panel, ours or not


@dataclass(frozen=True, slots=True)
class DataIssue:
    """A resource, or a part of one, that could not be used, and why. Never dropped in silence."""

    reference: str
    problem: Message


@dataclass(frozen=True, slots=True)
class PatientSnapshot:
    """All that a rule may know about one patient at one moment."""

    reference: str
    as_of: datetime
    hook: Hook = Hook.PATIENT_VIEW
    birth: PartialDateTime | None = None
    sex: str = ""  # "female", "male" or "" when not stated
    inpatient: bool | None = None
    labs: tuple[LabResult, ...] = ()
    medications: tuple[Medication, ...] = ()
    conditions: tuple[Condition, ...] = ()
    orders: tuple[Order, ...] = ()
    pending: frozenset[Analyte] = frozenset()  # tests already ordered, drafts included
    issues: tuple[DataIssue, ...] = ()
    unavailable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # prefetch key -> why
    unrecognised_medications: int = 0  # active ones that no vocabulary knows: "takes no such drug" may not be said
    incomplete: tuple[str, ...] = ()  # prefetch keys of which only a part could be read
    profile: str = "default"  # reference profile of the site
    research: bool = False

    @property
    def birth_date(self) -> date | None:
        """The first possible day of birth, or None."""
        return self.birth.start.date() if self.birth else None


@dataclass(frozen=True, slots=True)
class Dose:
    """One row of doses.toml: magnesium to be given, and for whom the row is written."""

    id: str
    meaning: str
    kidney: frozenset[str]
    ages: frozenset[str]  # "adult", "child", "unknown"
    pregnancy: bool
    citations: tuple[Citation, ...]
    amount: tuple[Decimal, Decimal] | None = None
    unit: str = ""
    over: tuple[Decimal, Decimal] | None = None
    over_unit: str = ""
    first_bolus: bool = False  # the bolus that saves a life: open at every kidney gate and level below 3.0 mmol/L
    below_mg_dl: Decimal | None = None  # upper edge of the band of serum magnesium, exclusive
    note: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A dose in words. `gates.py` decides whether it may stand for this patient."""

    dose: Dose
    text: Message


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's condition is met.

    `text` is one sentence that stands alone (fewer than 140 characters in every language: it may be a card's summary);
    `why` says what it rests on; `proposals` give magnesium, and the gates decide whether they may stand.
    """

    result: str
    indicator: Indicator
    text: Message
    why: Message | None = None
    advice: tuple[Message, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    tests: tuple[Analyte, ...] = ()  # laboratory orders worth suggesting
    values: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    evidence: tuple[str, ...] = ()  # references of the resources it rests on
    sources: tuple[str, ...] = ()  # of the rule's citations those of what is said; () for all of them
    action: Message | None = None  # a short imperative that joins the headline: "replace both"
    context_only: bool = False  # a line beside other findings, never a reason for a card


@dataclass(frozen=True, slots=True)
class NotMet:
    """Evaluated, condition false; `values` may still be worth stating."""

    reason: Message | None = None
    values: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Off:
    """Not asked: the site has switched the rule off."""


@dataclass(frozen=True, slots=True)
class MissingInputs:
    """An input is missing; each is named."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Withheld:
    """The condition is met, but a safety gate keeps the finding from being acted on."""

    gate: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault of ours while evaluating this rule; the others are unaffected."""

    error: str


Outcome = Finding | NotMet | Off | MissingInputs | Withheld | Failed
