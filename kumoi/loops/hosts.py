"""Hosts: health as engines report it, lost hosts, and drained ones."""

import logging

from kumoi.engines.base import Engine, EngineUnavailable
from kumoi.loops.context import LoopContext
from kumoi.model.time import US_PER_S
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
    return [HostSeen(r.name, r.cpu_milli, r.memory_bytes, r.boot_id, r.healthy, r.detail) for r in reports]
