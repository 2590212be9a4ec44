"""The keys that tenants sign approvals with, and the rules that they signed in advance."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from kumoi.model.access_requests import AccessKey, AccessRule
from kumoi.model.time import time_format
from kumoi.store.access_requests import sets_of
from kumoi.store.schema import AnyRow, access_keys, access_rules, in_state


def access_key_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None = None
) -> Sequence[AnyRow]:
    """Every key of an organization, retired ones too, oldest first, after `after_id`."""
    statement = (
        select(access_keys)
        .where(access_keys.c.organization_id == organization_id, access_keys.c.id > (after_id or ""))
        .order_by(access_keys.c.id)
        .limit(limit)
    )
    return connection.execute(statement).all()


def access_key_get(connection: Connection, organization_id: str, key_id: str) -> AnyRow | None:
    """A key of an organization."""
    statement = select(access_keys).where(
        access_keys.c.id == key_id, access_keys.c.organization_id == organization_id
    )
    return connection.execute(statement).one_or_none()


def access_rule_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None
) -> Sequence[AccessRule]:
    """Rules of an organization, revoked ones too, oldest first, after `after_id`."""
    statement = (
        select(access_rules)
        .where(access_rules.c.organization_id == organization_id, access_rules.c.id > (after_id or ""))
        .order_by(access_rules.c.id)
        .limit(limit)
    )
    return [access_rule_of(row._asdict()) for row in connection.execute(statement)]


def access_rule_get(connection: Connection, organization_id: str, rule_id: str) -> AnyRow | None:
    """A rule of an organization."""
    statement = select(access_rules).where(
        access_rules.c.id == rule_id, access_rules.c.organization_id == organization_id
    )
    return connection.execute(statement).one_or_none()


def access_rules_live(connection: Connection, organization_id: str, now_us: int) -> Sequence[AnyRow]:
    """Rules that approve now: neither revoked nor over, signed with a key that is still active."""
    statement = (
        select(access_rules, access_keys.c.public_key)
        .join(access_keys, access_keys.c.id == access_rules.c.key_id)
        .where(
            access_rules.c.organization_id == organization_id,
            in_state(access_rules, "active"),
            in_state(access_keys, "active"),
            access_rules.c.until_us > now_us,
        )
        .order_by(access_rules.c.id)
    )
    return connection.execute(statement).all()


def access_rules_count(connection: Connection, organization_id: str, now_us: int) -> int:
    """How many rules of an organization are neither revoked nor over."""
    statement = (
        select(func.count())
        .select_from(access_rules)
        .where(
            access_rules.c.organization_id == organization_id,
            in_state(access_rules, "active"),
            access_rules.c.until_us > now_us,
        )
    )
    return int(connection.execute(statement).scalar_one())


def access_key_of(values: Mapping[str, Any]) -> AccessKey:
    """The key as its organization sees it, from the columns of its row."""
    return AccessKey(
        id=values["id"],
        organization=values["organization_id"],
        name=values["name"],
        public_key=base64.b64encode(values["public_key"]).decode(),
        state=values["state"],
        created_at=time_format(values["created_us"]),
        version=values["version"],
    )


def access_rule_of(values: Mapping[str, Any]) -> AccessRule:
    """The rule as its organization sees it, from the columns of its row."""
    return AccessRule(
        id=values["id"],
        organization=values["organization_id"],
        name=values["name"],
        operator=values["operator"],
        resource=values["resource"],
        sets=sets_of(values["sets"]),
        duration_s=values["duration_s"],
        until=time_format(values["until_us"]),
        key=values["key_id"],
        statement=values["statement"],
        signature=base64.b64encode(values["signature"]).decode(),
        state=values["state"],
        created_at=time_format(values["created_us"]),
        version=values["version"],
    )
