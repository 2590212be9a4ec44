"""The harness that lets one contract suite run over the fake and over every real engine."""

import itertools
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from kumoi.engines.base import AttemptSpec, Engine, EngineUnavailable, Limits, Observation, Stream
from kumoi.engines.fake import FakeEngine
from kumoi.engines.podman.engine import PodmanEngine
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.engines.sandbox.local import LocalEngine
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S
from kumoi.store.volumes.layout import layout_make

PATIENCE_S = 30.0
BEHAVIOURS: dict[str, str] = {
    "exit 0": "exit 0",
    "exit 3": "exit 3",
    "die 11": "kill -11 $$; sleep 60",
    "hang": "sleep 300",
    "ignore the end": "trap '' TERM; echo ready; while :; do sleep 1; done",
    "eat memory": "tail /dev/zero",
    "speak": "printf 'one\\ntwo\\n'; printf problem >&2",
}


PYTHON_SERVE = 'cd /tmp; echo "$ME" >index.html; exec python3 -m http.server --bind 127.0.0.1 "$PORT"'
BUSYBOX_SERVE = 'cd /tmp; echo "$ME" >index.html; exec httpd -f -p "127.0.0.1:$PORT"'


class Harness(Protocol):
    """An engine under test, and the time it lives in."""

    engine: Engine

    def reopen(self) -> Engine:
        """A new engine object over the same state, the old one being gone."""

    def settle(self, *refs: str) -> list[Observation]:
        """Wait until every ref has ended; their observations in the order asked for."""

    def now_us(self) -> int:
        """The engine's time."""

    def await_output(self, ref: str) -> None:
        """Wait until the attempt, which is one that speaks, has written to its standard output."""

    def await_endpoint(self, ref: str) -> None:
        """Wait until the attempt, which is one that serves, has an endpoint."""


def volume_make(place: Path) -> None:
    """A volume that is not encrypted."""
    place.mkdir(mode=0o711, parents=True)
    place.parent.chmod(0o711)
    descriptor = os.open(place, os.O_RDONLY)
    layout_make(descriptor)
    os.close(descriptor)


class Specs:
    """Makes attempt specifications: `spec("hang")` behaves as the table says."""

    def __init__(
        self, now_us: Callable[[], int], *, image: str | None = None, serve: str = PYTHON_SERVE
    ) -> None:
        self._now_us = now_us
        self._image = image
        self._scripts = {**BEHAVIOURS, "serve": serve}
        self._numbers = itertools.count(1)
        self.behaviour_of: dict[str, str] = {}

    def __call__(
        self, behaviour: str = "exit 0", *, limits: dict[str, int] | None = None, **changes: Any
    ) -> AttemptSpec:
        ref = changes.pop("ref", None) or f"att_{next(self._numbers):05d}"
        self.behaviour_of[ref] = behaviour
        script = self._scripts.get(behaviour, behaviour)
        base = AttemptSpec(
            ref=ref,
            organization_id="org_one",
            project_id="prj_one",
            project_number=1,
            command=("sh", "-c", script),
            environment={"KUMOI_TASK_INDEX": "0"},
            limits=replace(
                Limits(cpu_milli=1_000, memory_bytes=64 << 20, processes=32, wall_time_s=60), **(limits or {})
            ),
            start_before_us=self._now_us() + 60 * US_PER_S,
            image=self._image,
        )
        return replace(base, **changes)


class FakeHarness:
    """The fake with a clock that only moves while somebody waits."""

    def __init__(self) -> None:
        self.clock_us = 1_800_000_000 * US_PER_S
        self.engine = FakeEngine(self.now_us)
        self.spec = Specs(self.now_us)

    def now_us(self) -> int:
        return self.clock_us

    def reopen(self) -> Engine:
        self.engine.close()
        return self.engine

    def await_output(self, ref: str) -> None:
        self.engine.stop_lingers = True

    def await_endpoint(self, ref: str) -> None:
        assert ref in self.engine.endpoints([ref])

    def settle(self, *refs: str) -> list[Observation]:
        for _ in range(int(PATIENCE_S * 4)):
            self.clock_us += 1
            for ref in self.engine.running():
                self._act(ref)
            done = {item.ref: item for item in self.engine.ended(1_000)}
            if all(ref in done for ref in refs):
                return [done[ref] for ref in refs]
            self.clock_us += US_PER_S // 4
        raise AssertionError(f"{refs} did not end")

    def _act(self, ref: str) -> None:
        match self.spec.behaviour_of[ref].split():
            case ["exit", code]:
                self.engine.finish(ref, exit_code=int(code))
            case ["die", number]:
                self.engine.finish(ref, AttemptOutcome.SIGNALLED, signal=int(number))
            case ["eat", "memory"]:
                self.engine.finish(ref, AttemptOutcome.MEMORY, signal=9)
            case ["speak"]:
                self.engine.log_append(ref, Stream.STDOUT, b"one\ntwo\n")
                self.engine.log_append(ref, Stream.STDERR, b"problem")
                self.engine.finish(ref)


class RealHarness(ABC):
    """A real engine in a temporary directory."""

    groups = "{incarnation}"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data_dir = root / "data"
        self.data_dir.mkdir(mode=0o700)
        self.files_root = self.data_dir / "files"
        volume_make(self.files_root / "org_one")
        self.incarnation = f"test{os.getpid()}x{time.monotonic_ns() % 1_000_000_007}"
        self._changed = threading.Event()
        self._engines: list[LocalEngine] = []
        self.engine = self.open()
        self.spec = Specs(self.now_us)

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def volume(self, organization_id: str) -> Path:
        """Where the projects of one more organization are."""
        place = self.data_dir / "files" / organization_id
        volume_make(place)
        return place / "projects"

    @abstractmethod
    def make(self, *, network_host: bool) -> LocalEngine:
        """One more engine object over the same directory, as a second plane would make it."""

    def open(self, *, network_host: bool = False) -> LocalEngine:
        """`make`, with what `wait` needs."""
        engine = self.make(network_host=network_host)
        engine.on_change(self._changed.set)
        self._engines.append(engine)
        return engine

    def reopen(self) -> LocalEngine:
        self.engine.close()
        self.engine = self.open()
        return self.engine

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for a condition, looking again at every nudge and at least every 50 ms."""
        end = time.monotonic() + PATIENCE_S
        while not ready():
            assert time.monotonic() < end, f"waited too long for {what}"
            self._changed.wait(0.05)
            self._changed.clear()

    def settle(self, *refs: str) -> list[Observation]:
        done: dict[str, Observation] = {}

        def all_ended() -> bool:
            done.update({item.ref: item for item in self.engine.ended(1_000)})
            return all(ref in done for ref in refs)

        self.wait(all_ended, f"the end of {refs}")
        return [done[ref] for ref in refs]

    def await_output(self, ref: str) -> None:
        self.wait(lambda: bool(self.engine.log_read(ref, Stream.STDOUT, 0, 1).data), f"output of {ref}")

    def await_endpoint(self, ref: str) -> None:
        self.wait(lambda: ref in self.engine.endpoints([ref]), f"the network of {ref}")

    @abstractmethod
    def connect_script(self, port: int) -> str:
        """A script that ends with 0 if it can connect to that port, with 1 if not."""

    def text(self, ref: str, stream: Stream = Stream.STDOUT) -> str:
        """All that the attempt wrote."""
        return self.engine.log_read(ref, stream, 0, 1 << 20).data.decode()

    def finish(self) -> None:
        """End everything that runs."""
        refs = [item.ref for item in self.engine.observe(None, 1_000).items]
        self.engine.stop(refs, 0.0)
        if refs:
            self.settle(*refs)

    def close(self) -> None:
        self.finish()
        for engine in self._engines:
            engine.close()
        groups = sorted(
            Path("/sys/fs/cgroup").glob(f"*/kumoi/{self.groups.format(incarnation=self.incarnation)}/**/"),
            reverse=True,
        )
        self.wait(lambda: all(_is_empty(group) for group in groups), "the supervisors to go")
        for group in groups:
            group.rmdir()


class SandboxHarness(RealHarness):
    """Sandboxes."""

    def make(self, *, network_host: bool) -> SandboxEngine:
        return SandboxEngine(
            self.data_dir,
            self.incarnation,
            host_name="here",
            cpu_milli=64_000,
            memory_bytes=64 << 30,
            files_root=self.files_root,
            network_host=network_host,
        )

    def connect_script(self, port: int) -> str:
        return f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"


class PodmanHarness(RealHarness):
    """Containers of an image that holds only busybox."""

    groups = "{incarnation}-podman"
    registries: tuple[str, ...] = ()

    def __init__(self, root: Path, busybox: str) -> None:
        super().__init__(root)
        self.image = self._image_make(busybox)
        self.spec = Specs(self.now_us, image=self.image, serve=BUSYBOX_SERVE)

    def make(self, *, network_host: bool) -> PodmanEngine:
        return PodmanEngine(
            self.data_dir,
            self.incarnation,
            host_name="here-containers",
            cpu_milli=64_000,
            memory_bytes=64 << 30,
            files_root=self.files_root,
            network_host=network_host,
            registries=self.registries,
        )

    def connect_script(self, port: int) -> str:
        return f"nc 127.0.0.1 {port} </dev/null"

    def running(self, **changes: Any) -> AttemptSpec:
        """An attempt that has said that it runs."""
        spec = self.spec("echo here; exec sleep 300", **changes)
        assert self.engine.ensure([spec]) == {spec.ref: None}
        self.await_output(spec.ref)
        return spec

    def supervisor(self, ref: str) -> int:
        """The process that watches over a running attempt."""
        return int(json.loads((self.data_dir / "podman/tasks/.live" / ref).read_text())["pid"])

    def podman(self, *arguments: str) -> str:
        """What podman answers of containers."""
        assert isinstance(self.engine, PodmanEngine)
        return self.engine.storage.container_call(*arguments)

    def images(self, *arguments: str) -> str:
        """What podman answers of images."""
        assert isinstance(self.engine, PodmanEngine)
        return self.engine.storage.image_call(*arguments)

    def _image_make(self, busybox: str) -> str:
        """Import the image; its name by digest."""
        archive = self.root / "image.tar"
        names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
        with tarfile.open(archive, "w") as image:
            image.add(busybox, "bin/busybox")
            for name in names:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                if name != "busybox":
                    image.addfile(link)
        self.images("import", "--quiet", str(archive), "localhost/kumoi-test:one")
        (listed,) = json.loads(self.images("images", "--digests", "--format", "json"))
        return str(listed["RepoDigests"][0])

    def close(self) -> None:
        super().close()
        assert isinstance(self.engine, PodmanEngine)
        assert not self.engine.memory.exists(), "a region that has ended leaves nothing behind"


def _is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


def _sandbox_or_skip(root: Path) -> SandboxHarness:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    try:
        return SandboxHarness(root)
    except EngineUnavailable as error:
        pytest.skip(f"no sandbox on this machine: {error}")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxHarness]:
    """A sandbox engine, or a skip that says what is missing."""
    harness = _sandbox_or_skip(tmp_path)
    yield harness
    harness.close()


def _podman_or_skip(root: Path) -> PodmanHarness:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed (apt-get install busybox-static)")
    try:
        return PodmanHarness(root, busybox)
    except EngineUnavailable as error:
        pytest.skip(f"no containers on this machine: {error}")


@pytest.fixture
def podman_at() -> Iterator[Callable[[Path], PodmanHarness]]:
    """Makes podman engines, or skips and says what is missing."""
    made: list[PodmanHarness] = []

    def make(root: Path) -> PodmanHarness:
        made.append(_podman_or_skip(root))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def podman(tmp_path: Path, podman_at: Callable[[Path], PodmanHarness]) -> PodmanHarness:
    """A podman engine."""
    return podman_at(tmp_path)


@pytest.fixture(params=["sandbox", "podman"])
def real(request: pytest.FixtureRequest) -> Any:
    """Each engine that really runs something, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["fake", "sandbox", "podman"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """Each engine in turn."""
    made: Harness = FakeHarness() if request.param == "fake" else request.getfixturevalue(request.param)
    return made
