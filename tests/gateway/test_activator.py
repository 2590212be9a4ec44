"""The activator between real clients and real replicas."""

import asyncio
import json

import pytest
from gateway_world import Replica, World, answer_ok, answer_read, replica_route, service_route, world_run


def test_a_request_reaches_its_service_and_says_who_asked() -> None:
    async def story(world: World) -> None:
        replica = await world.replica()
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        status, fields, body = await world.ask(
            "GET /a/b?c=d HTTP/1.1", "x-mine: 1", "x-forwarded-for: 9.9.9.9"
        )
        assert (status, body) == (200, b"ok")
        head = replica.heads[0].decode()
        assert head.startswith("GET /b?c=d HTTP/1.1\r\n")
        for line in ("host: a.example", "x-mine: 1", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"):
            assert f"\r\n{line}\r\n" in head
        assert f"\r\nx-request-id: {fields['x-request-id']}\r\n" in head
        assert "\r\ntraceparent: 00-" in head
        assert "9.9.9.9" not in head

    world_run(story)


def test_an_unknown_route_and_a_bad_head_are_told_as_problems() -> None:
    async def story(world: World) -> None:
        replica = await world.replica()
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        status, fields, body = await world.ask("GET /b HTTP/1.1")
        problem = json.loads(body)
        assert (status, fields["content-type"]) == (404, "application/problem+json")
        assert problem["type"] == "urn:kumoi:error:route_unknown"
        assert fields["x-request-id"] in problem["instance"]
        status, fields, _body = await world.ask(
            "GET /a HTTP/1.1", "content-length: 1", "transfer-encoding: chunked"
        )
        assert (status, fields["connection"]) == (400, "close")
        reader, writer = await world.connect()
        writer.write(b"GET /a HTTP/1.1\nhost: a\n\n")
        assert (await answer_read(reader))[0] == 400
        assert await reader.read() == b""
        writer.close()
        assert replica.heads == []

    world_run(story)


def test_requests_on_one_connection_share_one_to_the_replica() -> None:
    async def story(world: World) -> None:
        replica = await world.replica()
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        checked = replica.connections
        reader, writer = await world.connect()
        writer.write(b"GET /a/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /a/2 HTTP/1.1\r\nhost: a\r\n\r\n")
        for _ in range(2):
            assert (await answer_read(reader))[2] == b"ok"
        writer.write(b"GET /a/3 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await answer_read(reader))[2] == b"ok"
        writer.close()
        assert [head.split()[1] for head in replica.heads] == [b"/1", b"/2", b"/3"]
        assert replica.connections <= checked + 1 + 20  # its checks come on connections of their own
        counters = world.traffic.services["svc_a"].counters
        assert (counters.arrived, counters.completed, counters.lost) == (3, 3, 0)

    world_run(story)


def test_bodies_pass_both_ways_as_they_come() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            part = (await reader.readexactly(size + 2))[:-2]
            writer.write(b"%x\r\n%b\r\n" % (size, part))
            if not size:
                return

    async def story(world: World) -> None:
        replica = await world.replica(echo)
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for part in (b"one", b"two", b"x" * 300_000):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            came = b""
            while len(came) < len(part):  # it comes back before the next is sent
                size = int(await reader.readuntil(b"\r\n"), 16)
                came += (await reader.readexactly(size + 2))[:-2]
            assert came == part
        writer.write(b"0\r\n\r\n")
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
        writer.close()

    world_run(story)


def test_a_large_body_with_a_slow_reader_passes_whole() -> None:
    content = bytes(range(256)) * 40_000

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = await reader.readexactly(len(content))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(sent))
        writer.write(sent)
        await writer.drain()

    async def story(world: World) -> None:
        replica = await world.replica(large)
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        status, _fields, body = await world.ask(
            "POST /a HTTP/1.1", f"content-length: {len(content)}", body=content
        )
        assert status == 200
        assert body == content

    world_run(story)


def test_a_websocket_becomes_a_tunnel() -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\nx-a: b\r\n\r\n!"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    async def story(world: World) -> None:
        replica = await world.replica(switch)
        service = await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        reader, writer = await world.connect()
        writer.write(b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nearly")
        status, fields, _body = await answer_read(reader)
        assert (status, fields["upgrade"], fields["x-a"]) == (101, "websocket", "b")
        assert await reader.readexactly(6) == b"!EARLY"
        writer.write(b"later")
        assert await reader.readexactly(5) == b"LATER"
        assert service.busy == 1
        writer.close()
        await world.until(lambda: service.busy == 0)

    world_run(story)


def test_expect_100_continue_is_the_replicas_to_answer() -> None:
    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body)

    async def story(world: World) -> None:
        replica = await world.replica(careful)
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert (await answer_read(reader))[0] == 100
        writer.write(b"hello")
        assert (await answer_read(reader))[2] == b"hello"
        writer.close()

    world_run(story)


def test_no_replica_gets_more_than_its_limit_and_who_waits_is_served_in_order() -> None:
    held: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async def story(world: World) -> None:
        replicas = [await world.replica(hold) for _ in range(2)]
        service = await world.use(
            service_route(
                "svc_a", replicas=[replica_route(each, number) for number, each in enumerate(replicas)]
            )
        )
        asked = []
        for number in range(6):
            asked.append(asyncio.create_task(world.ask(f"GET /a/{number} HTTP/1.1")))
            await world.until(lambda count=number + 1: service.counters.arrived == count)  # type: ignore[misc]
        await world.until(lambda: len(held) == 4)
        assert [replica.busy for replica in service.replicas.values()] == [2, 2]
        assert (service.busy, len(service.waiting)) == (4, 2)
        for writer in held:
            await answer_ok(asyncio.StreamReader(), writer)
        await world.until(lambda: len(held) == 6)
        later = [head.split()[1] for replica in replicas for head in replica.heads[2:]]
        assert sorted(later) == [b"/4", b"/5"]
        for writer in held[4:]:
            await answer_ok(asyncio.StreamReader(), writer)
        assert [(await each)[0] for each in asked] == [200] * 6

    world_run(story)


def test_a_request_wakes_a_service_without_replicas_and_passes_when_one_is_ready() -> None:
    async def story(world: World) -> None:
        await world.use(service_route("svc_a"))
        world.traffic.attention.clear()
        asked = asyncio.create_task(world.ask("POST /a HTTP/1.1", "content-length: 2", body=b"hi"))
        async with asyncio.timeout(5):
            await world.traffic.attention.wait()
        report = world.traffic.report()
        assert (report.services[0].waiting, report.services[0].arrived) == (1, 1)
        assert not world.traffic.attention.is_set()
        replica = await world.replica()
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        assert (await asked)[0] == 200
        assert world.traffic.attention.is_set()
        assert world.traffic.report().services[0].replicas[0].ready is True

    world_run(story)


def test_the_queue_has_a_limit_and_a_deadline() -> None:
    async def story(world: World) -> None:
        service = await world.use(service_route("svc_a", queue_length_max=1, queue_timeout_ms=50))
        first = asyncio.create_task(world.ask("GET /a HTTP/1.1"))
        await world.until(lambda: len(service.waiting) == 1)
        status, fields, body = await world.ask("GET /a HTTP/1.1")
        assert (status, fields["retry-after"], json.loads(body)["type"]) == (
            503,
            "1",
            "urn:kumoi:error:queue_full",
        )
        status, _fields, body = await first
        assert (status, json.loads(body)["type"]) == (504, "urn:kumoi:error:queue_timeout")
        counters = service.counters
        assert (counters.arrived, counters.refused, counters.expired, counters.violated) == (2, 1, 1, 2)

    world_run(story)


def test_a_client_that_goes_leaves_the_queue_and_frees_its_slot() -> None:
    async def story(world: World) -> None:
        never = asyncio.Event()

        async def hold(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await never.wait()

        replica = await world.replica(hold)
        service = await world.use(service_route("svc_a", concurrency=1, replicas=[replica_route(replica)]))
        _reader, first = await world.connect()
        first.write(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        await world.until(lambda: service.busy == 1)
        _reader, second = await world.connect()
        second.write(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        await world.until(lambda: len(service.waiting) == 1)
        second.close()
        await world.until(lambda: not service.waiting)
        first.close()
        await world.until(lambda: service.busy == 0)
        assert service.counters.abandoned == 2
        never.set()

    world_run(story)


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("DELETE", 200), ("POST", 502)])
def test_only_what_may_be_repeated_is_asked_again(method: str, expected: int) -> None:
    async def story(world: World) -> None:
        asked = 0

        async def fail_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                writer.transport.abort()
            else:
                await answer_ok(reader, writer)

        replica = await world.replica(fail_once)
        service = await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        lines = ("content-length: 0",) if method == "POST" else ()
        status, _fields, _body = await world.ask(f"{method} /a HTTP/1.1", *lines)
        assert status == expected
        assert asked == (1 if method == "POST" else 2)
        assert service.counters.lost == (1 if method == "POST" else 0)

    world_run(story)


def test_a_killed_replicas_requests_go_to_the_other_one() -> None:
    async def story(world: World) -> None:
        never = asyncio.Event()

        async def hold(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await never.wait()

        dying, other = await world.replica(hold), await world.replica()
        service = await world.use(service_route("svc_a", replicas=[replica_route(dying, 1)]))
        asked = [asyncio.create_task(world.ask("GET /a HTTP/1.1")) for _ in range(2)]
        await world.until(lambda: service.busy == 2)
        await world.use(
            service_route("svc_a", replicas=[replica_route(dying, 1), replica_route(other, 2)]), ready=True
        )
        await dying.stop()
        assert [(await each)[0] for each in asked] == [200, 200]
        posted = [
            await world.ask("POST /a HTTP/1.1", "content-length: 2", body=b"hi") for _ in range(4)
        ]  # nothing was sent to who refuses the connection, so even these go elsewhere
        assert [status for status, _fields, _body in posted] == [200] * 4
        assert service.counters.lost == 0
        assert len(service.slots) == 1
        never.set()

    world_run(story)


def test_half_an_answer_breaks_the_connection_instead_of_looking_whole() -> None:
    async def half(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async def story(world: World) -> None:
        replica = await world.replica(half)
        service = await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await world.ask("GET /a HTTP/1.1")
        await world.until(lambda: service.busy == 0)
        assert (service.counters.lost, service.counters.completed) == (1, 0)

    world_run(story)


def test_a_silent_replica_is_given_up_after_the_requests_time() -> None:
    async def story(world: World) -> None:
        never = asyncio.Event()

        async def hold(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await never.wait()

        replica = await world.replica(hold)
        service = await world.use(
            service_route("svc_a", request_timeout_ms=50, replicas=[replica_route(replica)])
        )
        asked = asyncio.create_task(world.ask("GET /a HTTP/1.1"))
        await world.until(lambda: service.busy == 1)
        while not asked.done():
            world.activator.sweep()
            await asyncio.sleep(0.01)
        status, _fields, body = await asked
        assert (status, json.loads(body)["type"]) == (504, "urn:kumoi:error:request_timeout")
        assert service.busy == 0
        never.set()

    world_run(story)


def test_a_draining_replica_finishes_what_it_has_and_gets_nothing_new() -> None:
    async def story(world: World) -> None:
        go = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await answer_ok(reader, writer)

        old, new = await world.replica(slow), await world.replica()
        await world.use(service_route("svc_a", replicas=[replica_route(old, 1)]))
        asked = asyncio.create_task(world.ask("GET /a HTTP/1.1"))
        await world.until(lambda: len(old.heads) == 1)
        service = await world.use(
            service_route("svc_a", replicas=[replica_route(old, 1, serving=False), replica_route(new, 2)])
        )
        for _ in range(5):
            assert (await world.ask("GET /a HTTP/1.1"))[0] == 200
        assert (len(old.heads), len(new.heads)) == (1, 5)
        assert service.replicas["rep_1"].busy == 1
        await world.use(service_route("svc_a", replicas=[replica_route(new, 2)]))
        go.set()
        assert (await asked)[0] == 200
        assert service.busy == 0

    world_run(story)


def test_answers_of_every_kind_reach_clients_of_both_versions() -> None:
    kinds = {
        b"/length": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"/chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"/close": b"HTTP/1.1 200 OK\r\n\r\nok",
        b"/old": b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"/none": b"HTTP/1.1 204 No Content\r\n\r\n",
        b"/early": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    }

    async def story(world: World) -> None:
        found: list[Replica] = []

        async def any_kind(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = found[0].heads[-1].split()[1]
            writer.write(kinds[path])
            if path == b"/close":
                await writer.drain()
                writer.close()

        found.append(await world.replica(any_kind))
        await world.use(service_route("svc_a", replicas=[replica_route(found[0])]))
        for version in ("1.1", "1.0"):
            for path in kinds:
                status, fields, body = await world.ask(f"GET /a{path.decode()} HTTP/{version}")
                if path == b"/early" and version == "1.1":
                    assert (status, fields["link"]) == (103, "x")
                elif path == b"/none":
                    assert (status, body) == (204, b"")
                else:
                    assert (status, body) == (200, b"ok"), (path, version)
                if version == "1.0":
                    assert "transfer-encoding" not in fields
        status, fields, _body = await world.ask("HEAD /a/length HTTP/1.1")
        assert (status, fields["content-length"]) == (200, "2")

    world_run(story)


def test_an_answer_that_is_not_http_is_a_problem() -> None:
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")

    async def story(world: World) -> None:
        replica = await world.replica(nonsense)
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        status, _fields, body = await world.ask("GET /a HTTP/1.1")
        assert (status, json.loads(body)["type"]) == (502, "urn:kumoi:error:replica_failed")

    world_run(story)


def test_broken_chunks_never_look_whole_to_the_replica() -> None:
    async def story(world: World) -> None:
        ended: list[bytes] = []

        async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            ended.append(await reader.read())

        replica = await world.replica(read_on)
        service = await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        status, _fields, body = await world.ask(
            "POST /a HTTP/1.1",
            "transfer-encoding: chunked",
            body=b"5\r\nhelloX\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n",
        )
        assert (status, json.loads(body)["type"]) == (400, "urn:kumoi:error:body_broken")
        await world.until(lambda: service.busy == 0)
        assert len(replica.heads) <= 1
        assert not any(b"smuggled" in part for part in ended)

    world_run(story)


def test_the_end_of_the_gateway_finishes_what_is_in_flight() -> None:
    async def story(world: World) -> None:
        go = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await answer_ok(reader, writer)

        replica = await world.replica(slow)
        await world.use(service_route("svc_a", replicas=[replica_route(replica)]))
        _idle, idle_writer = await world.connect()
        asked = asyncio.create_task(world.ask("GET /a HTTP/1.1"))
        await world.until(lambda: len(replica.heads) == 1)
        draining = asyncio.create_task(world.activator.drain(10))
        await world.until(lambda: len(world.activator.shared.clients) == 1)
        go.set()
        status, fields, _body = await asked
        assert status == 200
        await draining
        assert not world.activator.shared.clients
        idle_writer.close()
        assert fields["content-length"] == "2"

    world_run(story)
