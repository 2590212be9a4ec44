"""Where podman keeps what: images on disk, and all that is a tenant's in memory alone."""

import errno
import fcntl
import io
import json
import os
import secrets
import signal
import subprocess
import tarfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oci_registry import digest_of

from kumoi.engines.base import EngineError
from kumoi.engines.podman.memory import images_show, memory_end, memory_ensure, memory_share
from kumoi.engines.sandbox import staging
from kumoi.model.jobs import AttemptOutcome

Podman = Any
MS_SHARED = 0x100000
LAYERS = 40
"""More than fit in one page of mount options by the full paths of a test's directory."""


def holding(directory: Path, *values: str) -> list[Path]:
    """The files below a directory in which one of the values stands."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(value.encode() in path.read_bytes() for value in values)]


def output_of(podman: Podman, spec: Any) -> str:
    """What the attempt printed; it must end well."""
    assert podman.engine.ensure([spec]) == {spec.ref: None}
    record = podman.settle(spec.ref)[0].exit
    text: str = podman.text(spec.ref)
    assert record.exit_code == 0, (record, text)
    return text


def image_of(podman: Podman, part: str) -> str:
    """The image in whose name this stands."""
    listed = json.loads(podman.images("images", "--digests", "--format", "json"))
    (name,) = [name for row in listed for name in row["RepoDigests"] if part in name]
    return str(name)


def layers_write(archive: Path, first: bytes) -> None:
    """An image with LAYERS layers of one file each above the first, as `docker save` writes it."""
    layers = [first]
    for number in range(LAYERS):
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as content:
            content.addfile(tarfile.TarInfo(f"layer{number}"))
        layers.append(layer.getvalue())
    digests = [digest_of(layer) for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["localhost/layers:one"], "Layers": names}]
    files = dict(zip(names, layers, strict=True))
    files |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(archive, "w") as image:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            image.addfile(entry, io.BytesIO(content))


@pytest.fixture(params=["overlay", "vfs"])
def podman_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podman_at: Any
) -> Podman:
    """One with each of the drivers."""
    monkeypatch.setattr("kumoi.engines.podman.storage.DRIVERS", (request.param,))
    return podman_at(tmp_path)


def test_no_file_below_data_holds_a_command_or_an_environment(podman_of: Podman) -> None:
    podman = podman_of
    command, setting, lines = (secrets.token_hex(20) for _ in range(3))
    environment = {"SETTING": setting, "LINES": f"{lines}\n"}
    spec = podman.spec(f"echo here; sleep 300; {command}", environment=environment)
    assert podman.engine.ensure([spec]) == {spec.ref: None}
    podman.await_output(spec.ref)
    assert holding(podman.engine.memory, command), "podman keeps it somewhere"
    assert holding(podman.data_dir, command, setting, lines) == []
    os.kill(podman.supervisor(spec.ref), signal.SIGKILL)
    podman.engine.close()
    assert holding(podman.data_dir, command, setting, lines) == []
    podman.reopen().observe(None, 10)
    podman.settle(spec.ref)
    assert holding(podman.data_dir, command, setting, lines) == []


def test_what_an_image_declares_as_a_volume_is_in_memory(podman: Podman) -> None:
    archive = str(podman.root / "image.tar")
    podman.images("import", "--quiet", "--change", "VOLUME /kept", archive, "localhost/volume:one")
    word = secrets.token_hex(20)
    spec = podman.spec("stat -f -c %T /kept; echo $WORD >/tmp/x; exec sleep 300", environment={"WORD": word})
    spec = replace(spec, image=image_of(podman, "/volume@"))
    assert podman.engine.ensure([spec]) == {spec.ref: None}
    podman.await_output(spec.ref)
    assert podman.text(spec.ref) == "tmpfs\n"
    assert holding(podman.data_dir, word) == []
    assert not list((podman.engine.memory / "graph").glob("volumes/*"))


def test_an_image_of_many_layers_runs(podman: Podman) -> None:
    archive = podman.root / "layers.tar"
    layers_write(archive, (podman.root / "image.tar").read_bytes())
    podman.images("load", "--quiet", "--input", str(archive))
    spec = replace(podman.spec("ls / | grep -c layer"), image=image_of(podman, "/layers@"))
    assert output_of(podman, spec) == f"{LAYERS}\n"


def test_after_a_boot_there_are_images_and_no_containers(podman: Podman) -> None:
    links = podman.data_dir / "podman/containers/storage/overlay/l"
    (link,) = links.iterdir()
    spec = podman.running()
    assert [one for one in links.iterdir() if not one.exists()], "the container's"
    os.kill(podman.supervisor(spec.ref), signal.SIGKILL)
    podman.engine.close()
    for group in Path("/sys/fs/cgroup").glob(
        f"*/kumoi/{podman.incarnation}-podman/{spec.ref}/**/cgroup.procs"
    ):
        for member in group.read_text().split():
            with suppress(ProcessLookupError):  # each stands in several hierarchies, and ends with the first
                os.kill(int(member), signal.SIGKILL)
    subprocess.run(["umount", "--lazy", podman.engine.memory], check=True)
    podman.reopen().observe(None, 10)
    assert podman.settle(spec.ref)[0].exit.outcome is AttemptOutcome.HOST_LOST
    assert json.loads(podman.podman("ps", "--all", "--format", "json")) == []
    assert list(links.iterdir()) == [link], "nothing is left of containers"
    assert output_of(podman, podman.spec("echo again")) == "again\n"


def test_a_plane_that_stops_leaves_the_memory_to_another(podman: Podman) -> None:
    """Two planes on one database share DATA; one is stopped, as for an upgrade, while nothing runs."""
    other = podman.open()
    podman.engine.close()
    podman.engine = other
    assert output_of(podman, podman.spec("echo still")) == "still\n"
    other.close()
    assert not os.path.ismount(other.memory)
    podman.reopen()
    assert output_of(podman, podman.spec("echo again")) == "again\n"


def test_a_start_waits_for_nobody_who_writes_images(podman_of: Podman) -> None:
    podman, driver = podman_of, podman_of.engine.storage.driver
    with ExitStack() as held:
        for kind in ("images", "layers"):
            path = podman.data_dir / f"podman/containers/storage/{driver}-{kind}/{kind}.lock"
            fcntl.lockf(held.enter_context(path.open("r+")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        limits = ["--network=none", "--ulimit=nofile=64", "--ulimit=nproc=64"]
        assert podman.podman("run", "--rm", *limits, podman.image, "echo", "here") == "here\n"


def test_a_view_of_images_that_was_begun_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, storage = tmp_path / "place", tmp_path / "storage"
    share = memory_share(tmp_path / "memory.lock")
    locks = {kind: f"overlay-{kind}/{kind}.lock" for kind in ("images", "layers")}
    steps = iter(())
    mount = staging.mount

    def cut(*arguments: Any) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        mount(*arguments)

    storage.mkdir()
    mount(b"none", os.fsencode(storage), b"tmpfs", 0)
    mount(b"none", os.fsencode(storage), b"", MS_SHARED)  # as systemd has every mount
    try:
        for done in (0, 1, 2, 3, 4):
            place.mkdir()
            mount(b"none", os.fsencode(place), b"tmpfs", 0)
            steps = iter(range(done))
            with monkeypatch.context() as patch:
                patch.setattr("kumoi.engines.podman.memory.mount", cut)
                with suppress(KeyboardInterrupt):
                    images_show(place, storage, "overlay")
            for _ in range(2):
                images_show(place, storage, "overlay")
                (storage / "overlay-images/images.json").write_text(f"[{done}]")
                assert (place / "view/overlay-images/images.json").read_text() == f"[{done}]"
                for kind, lock in locks.items():
                    assert (place / "view" / lock).samefile(place / f"{kind}.lock")
                    assert not (storage / lock).samefile(place / f"{kind}.lock")
                with (place / "busy").open("w"):
                    memory_end(place, share)
                    assert os.path.ismount(place)
                    assert not os.path.ismount(place / "view")
            memory_end(place, share)
            assert not place.exists()
    finally:
        for left in (place, storage):
            subprocess.run(["umount", "--lazy", left], check=False)


def test_a_data_directory_from_before_keeps_its_images_and_no_container(podman: Podman) -> None:
    word = secrets.token_hex(20)
    (podman.data_dir / "podman/containers/storage/libpod/bolt_state.db").write_text(word)
    podman.reopen()
    assert output_of(podman, podman.spec("echo here")) == "here\n"
    assert holding(podman.data_dir, word) == []


def test_without_its_place_in_memory_podman_writes_nowhere_else(podman: Podman) -> None:
    (podman.engine.memory / "storage.conf").unlink()
    with pytest.raises(EngineError, match=r"storage\.conf"):
        podman.podman("ps")
    podman.reopen()
    assert podman.podman("ps", "--quiet") == ""


def test_what_is_in_memory_goes_with_the_last_container(podman: Podman) -> None:
    spec, memory = podman.running(), podman.engine.memory
    podman.engine.close()
    assert os.path.ismount(memory)
    podman.reopen()
    podman.engine.stop([spec.ref], 0.0)
    podman.settle(spec.ref)
    podman.engine.close()
    assert not memory.exists()
    podman.reopen()
    assert memory.stat().st_mode & 0o777 == 0o700


def test_two_regions_on_one_machine_do_not_meet(tmp_path: Path, podman_at: Any) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = podman_at(tmp_path / "one"), podman_at(tmp_path / "two")
    first, second = one.running(), two.running()
    for region in (one, two):
        assert len(json.loads(region.podman("ps", "--format", "json"))) == 1
    one.engine.stop([first.ref], 0.0)
    one.settle(first.ref)
    one.engine.close()
    assert [item.ref for item in two.engine.observe(None, 10).items] == [second.ref]
    assert len(json.loads(two.podman("ps", "--format", "json"))) == 1
    one.reopen()


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_memory_is_not_swapped_where_the_kernel_can_promise_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    mount = staging.mount

    def refuse(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes = b"") -> None:
        given.append(options)
        if b"noswap" in options:
            raise OSError(errno.EINVAL, "an older kernel")
        mount(source, target, kind, flags, options)

    monkeypatch.setattr(staging, "mount", refuse)
    share, place = memory_share(tmp_path / "memory.lock"), memory_ensure(tmp_path)
    try:
        assert memory_ensure(tmp_path) == place
        assert [b"noswap" in options for options in given] == [True, False]
        with (place / "busy").open("w"):
            memory_end(place, share)
            assert os.path.ismount(place)
    finally:
        memory_end(place, share)
    assert not place.exists()
