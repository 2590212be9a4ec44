"""Which processes are taken for HAProxy's."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gateway_process import WAIT_S

from kumoi.gateway import haproxy_process
from kumoi.gateway.haproxy_process import pids_of


@contextmanager
def _begun(*argv: object) -> Iterator[int]:
    """A process that runs until it is let go; it has said that it runs what it was started with."""
    with subprocess.Popen([*map(str, argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        yield process.pid
        process.stdin.close()
        process.wait(WAIT_S)


def test_a_program_with_the_arguments_of_haproxy_is_not_haproxy(tmp_path: Path) -> None:
    words = ("-D", "-p", tmp_path / "haproxy.pid")
    with _begun(sys.executable, "-c", "print('here', flush=True); input()", *words):
        assert pids_of(tmp_path) == {}


@pytest.mark.parametrize("replaced", [False, True])
def test_haproxy_is_found_also_after_its_program_was_replaced(tmp_path: Path, replaced: bool) -> None:
    program = tmp_path / "haproxy"
    shutil.copy("/bin/sh", program)
    with _begun(program, "-c", "echo here; read line", "sh", "-D", "-p", tmp_path / "haproxy.pid") as pid:
        if replaced:
            program.unlink()
        assert pids_of(tmp_path) == {pid: tmp_path / "haproxy.pid"}
        assert pids_of(tmp_path / "other") == {}


def test_where_programs_are_hidden_from_the_plane_their_names_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readlink(_path: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(haproxy_process.Path, "readlink", readlink)
    program = tmp_path / "haproxy"
    shutil.copy("/bin/sh", program)
    words = ("-D", "-p", tmp_path / "haproxy.pid")
    with (
        _begun(sys.executable, "-c", "print('here', flush=True); input()", *words),
        _begun(program, "-c", "echo here; read line", "sh", *words) as pid,
    ):
        assert pids_of(tmp_path) == {pid: tmp_path / "haproxy.pid"}
