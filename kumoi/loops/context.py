"""What every loop works on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kumoi.engines.base import Engine
from kumoi.providers.base import Provider
from kumoi.store.database import Store
from kumoi.store.keys.ring import KeyRing
from kumoi.store.volumes.mounts import Volumes


@dataclass(frozen=True, slots=True)
class Retention:
    """How long is kept what, in seconds."""

    task_log_s: int = 30 * 86_400
    job_s: int = 400 * 86_400
    plan_s: int = 30 * 86_400


@dataclass(frozen=True, slots=True)
class LoopContext:
    """The store, engines and providers by name, the clock, and whom to wake. `nudge` takes names of loops."""

    store: Store
    engines: Mapping[str, Engine]
    keys: KeyRing
    volumes: Volumes
    clock_us: Callable[[], int]
    nudge: Callable[..., None]
    incarnation: str
    platform_organization_id: str
    cell: int = 0
    host_pool: str = ""
    retention: Retention = Retention()
    region: str = ""
    providers: Mapping[str, Provider] = field(default_factory=dict)
