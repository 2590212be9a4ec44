"""Replicas that really listen: reached through their endpoint, and no other way."""

import contextlib
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from replica_web import fetch

from kumoi.engines.base import AttemptSpec, Phase, StartRefused
from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.serving import NETWORKS
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import Endpoint

Harness = Any
PORT = 8_080
IMAGE = "localhost/none@sha256:" + "0" * 64

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root joins networks from a thread")


def replica(harness: Harness, name: str, **changes: Any) -> AttemptSpec:
    """The specification of a server that answers its own name."""
    spec: AttemptSpec = harness.spec("serve", port=PORT, **changes)
    return replace(spec, environment={**spec.environment, "ME": name})


def start(harness: Harness, *specs: AttemptSpec) -> list[Endpoint]:
    """Where they are reached, as soon as that is known."""
    assert harness.engine.ensure(specs) == {spec.ref: None for spec in specs}
    for spec in specs:
        harness.await_endpoint(spec.ref)
    return [harness.engine.endpoints([spec.ref])[spec.ref] for spec in specs]


def answer(harness: Harness, endpoint: Endpoint) -> str:
    """What it answers once it listens."""
    answers: list[str] = []

    def listens() -> bool:
        try:
            answers.append(fetch(endpoint))
        except ConnectionRefusedError:
            return False
        return True

    harness.wait(listens, "an answer")
    return answers[0]


def test_a_replica_answers_through_its_endpoint_alone(real: Harness) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (endpoint,) = start(real, replace(replica(real, "one"), port=port))
    assert endpoint.port == port
    assert answer(real, endpoint) == "one\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5.0).close()


def test_replicas_of_one_project_share_a_port_and_nothing_else(real: Harness) -> None:
    specs = [replica(real, "one"), replica(real, "two")]
    endpoints = start(real, *specs)
    assert [answer(real, endpoint) for endpoint in endpoints] == ["one\n", "two\n"]
    real.engine.stop([specs[0].ref], 5.0)
    assert real.settle(specs[0].ref)[0].exit.outcome is AttemptOutcome.CANCELLED
    with pytest.raises(FileNotFoundError):
        fetch(endpoints[0])
    assert fetch(endpoints[1]) == "two\n"


def test_one_replica_cannot_reach_another(real: Harness) -> None:
    (endpoint,) = start(real, replica(real, "one"))
    assert answer(real, endpoint) == "one\n"
    prober = real.spec(real.connect_script(PORT), port=PORT)
    start(real, prober)
    exit_code = real.settle(prober.ref)[0].exit.exit_code
    assert exit_code not in (0, None, 126, 127), real.text(prober.ref)


def test_the_port_is_in_the_environment(real: Harness) -> None:
    spec = real.spec('echo "$PORT $KUMOI_PORT"', port=PORT)
    start_spec = replace(spec, environment={"PORT": "1", "KUMOI_PORT": "2"})
    assert real.engine.ensure([start_spec]) == {spec.ref: None}
    real.settle(spec.ref)
    assert real.text(spec.ref) == f"{PORT} {PORT}\n"


def test_a_replica_that_listens_elsewhere_runs_and_is_not_reached(real: Harness) -> None:
    spec = real.spec("serve", port=PORT)
    wrong = replace(spec, command=("sh", "-c", f"PORT={PORT + 1}; export PORT; {spec.command[2]}"))
    (endpoint,) = start(real, wrong)
    other = Endpoint(endpoint.address, PORT + 1, endpoint.netns)
    answer(real, other)
    with pytest.raises(ConnectionRefusedError):
        fetch(endpoint)
    assert [item.phase for item in real.engine.observe(None, 10).items] == [Phase.RUNNING]


def test_a_network_is_never_used_twice_by_who_serves(real: Harness) -> None:
    first = replica(real, "one")
    (endpoint,) = start(real, first)
    assert answer(real, endpoint) == "one\n"
    held = os.open(endpoint.netns, os.O_RDONLY)
    try:
        real.engine.stop([first.ref], 0.0)
        real.settle(first.ref)
        (again,) = start(real, replica(real, "two"))
        assert answer(real, again) == "two\n"
        with pytest.raises(ConnectionRefusedError):
            fetch(Endpoint(endpoint.address, PORT, f"/proc/self/fd/{held}"))
    finally:
        os.close(held)


def test_names_of_networks_are_ours_short_and_gone_with_the_attempt(real: Harness) -> None:
    before = {place.name for place in Path(NETWORKS).iterdir()} if Path(NETWORKS).exists() else set()
    spec = replica(real, "one", ref="a" * 96)
    (endpoint,) = start(real, spec)
    name = Path(endpoint.netns)
    assert (str(name.parent), len(name.name), endpoint.userns) == (NETWORKS, 31, "")
    assert name.name.startswith("kumoi-")
    real.engine.stop([spec.ref], 0.0)
    real.settle(spec.ref)
    assert not name.exists()
    assert name.name not in before


def test_an_image_where_there_are_no_containers_is_refused(sandbox: Harness) -> None:
    spec = sandbox.spec("exit 0", image=IMAGE)
    refusal = sandbox.engine.ensure([spec])[spec.ref]
    assert isinstance(refusal, StartRefused)
    assert "podman" in str(refusal)


def test_what_a_killed_supervisor_left_is_cleaned_and_others_names_stay(sandbox: Harness) -> None:
    spec, runs = replica(sandbox, "one"), replica(sandbox, "two")
    endpoints = start(sandbox, spec, runs)
    foreign = Path(NETWORKS, "kumoi-00000000-0000000000000000")
    foreign.touch()
    try:
        record = (sandbox.data_dir / "tasks/.live" / spec.ref).read_text()
        os.kill(int(record.partition('"pid": ')[2].partition(",")[0]), 9)
        sandbox.reopen()

        def lost() -> bool:
            sandbox.engine.observe(None, 10)
            return bool(sandbox.engine.ended(10))

        sandbox.wait(lost, "the loss to be seen")
        assert spec.ref not in sandbox.engine.endpoints([spec.ref])
        assert not Path(endpoints[0].netns).exists()
        stale = Path(endpoints[1].netns[:-4] + "0000")
        stale.touch()
        sandbox.reopen().observe(None, 10)
        assert not stale.exists()
        assert foreign.exists()
        assert answer(sandbox, endpoints[1]) == "two\n"
    finally:
        foreign.unlink()


def test_a_name_goes_with_the_attempt_even_if_its_records_are_gone(sandbox: Harness) -> None:
    spec = replica(sandbox, "one")
    (endpoint,) = start(sandbox, spec)
    answer(sandbox, endpoint)
    tasks = sandbox.data_dir / "tasks"
    shutil.rmtree(tasks)
    bwrap = f"kumoi-sandbox:{spec.ref}\0".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(bwrap):
                os.kill(int(place.name), 9)
    sandbox.wait(lambda: not Path(endpoint.netns).exists(), "the name to go")
    records.Layout(str(tasks)).make()
