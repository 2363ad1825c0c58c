"""The tables as the code of this version sees them; the migrations build them.

Keys are natural, so that saying the same thing twice stores it once. `feedback.card` is deliberately no foreign key:
feedback may arrive before its card (which waits in a replica's queue) or after the card has been purged.
"""

from __future__ import annotations

from sqlalchemy import Column, Date, DateTime, Index, MetaData, Table, Text

METADATA = MetaData()

CARDS = Table(
    "cards",
    METADATA,
    Column("uuid", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("issued_on", Date, nullable=False),
    Column("rules", Text, nullable=False),  # JSON array of rule ids
    Column("indicator", Text, nullable=False),
    Column("version", Text, nullable=False),  # of the knowledge
    Column("suggestions", Text, nullable=False),  # JSON array of uuids
    Index("cards_issued_on", "issued_on"),
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("card", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),  # accepted, overridden
    Column("outcome_at", DateTime(timezone=True), primary_key=True),
    Column("service", Text, nullable=False),
    Column("suggestions", Text, nullable=False),  # JSON array of the accepted ones
    Column("reason_system", Text, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("reason_display", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("received_on", Date, nullable=False),
    Column("tenant", Text, nullable=False, server_default=""),
    Index("feedback_received_on", "received_on"),
)

JTI = Table(
    "jti",
    METADATA,
    Column("issuer", Text, primary_key=True),
    Column("digest", Text, primary_key=True),  # SHA-256, hexadecimal
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("jti_expires_at", "expires_at"),
)

# Of the repeat guard: what was shown to whom, all of it under the site's secret (`repeat.py`).
SIGHTINGS = Table(
    "sightings",
    METADATA,
    Column("patient", Text, primary_key=True),  # keyed hash
    Column("reader", Text, primary_key=True),  # keyed hash of the user
    Column("rule", Text, primary_key=True),
    Column("result", Text, primary_key=True),
    Column("level", Text, nullable=False),
    Column("shown_at", DateTime(timezone=True), nullable=False),
    Column("newest_result_at", DateTime(timezone=True)),
    Column("overridden_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("card", Text, nullable=False),  # keyed hash, by which an override finds what it is about
    Column("state", Text, nullable=False),  # JSON: magnesium, its side and tier, keyed hashes of facts
    Index("sightings_card", "card"),
    Index("sightings_expires_at", "expires_at"),
)
