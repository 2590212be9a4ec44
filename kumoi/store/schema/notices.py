"""Notices, whom they go to, how each sending fares; and gaps of the log that people were told of."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from kumoi.core import lifecycles
from kumoi.core.log_gaps import LogGap
from kumoi.model.notices import ADDRESS_MAX, NoticeChannel, NoticeKind
from kumoi.store.schema.columns import count, id_column, metadata, one_of, ref, residency, state, us
from kumoi.store.schema.keys import sealed_with

_PENDING = "state = 'pending'"
_UNEXPANDED = "expanded_us IS NULL"

notices = Table(
    "notices",
    metadata,
    id_column(),
    # Nobody's: region-wide.
    ref("organization_id", "organizations", nullable=True),
    Column("kind", String(40), nullable=False),
    ref("event_id", "events"),
    us("created_us"),
    # The last target that a sending was written for, and when that was done for all.
    Column("expanded_to", String(40), nullable=False, server_default=""),
    us("expanded_us", nullable=True),
    one_of("kind", NoticeKind),
    Index(
        "ix_notices_unexpanded",
        "id",
        sqlite_where=text(_UNEXPANDED),
        postgresql_where=text(_UNEXPANDED),
    ),
    Index(None, "created_us"),
)

notice_targets = Table(
    "notice_targets",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    Column("channel", String(16), nullable=False),
    Column("address", String(ADDRESS_MAX), nullable=False),
    # JSON, sorted.
    Column("kinds", Text, nullable=False),
    # The secret of a webhook, sealed.
    Column("sealed", LargeBinary, nullable=True),
    Column("key_version", Integer, nullable=True),
    *residency(),
    us("created_us"),
    one_of("channel", NoticeChannel),
    CheckConstraint("(channel = 'webhook') = (sealed IS NOT NULL)", name="secret"),
    CheckConstraint("(sealed IS NULL) = (key_version IS NULL)", name="sealed"),
    UniqueConstraint("organization_id", "address"),
    sealed_with("notice_targets"),
    Index(None, "organization_id", "key_version", "id"),
)

notice_sendings = Table(
    "notice_sendings",
    metadata,
    id_column(),
    Column("notice_id", String(40), ForeignKey("notices.id", ondelete="CASCADE"), nullable=False),
    Column("target_id", String(40), ForeignKey("notice_targets.id", ondelete="CASCADE"), nullable=False),
    ref("organization_id", "organizations"),
    *state(lifecycles.NOTICE_SENDING),
    count("attempts", default=0),
    us("next_us"),
    us("ended_us", nullable=True),
    Column("failure", String(400), nullable=False, server_default=""),
    UniqueConstraint("notice_id", "target_id"),
    CheckConstraint("(state = 'pending') = (ended_us IS NULL)", name="ended"),
    CheckConstraint("attempts >= 0", name="attempts"),
    Index(None, "organization_id", "id"),
    Index(
        "ix_notice_sendings_due",
        "target_id",
        "id",
        sqlite_where=text(_PENDING),
        postgresql_where=text(_PENDING),
    ),
)

log_gaps = Table(
    "log_gaps",
    metadata,
    Column("kind", String(16), primary_key=True),
    us("begun_us"),
    one_of("kind", LogGap),
)
