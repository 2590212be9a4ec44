"""Runs migrations on the connection that `kumoi.store.migrate` hands over, inside its transaction."""

from alembic import context

from kumoi.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
