"""Runs the migrations on the connection that `service.store.database.upgrade` holds, or prints their SQL (offline)."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name=context.config.attributes["dialect"])
else:
    context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
