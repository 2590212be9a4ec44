"""Organizations' keys, and the tokens that hold them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from kumoi.core import lifecycles
from kumoi.model.keys import OnWithdraw
from kumoi.store.schema.columns import metadata, one_of, ref, state, us, version

organization_keys = Table(
    "organization_keys",
    metadata,
    # ORGANIZATION-ID.NUMBER; a version that nothing uses any more is destroyed with its row.
    Column("id", String(48), primary_key=True),
    ref("organization_id", "organizations"),
    Column("number", Integer, nullable=False),
    *state(lifecycles.ORGANIZATION_KEY),
    Column("kek", String(200), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    us("created_us"),
    us("retired_us", nullable=True),
    version(),
    UniqueConstraint("organization_id", "number"),
    # Two current keys cannot be written, whichever planes rotate at once.
    Index(
        "uq_organization_keys_current",
        "organization_id",
        unique=True,
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
    CheckConstraint("number >= 1", name="number"),
    CheckConstraint("(state = 'retired') = (retired_us IS NOT NULL)", name="retired"),
)

key_holders = Table(
    "key_holders",
    metadata,
    # The organization. Without a row, the platform wraps its key.
    Column("id", String(40), ForeignKey("organizations.id"), primary_key=True),
    Column("token", String(63), nullable=False),
    Column("label", String(100), nullable=False),
    Column("on_withdraw", String(16), nullable=False),
    *state(lifecycles.KEY_HOLDER),
    Column("cause", String(400), nullable=False, server_default=""),
    # The version of the key that was made when this key was attached: nobody else ever wrapped it.
    Column("from_number", Integer, nullable=False),
    us("changed_us"),
    version(),
    one_of("on_withdraw", OnWithdraw),
)


def sealed_columns() -> tuple[Column[bytes], Column[int]]:
    """What is sealed of a row, and the version of its organization's key; NULL where there is nothing."""
    return Column("sealed", LargeBinary, nullable=True), Column("key_version", Integer, nullable=True)


def sealed_with(table: str) -> ForeignKeyConstraint:
    """Refuses what is sealed with a key that does not exist, and destroying one that something uses."""
    return ForeignKeyConstraint(
        ["organization_id", "key_version"],
        [organization_keys.c.organization_id, organization_keys.c.number],
        name=f"fk_{table}_key_version",
    )
