"""Volumes made anew after a key was attached, with the real gocryptfs: what the old password opens, what is
moved, who is waited for, and what a kill at any line leaves."""

import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from volume_places import Passwords, gocryptfs_or_skip, volumes_end, volumes_of

from kumoi.store.volumes import layout, mounts, remake
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import EncryptedVolumes

ORG = "org_1"
BEFORE, AFTER = b"written before the key", b"written after it"
LINES_MAX = 1_000
STEPS = {"make", "settle", "_places", "_replace"}


@pytest.fixture
def passwords() -> Passwords:
    return Passwords({})


def opened(given: Any) -> EncryptedVolumes:
    assert isinstance(given, EncryptedVolumes)
    return given


def unmounted(volumes: EncryptedVolumes) -> None:
    """Have nobody show the volume."""
    place = volumes.root / ORG
    for _ in range(1_000):
        volumes._unmount(place, lazily=False)
        if not Gocryptfs().processes(volumes.root.parent / "volumes" / ORG):
            return
        threading.Event().wait(0.01)
    raise AssertionError("the volume is in use")


def filled(volumes: EncryptedVolumes) -> None:
    """Write one of each kind into the volume and leave it."""
    volumes.ensure(ORG)
    project = volumes.root / ORG / "projects" / "prj"
    project.mkdir(mode=0o750)
    (project / "file").write_bytes(BEFORE)
    (project / "file").chmod(0o640)
    (project / "program").write_bytes(b"#!")
    (project / "program").chmod(0o755)
    os.link(project / "file", project / "hard")
    (project / "link").symlink_to("../nowhere")
    os.mkfifo(project / "fifo", 0o600)
    (project / "deep" / "er").mkdir(parents=True)
    os.utime(project / "file", ns=(1_000_000_000, 2_000_000_000))
    if os.geteuid() == 0:
        for name in ("file", "program", "deep"):
            os.chown(project / name, 4_242, 4_243)
    unmounted(volumes)


def pictured(volumes: EncryptedVolumes) -> dict[str, tuple[object, ...]]:
    """What somebody sees in the volume: names, kinds, modes, owners, links, times and content."""
    volumes.ensure(ORG)
    found: dict[str, tuple[object, ...]] = {}
    root = volumes.root / ORG / "projects"
    for directory, names, files in os.walk(root):
        for path in (Path(directory, name) for name in (*names, *files)):
            seen = path.lstat()
            what: object = path.readlink() if path.is_symlink() else None
            if stat.S_ISREG(seen.st_mode):
                what = path.read_bytes()
            links = seen.st_nlink if path.is_file() else 0
            key = str(path.relative_to(root))
            found[key] = (seen.st_mode, seen.st_uid, seen.st_gid, links, seen.st_mtime_ns, what)
    return found


def remade(volumes: EncryptedVolumes, passwords: Passwords) -> None:
    """Look until it is done: a process that was ended is seen a moment longer."""
    for _ in range(500):
        volumes.remake()
        if not passwords.old:
            return
        threading.Event().wait(0.02)


def opens(ciphertext: Path, place: Path, password: bytes) -> bool:
    place.mkdir(exist_ok=True)
    try:
        Gocryptfs().mount(ciphertext, place, password, beside_others=True)
    except VolumeUnavailable:
        return False
    Gocryptfs().unmount(place, lazily=True)
    return True


def test_the_old_password_opens_nothing_afterwards_and_all_is_as_before(
    tmp_path: Path, passwords: Passwords
) -> None:
    data = tmp_path / "data"
    with volumes_of(data, passwords=passwords) as given:
        volumes = opened(given)
        filled(volumes)
        before = pictured(volumes)
        assert before["prj/file"][3:] == (2, 2_000_000_000, BEFORE)
        unmounted(volumes)
        old = passwords.kept[ORG]
        assert opens(data / "volumes" / ORG, tmp_path / "seen", old)
        passwords.old.add(ORG)
        remade(volumes, passwords)
        assert passwords.kept[ORG] != old
        assert [path.name for path in (data / "volumes").iterdir()] == [ORG]
        assert sorted(path.name for path in (data / "run").iterdir()) == ["volumes"]
        assert not opens(data / "volumes" / ORG, tmp_path / "seen", old)
        assert pictured(volumes) == before
        (volumes.root / ORG / "projects" / "prj" / "new").write_bytes(AFTER)
        again = (data / "volumes" / ORG / "gocryptfs.conf").read_bytes()
        volumes.remake()
        assert (data / "volumes" / ORG / "gocryptfs.conf").read_bytes() == again, "it is made anew once"


def test_a_volume_in_use_is_kept_until_its_work_is_over(tmp_path: Path, passwords: Passwords) -> None:
    with volumes_of(tmp_path, passwords=passwords) as given:
        volumes = opened(given)
        filled(volumes)
        old = passwords.kept[ORG]
        passwords.old.add(ORG)
        volumes.ensure(ORG)
        with (volumes.root / ORG / "logs" / "log").open("wb") as work:
            volumes.remake()
            work.write(BEFORE)
            work.flush()
            volumes._unmount(volumes.root / ORG, lazily=True)
            volumes.remake()
            assert passwords.kept[ORG] == old, "somebody has it open still"
        unmounted(volumes)
        passwords.at_work.add(ORG)
        volumes.remake()
        assert passwords.kept[ORG] == old, "an attempt lives"
        passwords.at_work.clear()
        volumes.remake()
        assert passwords.kept[ORG] != old
        volumes.ensure(ORG)
        assert (volumes.root / ORG / "logs" / "log").read_bytes() == BEFORE


def test_requests_are_told_and_a_withdrawal_ends_it(
    tmp_path: Path, passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that copies is one that waits for ever."""
    monkeypatch.setattr(mounts, "REMAKE_WAIT_S", 0.0)
    program = tmp_path / "bin" / "cp"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/copying\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    data = tmp_path / "data"
    with volumes_of(data, passwords=passwords) as given:
        volumes = opened(given)
        filled(volumes)
        old = passwords.kept[ORG]
        passwords.old.add(ORG)
        thread = threading.Thread(target=volumes.remake)
        thread.start()
        for _ in range(2_000):
            if (tmp_path / "copying").exists():
                break
            threading.Event().wait(0.01)
        with pytest.raises(VolumeUnavailable, match="made anew under its key; try again"):
            volumes.ensure(ORG)
        passwords.withdraw(ORG)
        thread.join(60)
        assert not thread.is_alive()
        assert passwords.kept[ORG] == old
        assert [path.name for path in (data / "volumes").iterdir()] == [ORG]
        assert sorted(path.name for path in (data / "run").iterdir()) == ["volumes"]
        passwords.restore(ORG)
        volumes.ensure(ORG)
        assert (volumes.root / ORG / "projects" / "prj" / "file").read_bytes() == BEFORE


def test_a_disk_without_room_is_not_filled(
    tmp_path: Path, passwords: Passwords, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remake, "RESERVE_BYTES", 1 << 60)
    with volumes_of(tmp_path, passwords=passwords) as given:
        filled(opened(given))
        old = passwords.kept[ORG]
        passwords.old.add(ORG)
        opened(given).remake()
        assert passwords.kept[ORG] == old
        assert "make room" in caplog.text


def test_a_new_volume_that_the_database_does_not_know_destroys_nothing(
    tmp_path: Path, passwords: Passwords
) -> None:
    """A database from before, restored beside data from after."""
    with volumes_of(tmp_path, passwords=passwords) as given:
        volumes = opened(given)
        filled(volumes)
        other = tmp_path / "volumes" / f".{ORG}.next"
        other.mkdir()
        Gocryptfs().make(other, b"2" * 64)
        with pytest.raises(VolumeUnavailable, match="restore the database"):
            volumes.ensure(ORG)
        assert other.exists()
        assert (tmp_path / "volumes" / ORG).exists()


class Kept(Passwords):
    """Passwords that outlive a killed process, in a file that is replaced as a transaction is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__({})
        if path.exists():
            self.kept, self.old, self.coming = pickle.loads(path.read_bytes())

    def make(self, organization_id: str) -> bytes:
        made = super().make(organization_id)
        self.write()
        return made

    def next_make(self, organization_id: str) -> bytes:
        made = super().next_make(organization_id)
        self.write()
        return made

    def next_take(self, organization_id: str) -> None:
        super().next_take(organization_id)
        self.write()

    def write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(pickle.dumps((self.kept, self.old, self.coming)))
        new.replace(self._path)


def killed_at(line: int, data_dir: Path, database: Path) -> bool:
    """A plane that makes a volume anew and is killed at its Nth line of doing so; whether it got that far."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal seen
            code = frame.f_code
            if not code.co_filename.endswith("volumes/remake.py") or code.co_name not in STEPS:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            passwords: Any = Kept(database)
            volumes = EncryptedVolumes(data_dir, passwords)
            sys.settrace(trace)
            volumes.remake()
            sys.settrace(None)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("goes_on", ["by a request", "by itself"])
def test_a_plane_killed_at_any_line_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str
) -> None:
    gocryptfs_or_skip(lambda: None)
    killed, line = True, 0
    monkeypatch.setattr(remake, "_LOOK_S", 0.02)
    template = tmp_path / "template"
    passwords = Kept(tmp_path / "template.db")
    with volumes_of(template, passwords=passwords) as given:
        filled(opened(given))
        before = pictured(opened(given))
        unmounted(opened(given))
        old = passwords.kept[ORG]
        passwords.old.add(ORG)
        passwords.write()
    while killed and line < LINES_MAX:
        line += 1
        data_dir, database = tmp_path / str(line), tmp_path / f"{line}.db"
        try:
            subprocess.run(["cp", "--archive", template, data_dir], check=True, timeout=10)
            shutil.copy(tmp_path / "template.db", database)
            killed = killed_at(line, data_dir, database)
            passwords = Kept(database)
            with volumes_of(data_dir, passwords=passwords) as given:
                volumes = opened(given)
                if goes_on == "by itself":
                    remade(volumes, passwords)
                    assert passwords.kept[ORG] != old, f"killed at line {line}"
                    assert not opens(data_dir / "volumes" / ORG, tmp_path / "seen", old)
                assert pictured(volumes) == before, f"killed at line {line}"
                assert layout.is_live(volumes.root / ORG)
                assert [path.name for path in (data_dir / "volumes").iterdir()] == [ORG]
                assert sorted(path.name for path in (data_dir / "run").iterdir()) == ["volumes"]
        finally:
            volumes_end(data_dir)
    assert not killed
    assert line > 20
