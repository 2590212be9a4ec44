"""Signed statements of operator access: who may sign, the check, and the events that carry them."""

import base64
from collections.abc import Mapping
from typing import Any

from kumoi.app.plane import Region
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.statements import statement_verify
from kumoi.model.access import Action
from kumoi.model.errors import Invalid
from kumoi.model.notices import NoticeKind
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.access_keys import access_key_get
from kumoi.store.access_requests import access_requests_revoke
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.notices import notice_row
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Change, Row, Table


class SignatureRefused(Invalid):
    """A signature that the named key did not make over what would be granted: forged, moved or widened."""


def resource_unknown(resource: str) -> Invalid:
    """The refusal of what the organization does not have, or what no access can be granted to."""
    return Invalid(
        "resource_unknown",
        "the organization has no {resource}; name itself, or a project, job or service of it by id",
        at="/resource",
        resource=resource,
    )


def signature_check(statement: bytes, signature: bytes, public_key: bytes) -> None:
    """Raises SignatureRefused unless the key made the signature over the statement."""
    try:
        statement_verify(statement, signature, public_key)
    except LedgerError as error:
        raise SignatureRefused(
            "access_signature_invalid",
            "the signature is not one of this key over the statement; sign exactly these lines: {statement}",
            at="/signature",
            statement=statement.decode(),
        ) from error


def signer_find(connection: Connection, organization_id: str, key_id: str) -> AnyRow:
    """The active key of an organization that signs. Raises Invalid where it has none such."""
    signer = access_key_get(connection, organization_id, key_id)
    if signer is None or signer.state != "active":
        raise Invalid(
            "access_key_unknown",
            "the organization has no active key {key}; list them with `kumoi access key list`",
            at="/key",
            key=key_id,
        )
    return signer


def approval_detail(values: Mapping[str, Any], public_key: bytes) -> dict[str, object]:
    """What the event of an approval holds: all that it takes to check the signature without asking us."""
    return {
        "expires_at": time_format(values["expires_us"]),
        "key": values["key_id"],
        "public_key": base64.b64encode(public_key).decode(),
        "signature": base64.b64encode(values["signature"]).decode(),
        "statement": values["statement"],
    }


def access_events(
    region: Region,
    actor_id: str,
    action: Action | str,
    request: Mapping[str, Any],
    detail: Mapping[str, object],
    now_us: int,
    notice: NoticeKind | None = None,
) -> list[tuple[Table, list[Row]]]:
    """The event of a step of a request: for the tenant in full, and for the platform by its ids only.

    `notice` is sent to the tenant's targets.
    """
    tenant = request["organization_id"]
    brief = {"organization": tenant, "kind": request["kind"], "requested_by": request["requested_by"]}
    rows: list[Row] = [
        event_row(
            action,
            at_us=now_us,
            actor=actor_id,
            resource=request["id"],
            organization=organization_id,
            detail=told,
        )
        for organization_id, told in ((tenant, detail), (region.platform_organization_id, brief))
    ]
    inserts = [(schema.events, rows)]
    if notice is not None:
        inserts.append((schema.notices, [notice_row(notice, rows[0])]))
    return inserts


def approved_end(
    connection: Connection, region: Region, actor_id: str, column: str, held_id: str, now_us: int
) -> Change:
    """What ends the access that a rule or a key approved, for when that ends itself."""
    inserts: list[tuple[Table, list[Row]]] = []
    moves = []
    for row, move in access_requests_revoke(connection, column, held_id):
        revoke, notice = Action.ACCESS_REQUEST_REVOKE, NoticeKind.ACCESS_REVOKE
        detail = {"by": actor_id, "with": held_id}
        inserts += access_events(region, actor_id, revoke, row._asdict(), detail, now_us, notice)
        moves.append(move)
    return Change(inserts, moves)
