"""Bodies that come slowly, or whose clients leave: they hold no slot, nor a place in the queue."""

import asyncio
import json
import socket
import struct

import pytest
from gateway_world import (
    World,
    answer_ok,
    answer_read,
    replica_route,
    service_route,
    world_run,
)

from kumoi.gateway import intake

LARGE = 8 << 20
"""More than what the gateway takes ahead and the kernel holds."""


@pytest.mark.parametrize("length", [3, LARGE])
def test_a_post_whose_client_left_loses_its_place_and_is_never_forwarded(length: int) -> None:
    held: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async def story(world: World) -> None:
        replica = await world.replica(hold)
        route = service_route("svc_a", concurrency=1, replicas=[replica_route(replica)])
        service = await world.use(route)
        first = asyncio.create_task(world.ask("GET /a/first HTTP/1.1"))
        await world.until(lambda: len(held) == 1)
        _reader, writer = await world.connect()
        writer.write(b"POST /a/left HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % length)
        writer.write(b"x" * length)
        await world.until(lambda: len(service.waiting) == 1)
        if length == LARGE:  # nothing else passes bytes that have no place in the kernel
            made = writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

        def gone() -> bool:
            world.activator.sweep()
            return not service.waiting

        await world.until(gone)
        assert service.counters.abandoned == 1
        await answer_ok(asyncio.StreamReader(), held[0])
        assert (await first)[0] == 200
        assert service.busy == 0
        assert [head.split()[1] for head in replica.heads] == [b"/first"]

    world_run(story)


def test_a_large_body_is_noticed_as_left_behind_bytes_that_nobody_read() -> None:
    async def story(world: World) -> None:
        service = await world.use(service_route("svc_a"))
        _reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % LARGE)
        writer.write(b"x" * (intake.AHEAD_BYTES_MAX * 2))
        await world.until(lambda: len(service.waiting) == 1)
        world.activator.sweep()
        assert len(service.waiting) == 1, "it is still there"
        writer.write_eof()

        def gone() -> bool:
            world.activator.sweep()
            return not service.waiting

        await world.until(gone)
        writer.close()

    world_run(story)


def test_a_slow_body_holds_no_slot_until_it_has_come() -> None:
    bodies: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readexactly(5) if not bodies else b"")
        await answer_ok(reader, writer)

    async def story(world: World) -> None:
        replica = await world.replica(keep)
        route = service_route("svc_a", concurrency=1, replicas=[replica_route(replica)])
        service = await world.use(route)
        reader, writer = await world.connect()
        writer.write(b"POST /a/slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        await world.until(lambda: len(world.activator.shared.clients) == 1)
        bodies.append(b"")
        assert (await world.ask("GET /a/quick HTTP/1.1"))[0] == 200
        assert (service.counters.arrived, service.busy) == (1, 0)
        bodies.clear()
        writer.write(b"llo")
        assert (await answer_read(reader))[0] == 200
        assert bodies == [b"hello"]
        writer.close()

    world_run(story)


@pytest.mark.parametrize("sent", [0, intake.AHEAD_BYTES_MAX])
def test_a_body_that_does_not_come_is_refused_and_its_slot_given_back(
    sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "STEP_S", 0.05)

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story(world: World) -> None:
        replica = await world.replica(wait)
        service = await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * sent)
        answered = asyncio.create_task(answer_read(reader))

        def late() -> bool:
            world.activator.sweep()
            return answered.done()

        await world.until(late)
        status, fields, body = await answered
        assert (status, fields["connection"]) == (408, "close")
        assert json.loads(body)["type"] == "urn:kumoi:error:body_timeout"
        assert (service.busy, service.counters.lost) == (0, 0)
        assert service.counters.abandoned == service.counters.arrived == (1 if sent else 0)
        writer.close()

    world_run(story)


@pytest.mark.parametrize("late", [False, True])
def test_a_silent_replica_is_not_the_fault_of_a_client_whose_body_comes_in_time(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if late:
        monkeypatch.setattr(intake, "STEP_S", 0.05)

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story(world: World) -> None:
        replica = await world.replica(silent)
        route = service_route("svc_a", request_timeout_ms=300, replicas=[replica_route(replica)])
        service = await world.use(route)
        reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
        writer.write(b"x" * intake.AHEAD_BYTES_MAX)  # enough for a slot, and then it owes some for STEP_S
        answered = asyncio.create_task(answer_read(reader))

        def over() -> bool:
            world.activator.sweep()
            return answered.done()

        await world.until(over)
        status, _fields, body = await answered
        wanted = (408, "body_timeout") if late else (504, "request_timeout")
        assert (status, json.loads(body)["type"].rpartition(":")[2]) == wanted
        counters = service.counters
        assert (counters.lost, counters.abandoned, service.busy) == ((0, 1, 0) if late else (1, 0, 0))
        writer.close()

    world_run(story)


def test_a_trickle_is_too_slow_and_a_replica_that_reads_slowly_is_not_the_clients_fault() -> None:
    body = intake.Intake(1_000_000)
    body.pace_begin(0.0)
    body.feed(b"x", 9.0)
    assert body.due == 10.0, "a byte is not enough"
    body.feed(b"x" * intake.STEP_BYTES, 9.5)
    assert body.due == 19.5
    body.pace_stop()
    assert body.due == float("inf")
    body.feed(b"x" * 1_000_000, 30.0)
    assert body.done
    assert body.due == float("inf")
    assert len(body.taken()) == 1_000_000
    assert body.taken() == b""
