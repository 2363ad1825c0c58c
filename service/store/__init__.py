"""What outlives a request: cards issued, what became of them, what was shown to whom, and the JWT ids already used.

What is kept, and for how long (enforced by `Store.purge`, which the writer thread calls hourly):

- cards: uuid, service, tenant, day, rules, indicator, knowledge version, suggestion uuids; 400 days by default
- feedback: card, tenant, outcome, its time, our reason code, comment, suggestions accepted, day of receipt; 400 days
- sightings, for the repeat guard: keyed hashes of patient, user and card, rule, result, level, times, and what is
  compared (`repeat.py`); for the interval of the finding, none without the site's secret
- JWT ids: issuer, SHA-256 of the id, expiry; until two hours after expiry

No id of a patient or user, no text of a chart, no hook instance is kept, and of a card only the day. The one free text,
the clinician's comment, is bounded and masked (`mask.py`); a limit of 0 keeps none.

Losing the database never loses a card: rows wait in a bounded queue (`writer.py`) and JWT ids in the process's memory
(`replay.py`); what was shown is then shown again. Only feedback says that it was stored once it was; otherwise it raises
`StoreUnavailable`. For two questions an answer waits: they share transactions (`batch.py`, `on_the_way.py`).
"""

from service.store.database import upgrade
from service.store.feedback import FeedbackItem, Rejected, parse_items
from service.store.store import CardRow, FeedbackReport, Store
from service.store.summary import SummaryRow

__all__ = [
    "CardRow",
    "FeedbackItem",
    "FeedbackReport",
    "Rejected",
    "Store",
    "SummaryRow",
    "parse_items",
    "upgrade",
]
