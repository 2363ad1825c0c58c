"""Cards issued, feedback received, JWT ids used."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "cards",
        sa.Column("uuid", sa.Text, primary_key=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("issued_on", sa.Date, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("indicator", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
    )
    op.create_index("cards_issued_on", "cards", ["issued_on"])
    op.create_table(
        "feedback",
        sa.Column("card", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, primary_key=True),
        sa.Column("outcome_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.Column("reason_system", sa.Text, nullable=False),
        sa.Column("reason_code", sa.Text, nullable=False),
        sa.Column("reason_display", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("received_on", sa.Date, nullable=False),
    )
    op.create_index("feedback_received_on", "feedback", ["received_on"])
    op.create_table(
        "jti",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("jti_expires_at", "jti", ["expires_at"])
