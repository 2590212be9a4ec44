"""Volumes with the real gocryptfs: what is on the disk, who reaches it, and what survives which end."""

import fcntl
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from volume_places import Passwords, volumes_end, volumes_of

from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.volumes import layout
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import EncryptedVolumes, PlainVolumes, Volumes

ORG = "org_1"
CANARY = b"canary of a tenant"
PATIENCE_S = 20.0


def wait(ready: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end_s, f"waited too long for {what}"
        threading.Event().wait(0.02)


def sweep(volumes: Volumes) -> None:
    """One look of the sweeper."""
    assert isinstance(volumes, EncryptedVolumes)
    volumes.sweep()


def processes(data_dir: Path, organization_id: str = ORG) -> list[int]:
    """The gocryptfs processes of a volume that have not ended."""
    return list(Gocryptfs().processes(data_dir / "volumes" / organization_id))


def on_disk(data_dir: Path) -> list[Path]:
    """Everything below the data directory but what is mounted."""
    found: list[Path] = []
    for directory, names, files in os.walk(data_dir):
        names[:] = [name for name in names if not Path(directory, name).is_mount()]
        found += [Path(directory, name) for name in (*names, *files)]
    return found


@pytest.fixture
def passwords(tmp_path: Path) -> Passwords:
    return Passwords({})


def test_nothing_of_what_is_written_is_on_the_disk(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        place = volumes.root / ORG
        assert {path.name for path in place.iterdir()} == {"projects", "logs", "staging"}
        (place / "logs" / "canary-name").write_bytes(CANARY)
        os.sync()
        assert on_disk(tmp_path)
        for path in on_disk(tmp_path):
            assert b"canary" not in os.fsencode(path.name)
            assert not path.is_file() or CANARY not in path.read_bytes()
            assert not path.is_file() or passwords.kept[ORG] not in path.read_bytes()
    assert list((tmp_path / "objects" / ORG).iterdir()) == []
    assert processes(tmp_path) == []
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        assert (place / "logs" / "canary-name").read_bytes() == CANARY


def test_the_password_is_nowhere_but_in_the_store(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        (pid,) = processes(tmp_path)
        for name in ("cmdline", "environ"):
            assert passwords.kept[ORG] not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert os.getsid(pid) != os.getsid(0), "it outlives the plane's session"
        config = (tmp_path / "volumes" / ORG / "gocryptfs.conf").read_text()
        assert '"HKDF"' in config
    wrong = Passwords({ORG: b"0" * 64})
    with (
        volumes_of(tmp_path, passwords=wrong) as volumes,
        pytest.raises(VolumeUnavailable, match="another one"),
    ):
        volumes.ensure(ORG)
    unknown = Passwords({})
    with (
        volumes_of(tmp_path, passwords=unknown) as volumes,
        pytest.raises(VolumeUnavailable, match="restore"),
    ):
        volumes.ensure(ORG)
    assert unknown.kept == {}, "no password is made for a volume that has one"


def test_a_withdrawn_key_closes_what_is_open_for_new_and_a_restored_one_shows_all(
    tmp_path: Path, passwords: Passwords
) -> None:
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        volumes.ensure("org_2")
        log = volumes.root / ORG / "logs" / "log"
        log.write_bytes(CANARY)
        with log.open("ab") as work:
            passwords.withdraw(ORG)
            wait(lambda: not log.exists(), "the volume to be detached")
            with pytest.raises(KeyWithdrawn):
                volumes.ensure(ORG)
            with pytest.raises(FileNotFoundError):
                (volumes.root / ORG / "logs" / "new").write_bytes(b"plain")
            work.write(b" goes on")
            work.flush()
            assert len(processes(tmp_path)) == 1, "running work keeps what it has open"
        wait(lambda: not processes(tmp_path), "gocryptfs to end with the work")
        assert (volumes.root / "org_2" / "logs").is_dir()
        assert all(CANARY not in path.read_bytes() for path in on_disk(tmp_path) if path.is_file())
        passwords.restore(ORG)
        volumes.ensure(ORG)
        assert log.read_bytes() == CANARY + b" goes on"


def test_what_holds_a_withdrawn_volume_without_work_is_cut_off(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords, sweep_s=0.05) as volumes:
        volumes.ensure(ORG)
        log = volumes.root / ORG / "logs" / "log"
        log.write_bytes(CANARY)
        passwords.at_work.add(ORG)
        held = os.open(log, os.O_WRONLY)
        passwords.withdraw(ORG)
        wait(lambda: not log.exists(), "the volume to be detached")
        volumes.start()
        os.write(held, b"of work that goes on")
        passwords.at_work.clear()
        wait(lambda: not processes(tmp_path), "gocryptfs to be ended")
        with pytest.raises(OSError, match="not connected"):
            os.write(held, b"x")
        with suppress(OSError):
            os.close(held)


def test_a_withdrawal_while_it_is_mounted_wins(
    tmp_path: Path, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Gocryptfs.mount

    def slow(self: Gocryptfs, *args: object, **options: object) -> None:
        before(self, *args, **options)  # type: ignore[arg-type]
        passwords.withdraw(ORG)

    monkeypatch.setattr(Gocryptfs, "mount", slow)
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        with pytest.raises(KeyWithdrawn):
            volumes.ensure(ORG)
        wait(lambda: not layout.is_mounted(volumes.root / ORG), "the volume to be detached")
        wait(lambda: not processes(tmp_path), "gocryptfs to end")


def test_an_idle_volume_is_unmounted_and_one_in_use_is_not(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords, idle_s=0.0) as volumes:
        volumes.ensure(ORG)
        with (volumes.root / ORG / "logs" / "log").open("wb"):
            sweep(volumes)
            assert layout.is_live(volumes.root / ORG)
        sweep(volumes)
        assert not layout.is_mounted(volumes.root / ORG)
        wait(lambda: not processes(tmp_path), "gocryptfs to end")
        volumes.ensure(ORG)
        assert layout.is_live(volumes.root / ORG)


def test_a_volume_just_used_is_kept(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        sweep(volumes)
        assert layout.is_live(volumes.root / ORG)


def test_a_killed_gocryptfs_is_replaced(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        volumes.ensure(ORG)
        log = volumes.root / ORG / "logs" / "log"
        with log.open("wb") as work:
            work.write(CANARY)
            work.flush()
            os.kill(processes(tmp_path)[0], signal.SIGKILL)
            wait(lambda: not processes(tmp_path), "its end")
            with pytest.raises(OSError, match="not connected"):
                os.write(work.fileno(), b"more")
            os.dup2(os.open(os.devnull, os.O_WRONLY), work.fileno())
        volumes.ensure(ORG)
        assert log.read_bytes() == CANARY


def test_planes_that_share_the_data_mount_once(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as one, volumes_of(tmp_path, passwords=passwords) as other:
        starting = threading.Barrier(8)
        failures: list[BaseException] = []

        def ensure(number: int) -> None:
            starting.wait()
            try:
                (one, other)[number % 2].ensure(ORG)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=ensure, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(processes(tmp_path)) == 1
        one.close()
        assert layout.is_live(other.root / ORG), "another plane still uses it"
        one._plane_lock = os.open(os.devnull, os.O_RDONLY)  # type: ignore[attr-defined]


def test_one_who_waits_too_long_is_told(
    tmp_path: Path, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kumoi.store.volumes.mounts.LOCK_TIMEOUT_S", 0.0)
    with volumes_of(tmp_path, passwords=passwords) as volumes:
        held = os.open(tmp_path / "run" / "volumes" / ORG, os.O_CREAT | os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(VolumeUnavailable, match="elsewhere"):
            volumes.ensure(ORG)
        os.close(held)
        volumes.ensure(ORG)


def test_plain_files_are_never_hidden_nor_encrypted_ones(tmp_path: Path, passwords: Passwords) -> None:
    plain, encrypted = tmp_path / "plain", tmp_path / "encrypted"
    PlainVolumes(plain).ensure(ORG)
    with pytest.raises(VolumeUnavailable, match="not encrypted"), volumes_of(plain, passwords=passwords):
        pass
    volumes_end(plain)
    with volumes_of(encrypted, passwords=passwords) as volumes:
        volumes.ensure(ORG)
    with pytest.raises(VolumeUnavailable, match="would hide"):
        PlainVolumes(encrypted)


def test_a_machine_without_gocryptfs_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kumoi.store.volumes.gocryptfs._SEARCH_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        VolumeUnavailable, match=re.escape("apt-get install gocryptfs fuse3; or set volume_enc")
    ):
        Gocryptfs()


def test_a_machine_without_fuse_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("gocryptfs", "fusermount3"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kumoi.store.volumes.gocryptfs._DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(VolumeUnavailable, match="load the module fuse"):
        Gocryptfs()


def killed_at(line: int, data_dir: Path, kept: dict[str, bytes]) -> bool:
    """A plane that ensures a volume and is killed at its Nth line of doing so; whether it got that far."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal seen
            if not frame.f_code.co_filename.endswith("volumes/mounts.py"):
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            passwords: Any = Passwords(dict(kept))
            volumes = EncryptedVolumes(data_dir, passwords)
            sys.settrace(trace)
            volumes.ensure(ORG)
            sys.settrace(None)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.timeout(300)
def test_a_plane_killed_at_any_line_leaves_what_the_next_one_goes_on_with(tmp_path: Path) -> None:
    kept = {ORG: b"1" * 64}
    for line in range(1, 1_000):
        data_dir = tmp_path / str(line)
        try:
            with volumes_of(data_dir):
                pass
            killed = killed_at(line, data_dir, kept)
            with volumes_of(data_dir, passwords=Passwords(dict(kept))) as volumes:
                volumes.ensure(ORG)
                assert layout.is_live(volumes.root / ORG), f"killed at line {line}"
                assert len(processes(data_dir)) == 1
                assert [path.name for path in (data_dir / "volumes").iterdir()] == [ORG]
        finally:
            volumes_end(data_dir)
        if not killed:
            break
    assert not killed
    assert line > 20
