"""What the repeat guard remembers; feedback knows the tenant from which it came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("feedback", sa.Column("tenant", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "sightings",
        sa.Column("patient", sa.Text, primary_key=True),
        sa.Column("reader", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("result", sa.Text, primary_key=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_result_at", sa.DateTime(timezone=True)),
        sa.Column("overridden_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("sightings_card", "sightings", ["card"])
    op.create_index("sightings_expires_at", "sightings", ["expires_at"])
