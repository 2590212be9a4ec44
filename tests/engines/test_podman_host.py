"""What the podman engine needs of a machine, and how it says what is missing."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kumoi.engines.base import EngineUnavailable, StartRefused
from kumoi.engines.podman import images
from kumoi.engines.podman.arguments import environment_text
from kumoi.engines.podman.groups import groups_find
from kumoi.engines.podman.images import Images
from kumoi.engines.podman.storage import PodmanStorage

IMAGE = "registry.example/app@sha256:" + "0" * 64
Answer = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Every call of podman is answered by a function."""

    def use(answer: Answer) -> None:
        monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
        monkeypatch.setattr(PodmanStorage, "_run", lambda _self, argv, _environment, _timeout_s: answer(argv))

    return use


def storage_at(directory: Path, registries: Sequence[str] = ()) -> PodmanStorage:
    return PodmanStorage(directory, directory / "memory", registries)


def done(argv: Sequence[str], code: int = 0, out: str = "", err: str = "") -> Any:
    return subprocess.CompletedProcess(argv, code, out, err)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: "/usr/bin/podman" if name == "podman" else None
    )
    with pytest.raises(EngineUnavailable, match="apt-get install runc conmon catatonit"):
        storage_at(tmp_path)


def test_a_path_that_podman_would_misread_is_refused(
    tmp_path: Path, answers: Callable[[Answer], None]
) -> None:
    answers(done)
    with pytest.raises(EngineUnavailable, match="keep DATA elsewhere"):
        storage_at(tmp_path / "a,b")


def test_the_first_driver_that_works_is_kept(tmp_path: Path, answers: Callable[[Answer], None]) -> None:
    tried = tmp_path / "memory/storage.conf"
    answers(lambda argv: done(argv, 0 if '"vfs"' in tried.read_text() else 125, err="no overlay here"))
    storage_at(tmp_path)
    shutil.rmtree(tmp_path / "memory")
    answers(lambda argv: done(argv, 125))
    storage_at(tmp_path)
    for conf in (tmp_path / "storage.conf", tried):
        assert 'driver = "vfs"' in conf.read_text()


def test_where_no_driver_works_the_complaints_are_told(
    tmp_path: Path, answers: Callable[[Answer], None]
) -> None:
    answers(lambda argv: done(argv, 125, err="Error: it is broken"))
    with pytest.raises(EngineUnavailable, match=r"overlay: Error: it is broken; vfs: Error: it is broken"):
        storage_at(tmp_path)
    assert not (tmp_path / "storage.conf").exists()


def test_registries_without_tls_are_named_with_http(
    tmp_path: Path, answers: Callable[[Answer], None]
) -> None:
    answers(done)
    kept = storage_at(tmp_path, ["registry.example", "http://127.0.0.1:5000"])
    assert kept.registries == {"registry.example", "127.0.0.1:5000"}
    text = (tmp_path / "registries.conf").read_text()
    assert "registry.example" not in text
    assert 'location = "127.0.0.1:5000"\ninsecure = true' in text


def test_images_that_cannot_be_listed_are_not_said_to_be_missing(
    tmp_path: Path, answers: Callable[[Answer], None]
) -> None:
    answers(lambda argv: done(argv, 125 if "images" in argv else 0, err="Error: locked"))
    problem = Images(storage_at(tmp_path)).problem(IMAGE)
    assert isinstance(problem, EngineUnavailable)
    assert "locked" in str(problem)


def test_a_failed_pull_is_told_and_then_tried_again(
    tmp_path: Path, answers: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls: list[Sequence[str]] = []

    def answer(argv: Sequence[str]) -> Any:
        if "pull" not in argv:
            return done(argv)
        pulls.append(argv)
        return done(argv, 125, err="Error: no such manifest")

    answers(answer)
    kept = Images(storage_at(tmp_path, ["registry.example"]))
    assert isinstance(kept.problem(IMAGE), EngineUnavailable)
    for thread in threading.enumerate():
        if thread.name == "podman-pull":
            thread.join(10)
    told = kept.problem(IMAGE)
    assert isinstance(told, StartRefused)
    assert "no such manifest" in str(told)
    assert len(pulls) == 1
    monkeypatch.setattr(images, "FRESH_S", 0.0)
    assert isinstance(kept.problem(IMAGE), EngineUnavailable)


def test_groups_of_containers_are_looked_for_in_every_hierarchy(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    kinds = {"memory": "cgroup", "pids": "cgroup", "freezer": "cgroup", "unified": "cgroup2"}
    for name in kinds:
        (tmp_path / name).mkdir()
    mounts.write_text("".join(f"x {tmp_path}/{name} {kind} rw,{name} 0 0\n" for name, kind in kinds.items()))
    found, path = groups_find("one", mounts=mounts)
    assert path == "/kumoi/one-podman"
    assert found.groups("att") == [f"{tmp_path}/{name}{path}/att" for name in ("memory", "pids")]
    assert list(found.others) == [f"{tmp_path}/{name}{path}" for name in ("freezer", "unified")]
    for name in kinds:
        (tmp_path / name / "kumoi/one-podman/att/libpod-1").mkdir(parents=True)
    assert found.remove("att")
    assert not [name for name in kinds if (tmp_path / name / "kumoi/one-podman/att").exists()]


def test_without_groups_there_are_no_containers(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text("x /y tmpfs rw 0 0\n")
    with pytest.raises(EngineUnavailable, match="control groups"):
        groups_find("one", mounts=tmp_path / "mounts")


def test_the_environment_s_file_holds_what_it_can() -> None:
    text = environment_text({"A": 'x "y" #', "B": "two\nlines", "C": "", "HOME": "/here"})
    assert text == 'HOME=/here\nA=x "y" #\nC=\n'
