"""Volumes: what loops need of them."""

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from kumoi.loops.context import LoopContext
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn
from kumoi.store.volumes.errors import VolumeUnavailable

PARALLEL = 4

_log = logging.getLogger(__name__)


def volumes_ensure(
    context: LoopContext, organization_ids: Collection[str]
) -> Mapping[str, KeyFailure | VolumeUnavailable]:
    """Have volumes mounted; why not, of those that are not."""
    failures: dict[str, KeyFailure | VolumeUnavailable] = {}

    def ensure(organization_id: str) -> None:
        try:
            context.volumes.ensure(organization_id)
        except (KeyFailure, VolumeUnavailable) as error:
            failures[organization_id] = error
            if not isinstance(error, KeyWithdrawn):
                _log.warning("the volume of %s is not mounted: %s", organization_id, error)

    if len(organization_ids) <= 1:
        for organization_id in organization_ids:
            ensure(organization_id)
        return failures
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="volumes-ensure") as threads:
        list(threads.map(ensure, organization_ids))
    return failures
