"""Two planes on one PostgreSQL decide about a tenant's keys at the same moment."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from approver import Approver
from plane_fixture import plane_open

from kumoi.app import access_keys as app
from kumoi.model.access_requests import AccessKeyCreate
from kumoi.model.errors import KumoiError
from kumoi.store import access_keys
from kumoi.store.database import Store

MEET_S = 2.0


def both(works: list[Callable[[], Coroutine[Any, Any, Any]]]) -> list[int]:
    """The statuses of two requests that run at once."""
    found: list[int] = []

    def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            found.append(asyncio.run(work()).status)
        except KumoiError as error:
            found.append(error.status)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(found)


def test_one_key_is_the_first_and_one_is_the_last(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plane_open(tmp_path, postgres_url) as world:
        tenant, plane = world.tenant("acme"), world.plane
        other = dataclasses.replace(plane, store=Store(postgres_url))
        looked, gate = access_keys.access_key_list, threading.Barrier(2)

        def meet(*words: Any, **named: Any) -> Any:
            """Wait for the other to have looked too; who has to wait for a lock comes later, and alone."""
            found = looked(*words, **named)
            try:
                gate.wait(MEET_S)
            except threading.BrokenBarrierError:
                gate.reset()
            return found

        first, second = (Approver(plane.region.log_origin, tenant.id) for _ in range(2))
        bodies = [AccessKeyCreate("one", first.public), AccessKeyCreate("two", second.public)]
        with monkeypatch.context() as patch:
            patch.setattr(access_keys, "access_key_list", meet)
            made = both(
                [
                    lambda: app.access_key_create(plane, tenant.admin, tenant.id, bodies[0], None),
                    lambda: app.access_key_create(other, tenant.admin, tenant.id, bodies[1], None),
                ]
            )
        assert made == [201, 422]
        known = plane.store.read_wait(looked, tenant.id, 20)
        holder, added = (first, second) if known[0].name == "one" else (second, first)
        holder.id = known[0].id
        body = AccessKeyCreate(**holder.addition("more", added))
        assert world.run(app.access_key_create(plane, tenant.admin, tenant.id, body, None)).status == 201
        ids = [row.id for row in plane.store.read_wait(looked, tenant.id, 20)]
        with monkeypatch.context() as patch:
            patch.setattr(access_keys, "access_key_list", meet)
            retired = both(
                [
                    lambda: app.access_key_retire(plane, tenant.admin, tenant.id, ids[0], None),
                    lambda: app.access_key_retire(other, tenant.admin, tenant.id, ids[1], None),
                ]
            )
        assert retired == [200, 409]
        other.store.close()
