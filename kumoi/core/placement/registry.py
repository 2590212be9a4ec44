"""The policies by name."""

from collections.abc import Callable

from kumoi.core.placement.fgd import Fgd
from kumoi.core.placement.host_table import HostTable
from kumoi.core.placement.kumoi_policy import Kumoi
from kumoi.core.placement.policies import PLAIN_NAMES, Policy, plain_policy

_LEARNING: dict[str, Callable[[HostTable], Policy]] = {Fgd.name: Fgd, Kumoi.name: Kumoi}

POLICY_NAMES = (*PLAIN_NAMES, *_LEARNING)


def policy_new(name: str, table: HostTable) -> Policy:
    """A policy of this name on a table. ValueError for a name that is not in `POLICY_NAMES`."""
    if name in PLAIN_NAMES:
        return plain_policy(name, table)
    if name in _LEARNING:
        return _LEARNING[name](table)
    raise ValueError(f"there is no placement policy {name}; use one of {', '.join(POLICY_NAMES)}")
