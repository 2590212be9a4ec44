"""The engines of this machine, and what of it each of them offers."""

import logging
import os

from kumoi.engines.base import Engine, EngineUnavailable
from kumoi.engines.podman.engine import PodmanEngine
from kumoi.engines.sandbox import probe
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.model.settings import Settings

_HALVES = 2
_NAME_MAX = 63
_CONTAINERS = "-containers"

_log = logging.getLogger("kumoi")


def engines_build(settings: Settings, incarnation: str) -> dict[str, Engine]:
    """Sandboxes, and containers where the operator wants them, each on a part of this machine as a host of
    its own. Without an engine the plane serves, and runs nothing."""
    cpu_milli = settings.host_cpu_milli or len(os.sched_getaffinity(0)) * 1_000
    memory_bytes = settings.host_memory_bytes or probe.memory_bytes()
    engines: list[Engine] = []
    if settings.podman:
        podman_cpu_milli = settings.podman_cpu_milli or cpu_milli // _HALVES
        podman_memory_bytes = settings.podman_memory_bytes or memory_bytes // _HALVES
        try:
            engines.append(_podman_build(settings, incarnation, podman_cpu_milli, podman_memory_bytes))
        except EngineUnavailable as error:
            _log.warning("this plane runs no containers: %s", error)
        else:
            cpu_milli = max(cpu_milli - podman_cpu_milli, 1)
            memory_bytes = max(memory_bytes - podman_memory_bytes, 1)
    try:
        engines.append(_sandbox_build(settings, incarnation, cpu_milli, memory_bytes))
    except EngineUnavailable as error:
        _log.warning("this plane runs no sandboxes: %s", error)
    return {engine.name: engine for engine in engines}


def _sandbox_build(settings: Settings, incarnation: str, cpu_milli: int, memory_bytes: int) -> SandboxEngine:
    return SandboxEngine(
        settings.data_dir,
        incarnation,
        host_name=settings.host_name or _host_name(),
        cpu_milli=cpu_milli,
        memory_bytes=memory_bytes,
        files_root=settings.data_dir / "objects",
        # A task asks for a network only where the operator's pool allows it (app.jobs).
        network_host=True,
    )


def _podman_build(settings: Settings, incarnation: str, cpu_milli: int, memory_bytes: int) -> PodmanEngine:
    host_name = settings.host_name or _host_name()
    return PodmanEngine(
        settings.data_dir,
        incarnation,
        host_name=host_name[: _NAME_MAX - len(_CONTAINERS)] + _CONTAINERS,
        cpu_milli=cpu_milli,
        memory_bytes=memory_bytes,
        files_root=settings.data_dir / "objects",
        network_host=True,
        registries=settings.podman_registries.replace(",", " ").split(),
    )


def _host_name() -> str:
    """The machine's name in the form of names."""
    letters = "".join(c if c.isalnum() and c.isascii() else "-" for c in os.uname().nodename.lower())
    return letters.strip("-")[:_NAME_MAX] or "host-1"
