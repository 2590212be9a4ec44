"""Whether a pool could ever run a job, even if it were empty: asked when the job is submitted.

What can never run is refused at once, with the nearest thing that would do.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kumoi.core.placement.device_match import device_serves, devices_choose
from kumoi.model.errors import Invalid
from kumoi.model.jobs import (
    DEVICE_MILLI,
    DeviceRequest,
    GangScope,
    JobSpec,
    LatencyLimit,
    Resources,
    SpreadOver,
)
from kumoi.model.places import ENGINES_OF_COMMANDS, ENGINES_OF_CONTAINERS, IsolationClass

_STRENGTH = {isolation: strength for strength, isolation in enumerate(IsolationClass)}


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """`count` devices of a host that are alike."""

    kind: str
    model: str
    partition: str
    count: int


@dataclass(frozen=True, slots=True)
class HostGroup:
    """`count` hosts of a pool that are alike and near each other, dedicated to one organization or to none.

    A host without a failure domain is one by itself.
    """

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    devices: tuple[DeviceGroup, ...] = ()
    fabric_island: str = ""
    failure_domain: str = ""
    count: int = 1
    dedicated_to: str = ""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What a pool promises, whatever runs there now. An `engine` that is not known here may run anything."""

    name: str
    site: str
    country: str
    latencies: dict[str, int]
    isolation: IsolationClass
    network_allowed: bool
    data_classes: tuple[str, ...]
    engine: str = ""


@dataclass(frozen=True, slots=True)
class DataBinding:
    """What binds a project's data to a place."""

    data_class: str
    jurisdiction: str


def job_contradiction(spec: JobSpec) -> Invalid | None:
    """What in the job contradicts itself, whatever pools there are."""
    rules = spec.rules
    if not spec.command and spec.image is None:
        return Invalid(
            "command_missing", "there is nothing to run; give a `command`, or an `image`", at="/command"
        )
    for index, request in enumerate(spec.resources.devices):
        if request.milli < DEVICE_MILLI and (request.count > 1 or request.partition is not None):
            return Invalid(
                "device_share_several",
                "a share is of one whole device: ask for count 1 and no partition, or for milli 1000",
                at=f"/resources/devices/{index}/milli",
            )
    if rules.gang_within is not None and not spec.gang:
        return Invalid(
            "gang_within_alone",
            "gang_within says how near the tasks of a gang must be; set `gang` or leave it out",
            at="/rules/gang_within",
        )
    if spec.gang and rules.gang_within is GangScope.HOST and rules.spread is not None:
        room = rules.spread.most
        if room < spec.array_size:
            return Invalid(
                "gang_near_and_spread",
                "a gang of {size} tasks within one host cannot have at most {most} in one domain; "
                "drop `spread` or choose a wider `gang_within`",
                at="/rules/spread",
                size=spec.array_size,
                most=room,
            )
    return None


def pool_mismatch(pool: PoolFacts, spec: JobSpec, bound: DataBinding) -> Invalid | None:
    """The first promise of the pool that does not satisfy the job."""
    checks = (
        _image_mismatch(pool, spec),
        _place_mismatch(pool, spec),
        _latency_mismatch(pool, spec.rules.latency),
        _promise_mismatch(pool, spec),
        _data_mismatch(pool, bound),
    )
    return next((mismatch for mismatch in checks if mismatch is not None), None)


def hosts_open_to(
    groups: Iterable[HostGroup], organization_id: str, *, dedicated: bool
) -> tuple[HostGroup, ...]:
    """The hosts that an organization's work may be on: its dedicated ones, and unless it asks for these, all
    that are nobody's."""
    allowed = (organization_id,) if dedicated else (organization_id, "")
    return tuple(group for group in groups if group.dedicated_to in allowed)


def hosts_mismatch(pool: PoolFacts, groups: Sequence[HostGroup], spec: JobSpec) -> Invalid | None:
    """Why none of the hosts (`hosts_open_to` the job's organization), were they empty, could run the job.

    A pool without hosts may get some; but what asks for dedicated hosts is refused until there are some.
    """
    if not groups:
        return _dedicated_lacking(pool) if spec.rules.dedicated else None
    on_one = _tasks_on_each(groups, spec.resources)
    if not any(on_one):
        return _nearest(pool, groups, spec.resources)
    return _gang_mismatch(pool, groups, on_one, spec) if spec.gang else None


def _image_mismatch(pool: PoolFacts, spec: JobSpec) -> Invalid | None:
    if spec.image is not None and pool.engine in ENGINES_OF_COMMANDS:
        return Invalid(
            "image_needs_containers",
            "the pool {pool} runs commands in sandboxes, not images; choose a pool of the engine {engine}, "
            "or give a command alone",
            at="/image",
            pool=pool.name,
            engine=ENGINES_OF_CONTAINERS[0],
        )
    if spec.image is None and pool.engine in ENGINES_OF_CONTAINERS:
        return Invalid(
            "container_needs_image",
            "the pool {pool} runs containers; give an `image` by digest, or choose a pool of the "
            "engine {engine}",
            at="/image",
            pool=pool.name,
            engine=ENGINES_OF_COMMANDS[0],
        )
    return None


def _place_mismatch(pool: PoolFacts, spec: JobSpec) -> Invalid | None:
    rules = spec.rules
    if rules.sites and pool.site not in rules.sites:
        return Invalid(
            "pool_site",
            "the pool {pool} is at the site {site}, which the job's rules leave out; choose another pool",
            at="/rules/sites",
            pool=pool.name,
            site=pool.site,
        )
    if rules.jurisdictions and pool.country not in rules.jurisdictions:
        return Invalid(
            "pool_jurisdiction",
            "the pool {pool} is in {country}, which the job's rules leave out; choose another pool",
            at="/rules/jurisdictions",
            pool=pool.name,
            country=pool.country,
        )
    return None


def _latency_mismatch(pool: PoolFacts, limits: Sequence[LatencyLimit]) -> Invalid | None:
    for index, limit in enumerate(limits):
        declared = pool.latencies.get(limit.to)
        if declared is None:
            return Invalid(
                "pool_latency_unknown",
                "the site of the pool {pool} declares no latency to {to}; it declares: {known}",
                at=f"/rules/latency/{index}/to",
                pool=pool.name,
                to=limit.to,
                known=", ".join(sorted(pool.latencies)) or "-",
            )
        if declared > limit.max_ms:
            return Invalid(
                "pool_latency",
                "the site of the pool {pool} is {declared} ms from {to}, more than {most} ms; "
                "choose another pool or allow {declared} ms",
                at=f"/rules/latency/{index}/max_ms",
                pool=pool.name,
                to=limit.to,
                declared=declared,
                most=limit.max_ms,
            )
    return None


def _promise_mismatch(pool: PoolFacts, spec: JobSpec) -> Invalid | None:
    if spec.network and not pool.network_allowed:
        return Invalid(
            "network_not_allowed",
            "the pool {pool} gives its work no network; leave `network` out or choose another pool",
            at="/network",
            pool=pool.name,
        )
    wanted = spec.rules.isolation
    # A whole host for one organization can be had in any pool: placement keeps the others away.
    if wanted is None or wanted is IsolationClass.HOST or _STRENGTH[pool.isolation] >= _STRENGTH[wanted]:
        return None
    return Invalid(
        "pool_isolation",
        "the pool {pool} isolates by {offered}, the job asks for {wanted}; choose another pool, or `host`",
        at="/rules/isolation",
        pool=pool.name,
        offered=pool.isolation,
        wanted=wanted,
    )


def _data_mismatch(pool: PoolFacts, bound: DataBinding) -> Invalid | None:
    """Data stays in its jurisdiction unless the pool takes its class by name (T-08, M-11)."""
    if bound.data_class in pool.data_classes:
        return None
    if not pool.data_classes and pool.country == bound.jurisdiction:
        return None
    return Invalid(
        "pool_data_class",
        "the pool {pool} in {country} does not take data of the class {data_class} bound to {jurisdiction}; "
        "choose a pool in {jurisdiction} or one that names the class",
        at="/pool",
        pool=pool.name,
        country=pool.country,
        data_class=bound.data_class,
        jurisdiction=bound.jurisdiction,
    )


def _dedicated_lacking(pool: PoolFacts) -> Invalid:
    return Invalid(
        "dedicated_none",
        "no host of the pool {pool} is dedicated to the organization; leave `dedicated` out, "
        "or ask the operator for hosts",
        at="/rules/dedicated",
        pool=pool.name,
    )


def _tasks_on_each(groups: Iterable[HostGroup], wanted: Resources) -> list[int]:
    """`_tasks_on` of every group, counted once for hosts that differ only in where they are."""
    counted: dict[tuple[object, ...], int] = {}
    found = []
    for group in groups:
        room = group.cpu_milli, group.memory_bytes, group.disk_bytes, group.devices
        if room not in counted:
            counted[room] = _tasks_on(group, wanted)
        found.append(counted[room])
    return found


def _tasks_on(group: HostGroup, wanted: Resources) -> int:
    """How many such tasks an empty host of the group holds."""
    most = min(group.cpu_milli // wanted.cpu_milli, group.memory_bytes // wanted.memory_bytes)
    if wanted.disk_bytes:
        most = min(most, group.disk_bytes // wanted.disk_bytes)
    for request in wanted.devices:
        most = min(most, _requests_on(group, request, wanted.devices))
    if len(wanted.devices) > 1 and most and not _devices_together(group, wanted.devices):
        return 0
    return most


def _devices_together(group: HostGroup, requests: Sequence[DeviceRequest]) -> bool:
    """Whether each request of one task finds devices of its own: two shares are of two devices."""
    slots = [device for device in group.devices for _ in range(device.count)]
    return devices_choose(slots, [DEVICE_MILLI] * len(slots), requests) is not None


def _requests_on(group: HostGroup, request: DeviceRequest, together: Sequence[DeviceRequest]) -> int:
    """An upper bound: devices that serve this request, over all requests that no others serve."""
    serving = [device for device in group.devices if device_serves(device, request)]
    count = sum(device.count for device in serving)
    if request.milli < DEVICE_MILLI:
        return count * (DEVICE_MILLI // request.milli)
    rest = [device for device in group.devices if device not in serving]
    bound = [other for other in together if not any(device_serves(device, other) for device in rest)]
    return count // max(1, sum(other.count for other in bound if other.milli == DEVICE_MILLI))


def _nearest(pool: PoolFacts, groups: Sequence[HostGroup], wanted: Resources) -> Invalid:
    """The refusal of a task that no host could hold, with the nearest thing that would fit."""
    largest = {
        "cpu_milli": max(group.cpu_milli for group in groups),
        "memory_bytes": max(group.memory_bytes for group in groups),
        "disk_bytes": max(group.disk_bytes for group in groups),
    }
    for name, most in largest.items():
        if getattr(wanted, name) > most:
            return Invalid(
                "host_too_small",
                "no host of the pool {pool} has {wanted} {resource}; ask for at most {most}",
                at=f"/resources/{name}",
                pool=pool.name,
                resource=name,
                wanted=getattr(wanted, name),
                most=most,
            )
    for index, request in enumerate(wanted.devices):
        refusal = _devices_nearest(pool, groups, request, f"/resources/devices/{index}")
        if refusal is not None:
            return refusal
    best = max(groups, key=lambda group: _nearness(group, wanted))
    return Invalid(
        "host_combination",
        "no host of the pool {pool} has all of this together; the nearest has {cpu_milli} cpu_milli, "
        "{memory_bytes} memory_bytes, {disk_bytes} disk_bytes and the devices: {devices}",
        at="/resources",
        pool=pool.name,
        cpu_milli=best.cpu_milli,
        memory_bytes=best.memory_bytes,
        disk_bytes=best.disk_bytes,
        devices=_devices_text(best.devices),
    )


def _devices_nearest(
    pool: PoolFacts, groups: Sequence[HostGroup], request: DeviceRequest, at: str
) -> Invalid | None:
    most = max(
        sum(device.count for device in group.devices if device_serves(device, request)) for group in groups
    )
    if most == 0:
        return Invalid(
            "device_unknown",
            "no host of the pool {pool} has such a device; its hosts have: {known}",
            at=at,
            pool=pool.name,
            known=_devices_text(device for group in groups for device in group.devices),
        )
    if request.count > most:
        return Invalid(
            "device_too_many",
            "no host of the pool {pool} has {count} such devices; ask for at most {most} for each task",
            at=f"{at}/count",
            pool=pool.name,
            count=request.count,
            most=most,
        )
    return None


def _gang_mismatch(
    pool: PoolFacts, groups: Sequence[HostGroup], on_one: Sequence[int], spec: JobSpec
) -> Invalid | None:
    most = max(_gang_places(groups, on_one, spec).values())
    if most >= spec.array_size:
        return None
    return Invalid(
        "gang_too_large_for_pool",
        "the pool {pool} could hold at most {most} of the {size} tasks of this gang together, were it empty; "
        "ask for {most}, for less for each task, or for a wider gang_within",
        at="/array_size",
        pool=pool.name,
        most=most,
        size=spec.array_size,
    )


def _gang_places(groups: Sequence[HostGroup], on_one: Sequence[int], spec: JobSpec) -> dict[str, int]:
    """How many tasks each place that the gang may be in holds: a host, an island, or the whole pool.

    `on_one` are the tasks that one host of each group holds.
    """
    within, spread = spec.rules.gang_within, spec.rules.spread
    domains: defaultdict[tuple[str, str], int] = defaultdict(int)
    for number, (group, tasks) in enumerate(zip(groups, on_one, strict=True)):
        if spread is not None and (spread.over is SpreadOver.HOST or not group.failure_domain):
            tasks = min(tasks, spread.most)
        place = ""
        if within is GangScope.HOST or (within is GangScope.FABRIC_ISLAND and not group.fabric_island):
            place = f"/{number}"
        elif within is GangScope.FABRIC_ISLAND:
            place = group.fabric_island
        hosts = 1 if place.startswith("/") else group.count
        domains[place, group.failure_domain] += tasks * hosts
    places: defaultdict[str, int] = defaultdict(int)
    for (place, domain), tasks in domains.items():
        by_domain = spread is not None and spread.over is SpreadOver.FAILURE_DOMAIN and domain
        places[place] += min(tasks, spread.most) if spread is not None and by_domain else tasks
    return places


def _nearness(group: HostGroup, wanted: Resources) -> tuple[int, int, int]:
    served = sum(
        min(request.count, sum(d.count for d in group.devices if device_serves(d, request)))
        for request in wanted.devices
    )
    return served, min(group.cpu_milli, wanted.cpu_milli), min(group.memory_bytes, wanted.memory_bytes)


def _devices_text(devices: Iterable[DeviceGroup]) -> str:
    """`8 gpu H200, 7 gpu H200/1g.18gb`: the most of each that one host has."""
    most: dict[str, int] = {}
    for device in devices:
        name = f"{device.kind} {device.model}" + (f"/{device.partition}" if device.partition else "")
        most[name] = max(most.get(name, 0), device.count)
    return ", ".join(f"{count} {name}" for name, count in sorted(most.items())) or "-"
