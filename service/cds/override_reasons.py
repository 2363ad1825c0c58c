"""Override reasons: what a clinician may answer to a card of this kind; codes never change."""

from __future__ import annotations

from typing import Any

from service.cds.i18n import Wording
from service.logic.message import Message

SYSTEM = "urn:magnesium-cds:override-reasons"

_TEXTS = {
    "already-treated": Message("Already being treated"),
    "repeat-pending": Message("Repeat already ordered or pending"),
    "known-chronic": Message("Known and stable for this patient"),
    "accepted-risk": Message("Benefit outweighs the risk"),
    "not-current": Message("Data are out of date or wrong"),
    "palliative": Message("Goals of care: no further measurement"),
    "specimen-known": Message("Specimen problem known, patient well"),
    "measured-elsewhere": Message("Measured elsewhere"),
    "will-monitor": Message("Will monitor as usual"),
    "protocol": Message("Given by an established protocol"),
    "dose-checked": Message("Dose and rate checked"),
    "doses-separated": Message("Doses are already separated"),
    "not-needed": Message("Not needed for this decision"),
    "other": Message("Other"),
}
CODES = frozenset(_TEXTS)
_TREATED = ("already-treated", "repeat-pending", "known-chronic", "palliative", "not-current")
_MONITOR = ("measured-elsewhere", "repeat-pending", "not-needed", "palliative")
_BY_PREFIX = {
    "R-00": ("repeat-pending", "specimen-known", "not-current"),
    "R-014": ("protocol", "already-treated", "known-chronic", "not-current"),
    "R-02": ("known-chronic", "not-needed", "not-current"),
    "R-03": ("known-chronic", "accepted-risk", "not-current"),
    "R-041": _MONITOR,
    "R-044": _MONITOR,
    "R-05": ("accepted-risk", "already-treated", "will-monitor", "not-current"),
    "R-054": _MONITOR,
    "R-06": ("not-needed", "repeat-pending", "measured-elsewhere"),
    "R-08": ("already-treated", "protocol", "not-current"),
    "R-090": ("not-needed", "measured-elsewhere"),
    "R-091": ("measured-elsewhere", "will-monitor", "accepted-risk"),
    "R-092": ("protocol", "dose-checked", "accepted-risk", "not-current"),
    "R-093": ("dose-checked", "will-monitor", "accepted-risk"),
    "R-094": ("doses-separated", "accepted-risk", "not-current"),
    "R-095": ("already-treated", "measured-elsewhere", "accepted-risk"),
    "R-10": ("known-chronic", "will-monitor", "not-needed"),
}


def override_reasons(rule: str, wording: Wording) -> list[dict[str, Any]]:
    """The reasons for a card that this rule leads, "other" last."""
    fitting = (_BY_PREFIX[rule[:length]] for length in (5, 4) if rule[:length] in _BY_PREFIX)
    codes = (*next(fitting, _TREATED), "other")
    return [{"system": SYSTEM, "code": code, "display": wording.plain(_TEXTS[code])} for code in codes]
