"""Idempotency: what makes two requests the same one, and what a write answered.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from dataclasses import dataclass

KEY_LENGTH_MAX = 255
NO_PROJECT = ""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The caller's name for one write: scope (actor, project, route, key) and a digest of what was asked.

    `route` is the method and the path's template; `project_id` is `NO_PROJECT` where the path names no
    project; `digest` is SHA-256 over the path as sent, a zero byte and the raw body. The same scope with
    another digest is a conflict.
    """

    actor_id: str
    project_id: str
    route: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answers: the HTTP status, the JSON body (empty for 204) and the new ETag.

    `replayed` marks the stored answer of an earlier request with the same idempotency key.
    """

    status: int
    body: bytes
    etag: str | None = None
    replayed: bool = False
