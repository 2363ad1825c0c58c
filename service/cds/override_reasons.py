"""Override reasons: what a clinician may answer to a card; which codes fit a rule stands in its row of rules.toml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.cds.i18n import Wording
from service.logic.message import Message

SYSTEM = "urn:magnesium-cds:override-reasons"

TEXTS = {
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
    "new-symptoms": Message("New symptoms"),
    "new-loss": Message("New loss of magnesium"),
    "drug-started": Message("A drug was started"),
    "not-needed": Message("Not needed for this decision"),
    "other": Message("Other"),
}
CODES = frozenset(TEXTS)


def override_reasons(codes: Iterable[str], wording: Wording) -> list[dict[str, Any]]:
    """The reasons for a card that the rule with these codes leads, "other" last."""
    chosen = (*codes, "other")
    return [{"system": SYSTEM, "code": code, "display": wording.plain(TEXTS[code])} for code in chosen]
