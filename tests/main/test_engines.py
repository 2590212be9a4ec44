"""What of a machine each of its engines offers."""

import os
import shutil
from pathlib import Path

import pytest

from kumoi.engines.base import EngineUnavailable
from kumoi.main import engines
from kumoi.main.engines import engines_build
from kumoi.model.settings import Settings

GIB = 1 << 30


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def offers(settings: Settings) -> dict[str, tuple[str, int, int]]:
    built = engines_build(settings, f"wiring{os.getpid()}")
    try:
        hosts = {name: engine.hosts()[0] for name, engine in built.items()}
    finally:
        for engine in built.values():
            engine.close()
    return {name: (host.name, host.cpu_milli, host.memory_bytes) for name, host in hosts.items()}


def settings_of(data_dir: Path, **changes: object) -> Settings:
    fixed: dict[str, object] = {"host_name": "one", "host_cpu_milli": 8_000, "host_memory_bytes": 8 * GIB}
    return Settings(data_dir, **(fixed | changes))  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_without_containers_sandboxes_offer_all_of_it(data_dir: Path) -> None:
    assert offers(settings_of(data_dir)) == {"sandbox": ("one", 8_000, 8 * GIB)}


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.skipif(os.getuid() != 0, reason="containers need root")
def test_containers_get_their_part_and_sandboxes_the_rest(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = offers(settings_of(data_dir, podman=True, podman_cpu_milli=3_000))
    if "podman" not in found:
        pytest.skip(caplog.text)
    assert found == {
        "podman": ("one-containers", 3_000, 4 * GIB),
        "sandbox": ("one", 5_000, 4 * GIB),
    }


def test_a_machine_that_can_do_neither_says_so(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise EngineUnavailable("it is not installed")

    monkeypatch.setattr(engines, "SandboxEngine", missing)
    monkeypatch.setattr(engines, "PodmanEngine", missing)
    assert engines_build(settings_of(data_dir, podman=True), "wiring") == {}
    assert "runs no containers: it is not installed" in caplog.text
    assert "runs no sandboxes: it is not installed" in caplog.text
