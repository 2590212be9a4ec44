"""Hosts: health as engines report it, lost hosts, and drained ones."""

import logging

from kumoi.engines.base import DeviceReport, Engine, EngineUnavailable, HostReport
from kumoi.loops.context import LoopContext
from kumoi.model.time import US_PER_S
from kumoi.store.devices import DeviceSeen
from kumoi.store.hosts import HostSeen, hosts_see, hosts_settle
from kumoi.store.writer import Fence

LOST_AFTER_US = 30 * US_PER_S

_log = logging.getLogger(__name__)


def hosts_activate(context: LoopContext, fence: Fence) -> bool:
    """Write what every engine reports. An engine that cannot tell makes its hosts silent, then lost."""
    for engine in context.engines.values():
        seen = _seen(engine)
        now_us = context.clock_us()
        platform_id = context.platform_organization_id
        context.store.transact_wait(
            fence,
            hosts_see,
            engine.name,
            seen,
            pool=context.host_pool,
            platform_id=platform_id,
            now_us=now_us,
            lost_after_us=LOST_AFTER_US,
            cell=context.cell,
        )
        context.store.transact_wait(fence, hosts_settle, engine.name, platform_id, now_us)
    context.nudge("placement")
    return False


def _seen(engine: Engine) -> list[HostSeen]:
    try:
        reports = engine.hosts()
    except EngineUnavailable as error:
        _log.warning("the engine %s does not report its hosts: %s", engine.name, error)
        return []
    return [_host_seen(report) for report in reports]


def _host_seen(report: HostReport) -> HostSeen:
    return HostSeen(
        name=report.name,
        cpu_milli=report.cpu_milli,
        memory_bytes=report.memory_bytes,
        boot_id=report.boot_id,
        healthy=report.healthy,
        detail=report.detail,
        disk_bytes=report.disk_bytes,
        failure_domain=report.failure_domain,
        fabric_island=report.fabric_island,
        devices=tuple(_device_seen(device) for device in report.devices),
    )


def _device_seen(report: DeviceReport) -> DeviceSeen:
    return DeviceSeen(
        uuid=report.uuid,
        physical_uuid=report.physical_uuid or report.uuid,
        kind=report.kind,
        model=report.model,
        partition=report.partition,
        memory_bytes=report.memory_bytes,
        paths=report.paths,
        healthy=report.healthy,
        detail=report.detail,
    )
