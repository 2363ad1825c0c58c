"""What outlives a request: cards issued, what became of them, and the JWT ids already used.

What is kept, and for how long (enforced by `Store.purge`, which the writer thread calls hourly):

- cards: uuid, service, tenant, day, rules, indicator, knowledge version, suggestion uuids; 400 days by default
- feedback: card, outcome, its time, reason, comment, suggestions accepted, day of receipt; 400 days by default
- JWT ids: issuer, SHA-256 of the id, expiry; until expiry

Nothing about the patient is kept: no id, no value, no hook instance, no user, and of a card only the day. The one free
text, the clinician's comment, is bounded and its long numbers and mail addresses are masked (`feedback.py`); a limit
of 0 keeps none.

Losing the database never loses a card: rows wait in a bounded queue (`writer.py`) and JWT ids in the process's memory
(`replay.py`). Only feedback says that it was stored once it was; otherwise it raises `StoreUnavailable`.
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
