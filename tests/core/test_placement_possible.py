"""What can never run is refused with the nearest thing that would; what an empty pool can run never is."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_pools import mostly

from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.possible import (
    DataBinding,
    DeviceGroup,
    HostGroup,
    PoolFacts,
    hosts_mismatch,
    hosts_open_to,
    job_contradiction,
    pool_mismatch,
)
from kumoi.core.placement.snapshot import DeviceView, HostView, PoolView, TaskView
from kumoi.model.errors import Invalid
from kumoi.model.jobs import (
    DEVICE_MILLI,
    DeviceRequest,
    GangScope,
    JobSpec,
    LatencyLimit,
    PlacementRules,
    Resources,
    Spread,
    SpreadOver,
)
from kumoi.model.places import IsolationClass

SOME = settings(max_examples=300, deadline=None)
GIB = 1 << 30
POOL = PoolFacts("default", "tokyo-1", "JP", {"osaka": 9}, IsolationClass.CONTAINER, False, ())
BOUND = DataBinding("general", "JP")
JOB = JobSpec(command=("true",))
IMAGE = "localhost/x@sha256:" + "0" * 64

device_groups = st.builds(
    DeviceGroup,
    mostly("gpu", "npu"),
    st.sampled_from(("a100", "h200")),
    mostly("", "1g.18gb"),
    st.integers(1, 3),
)
host_groups = st.builds(
    HostGroup,
    st.sampled_from((2_000, 8_000)),
    st.sampled_from((4 * GIB, 16 * GIB)),
    st.sampled_from((0, GIB)),
    st.lists(device_groups, max_size=2, unique_by=lambda one: (one.kind, one.model, one.partition)).map(
        tuple
    ),
    st.sampled_from(("", "island-1", "island-2")),
    st.sampled_from(("", "rack-1", "rack-2")),
    st.integers(1, 2),
)


@st.composite
def requests(draw: st.DrawFn) -> DeviceRequest:
    milli = draw(mostly(DEVICE_MILLI, 300, 500))
    is_whole = milli == DEVICE_MILLI
    return DeviceRequest(
        draw(mostly("gpu", "npu")),
        draw(st.integers(1, 3)) if is_whole else 1,
        draw(st.sampled_from(((), ("a100",), ("h200",), ("a100", "h200")))),
        milli,
        draw(mostly(None, "1g.18gb")) if is_whole else None,
    )


@st.composite
def specs(draw: st.DrawFn, requests_max: int) -> JobSpec:
    is_gang = draw(st.booleans())
    spread = draw(st.one_of(st.none(), st.builds(Spread, st.sampled_from(SpreadOver), st.integers(1, 2))))
    return JobSpec(
        command=("true",),
        gang=is_gang,
        array_size=draw(st.integers(1, 5)),
        resources=Resources(
            cpu_milli=draw(st.sampled_from((1_000, 2_000, 4_000, 9_000))),
            memory_bytes=draw(st.sampled_from((GIB, 5 * GIB))),
            disk_bytes=draw(mostly(0, 1, 2 * GIB)),
            devices=tuple(draw(st.lists(requests(), max_size=requests_max))),
        ),
        rules=PlacementRules(spread=spread, gang_within=draw(mostly(None, *GangScope)) if is_gang else None),
    )


def empty_pool(groups: list[HostGroup]) -> PoolPlacer:
    """A placer of these hosts with nothing on them."""
    views: list[HostView] = []
    for group in groups:
        for _ in range(group.count):
            host_id = f"host_{len(views)}"
            devices = [
                DeviceView(f"{host_id}_{kind}_{model}_{partition}_{number}", kind, model, partition)
                for kind, model, partition, count in (
                    (one.kind, one.model, one.partition, one.count) for one in group.devices
                )
                for number in range(count)
            ]
            views.append(
                HostView(
                    host_id,
                    host_id,
                    0,
                    group.cpu_milli,
                    group.memory_bytes,
                    group.disk_bytes,
                    tuple(devices),
                    failure_domain=group.failure_domain,
                    fabric_island=group.fabric_island,
                )
            )
    placer = PoolPlacer(PoolView("pool_1"), "best_fit")
    placer.hosts_put(views)
    return placer


def is_placed(groups: list[HostGroup], spec: JobSpec) -> bool:
    """Whether placement puts the gang, or one task of the job, on the hosts as long as they are empty."""
    spread = spec.rules.spread
    task = TaskView(
        "task",
        "job",
        "org",
        spec.resources.cpu_milli,
        spec.resources.memory_bytes,
        spec.resources.disk_bytes,
        spec.resources.devices,
        gang="job" if spec.gang else None,
        gang_within=spec.rules.gang_within,
        spread_over=spread.over if spread else None,
        spread_most=spread.most if spread else 1,
    )
    tasks = [replace(task, id=f"task_{number}") for number in range(spec.array_size if spec.gang else 1)]
    return not empty_pool(groups).place(tasks, 0)[1]


@SOME
@given(st.lists(host_groups, min_size=1, max_size=3), specs(3))
def test_what_is_refused_would_not_fit_were_the_pool_empty(groups: list[HostGroup], spec: JobSpec) -> None:
    if job_contradiction(spec) is not None or hosts_mismatch(POOL, groups, spec) is not None:
        assert not is_placed(groups, spec)


@SOME
@given(st.lists(host_groups, min_size=1, max_size=3), specs(1))
def test_what_does_not_fit_an_empty_pool_is_refused(groups: list[HostGroup], spec: JobSpec) -> None:
    """Of a gang with several requests a bound is looked at, of one request all there is to know."""
    if not is_placed(groups, spec):
        assert hosts_mismatch(POOL, groups, spec) is not None


@SOME
@given(st.lists(host_groups, min_size=1, max_size=3), specs(3))
def test_a_task_whose_requests_an_empty_host_cannot_serve_is_refused(
    groups: list[HostGroup], spec: JobSpec
) -> None:
    single = msgspec.structs.replace(spec, gang=False)
    if not is_placed(groups, single):
        assert hosts_mismatch(POOL, groups, single) is not None


HOST = HostGroup(8_000, 16 * GIB, GIB, (DeviceGroup("gpu", "h200", "", 4),), "island-1", "rack-1", 2)
BARE = HostGroup(32_000, 64 * GIB, 4 * GIB, (), "island-2", "rack-2")
PARTS = replace(HOST, devices=(DeviceGroup("gpu", "h200", "1g.18gb", 7), DeviceGroup("npu", "x1", "", 1)))

MIXED = replace(HOST, devices=(DeviceGroup("gpu", "a100", "", 1), DeviceGroup("gpu", "h200", "", 1)))


def spec_of(**resources: Any) -> JobSpec:
    return JobSpec(command=("true",), resources=Resources(**resources))


def gang_of(size: int, **rules: Any) -> JobSpec:
    return JobSpec(
        command=("true",),
        gang=True,
        array_size=size,
        resources=Resources(cpu_milli=4_000, memory_bytes=GIB),
        rules=PlacementRules(**rules),
    )


def gpus(count: int = 1, **more: Any) -> tuple[DeviceRequest, ...]:
    return (DeviceRequest("gpu", count, **more),)


@pytest.mark.parametrize(
    ("groups", "spec", "code", "at", "params"),
    [
        ([HOST, BARE], spec_of(cpu_milli=32_001), "host_too_small", "/resources/cpu_milli",
         {"resource": "cpu_milli", "wanted": 32_001, "most": 32_000}),
        ([HOST], spec_of(memory_bytes=17 * GIB), "host_too_small", "/resources/memory_bytes",
         {"resource": "memory_bytes", "most": 16 * GIB}),
        ([HOST, BARE], spec_of(disk_bytes=5 * GIB), "host_too_small", "/resources/disk_bytes",
         {"resource": "disk_bytes", "most": 4 * GIB}),
        ([HOST, BARE], spec_of(devices=gpus(5)), "device_too_many", "/resources/devices/0/count",
         {"count": 5, "most": 4}),
        ([HOST, PARTS], spec_of(devices=gpus(models=("b300",))), "device_unknown", "/resources/devices/0",
         {"known": "4 gpu h200, 7 gpu h200/1g.18gb, 1 npu x1"}),
        ([HOST], spec_of(devices=gpus(partition="1g.18gb")), "device_unknown", "/resources/devices/0",
         {"known": "4 gpu h200"}),
        ([BARE], spec_of(devices=gpus()), "device_unknown", "/resources/devices/0", {"known": "-"}),
        ([HOST, PARTS], spec_of(devices=(*gpus(), *gpus(8, partition="1g.18gb"))), "device_too_many",
         "/resources/devices/1/count", {"most": 7}),
        ([HOST, BARE], spec_of(cpu_milli=9_000, devices=gpus()), "host_combination", "/resources",
         {"cpu_milli": 8_000, "memory_bytes": 16 * GIB, "devices": "4 gpu h200"}),
        ([HOST], spec_of(devices=(*gpus(3), *gpus(2))), "host_combination", "/resources",
         {"devices": "4 gpu h200"}),
        ([MIXED], spec_of(devices=(*gpus(models=("a100",)), *gpus(2))), "host_combination", "/resources",
         {"devices": "1 gpu a100, 1 gpu h200"}),
        ([replace(HOST, devices=(DeviceGroup("gpu", "h200", "", 1),))],
         spec_of(devices=(*gpus(milli=500), *gpus(milli=500))), "host_combination", "/resources",
         {"devices": "1 gpu h200"}),
        ([HOST], gang_of(5), "gang_too_large_for_pool", "/array_size", {"most": 4, "size": 5}),
        ([HOST, BARE], gang_of(13), "gang_too_large_for_pool", "/array_size", {"most": 12, "size": 13}),
        ([HOST, BARE], gang_of(9, gang_within=GangScope.HOST), "gang_too_large_for_pool", "/array_size",
         {"most": 8, "size": 9}),
        ([HOST], gang_of(3, gang_within=GangScope.HOST), "gang_too_large_for_pool", "/array_size",
         {"most": 2, "size": 3}),
        ([HOST], gang_of(5, gang_within=GangScope.FABRIC_ISLAND), "gang_too_large_for_pool", "/array_size",
         {"most": 4, "size": 5}),
        ([replace(HOST, fabric_island="")], gang_of(3, gang_within=GangScope.FABRIC_ISLAND),
         "gang_too_large_for_pool", "/array_size", {"most": 2, "size": 3}),
        ([HOST, BARE], gang_of(4, spread=Spread(SpreadOver.HOST, 1)), "gang_too_large_for_pool",
         "/array_size", {"most": 3, "size": 4}),
        ([HOST, BARE], gang_of(3, spread=Spread(SpreadOver.FAILURE_DOMAIN, 1)), "gang_too_large_for_pool",
         "/array_size", {"most": 2, "size": 3}),
    ],
)  # fmt: skip
def test_a_refusal_names_the_nearest_thing_that_would_fit(
    groups: list[HostGroup], spec: JobSpec, code: str, at: str, params: dict[str, Any]
) -> None:
    error = hosts_mismatch(POOL, groups, spec)
    assert error is not None
    assert (error.code, error.at, error.params["pool"]) == (code, at, "default")
    assert {name: error.params[name] for name in params} == params
    assert str(error)


@pytest.mark.parametrize(
    ("groups", "spec"),
    [
        ([], spec_of(cpu_milli=1_000_000)),
        ([HOST, BARE], spec_of(cpu_milli=32_000)),
        ([HOST], spec_of(disk_bytes=GIB, devices=gpus(4, models=("a100", "h200")))),
        ([HOST], spec_of(devices=gpus(milli=1))),
        ([HOST], spec_of(devices=(*gpus(2), *gpus(2)))),
        ([PARTS], spec_of(devices=(*gpus(7, partition="1g.18gb"), DeviceRequest("npu")))),
        ([MIXED], spec_of(devices=(*gpus(models=("a100",)), *gpus()))),
        ([MIXED], spec_of(devices=(*gpus(), *gpus(models=("a100",))))),
        ([HOST, BARE], gang_of(12)),
        ([HOST, BARE], gang_of(8, gang_within=GangScope.HOST)),
        ([HOST], gang_of(4, gang_within=GangScope.FABRIC_ISLAND)),
        ([replace(HOST, failure_domain="")], gang_of(2, spread=Spread(SpreadOver.FAILURE_DOMAIN, 1))),
    ],
)
def test_what_fits_is_not_refused(groups: list[HostGroup], spec: JobSpec) -> None:
    assert hosts_mismatch(POOL, groups, spec) is None
    assert not groups or is_placed(groups, spec)


OWN = replace(HOST, dedicated_to="org_a")
OTHERS = replace(HOST, devices=(DeviceGroup("gpu", "b300", "", 8),), dedicated_to="org_b")


@pytest.mark.parametrize(
    ("dedicated", "open_to"), [(False, (HOST, OWN)), (True, (OWN,))]
)  # fmt: skip
def test_hosts_of_others_do_not_count(dedicated: bool, open_to: tuple[HostGroup, ...]) -> None:
    assert hosts_open_to((HOST, OWN, OTHERS), "org_a", dedicated=dedicated) == open_to


def test_work_for_dedicated_hosts_is_refused_where_there_are_none() -> None:
    check(hosts_mismatch(POOL, (), rules(dedicated=True)), "dedicated_none", "/rules/dedicated", {})
    assert hosts_mismatch(POOL, (OWN,), rules(dedicated=True)) is None


def rules(**more: Any) -> JobSpec:
    return JobSpec(command=("true",), rules=PlacementRules(**more))


@pytest.mark.parametrize(
    ("spec", "code", "at"),
    [
        (JOB, None, None),
        (spec_of(devices=(*gpus(), *gpus(2, milli=500))), "device_share_several",
         "/resources/devices/1/milli"),
        (spec_of(devices=gpus(milli=500, partition="1g.18gb")), "device_share_several",
         "/resources/devices/0/milli"),
        (spec_of(devices=gpus(milli=500)), None, None),
        (rules(gang_within=GangScope.SITE), "gang_within_alone", "/rules/gang_within"),
        (gang_of(3, gang_within=GangScope.HOST, spread=Spread(SpreadOver.HOST, 2)), "gang_near_and_spread",
         "/rules/spread"),
        (gang_of(2, gang_within=GangScope.HOST, spread=Spread(SpreadOver.HOST, 2)), None, None),
        (gang_of(3, gang_within=GangScope.SITE, spread=Spread(SpreadOver.HOST, 2)), None, None),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(spec: JobSpec, code: str | None, at: str | None) -> None:
    check(job_contradiction(spec), code, at, {})


@pytest.mark.parametrize(
    ("spec", "pool", "bound", "code", "at", "params"),
    [
        (JOB, {}, BOUND, None, None, {}),
        (rules(sites=("tokyo-1", "x")), {}, BOUND, None, None, {}),
        (rules(sites=("x",)), {}, BOUND, "pool_site", "/rules/sites", {"site": "tokyo-1"}),
        (rules(jurisdictions=("JP",)), {}, BOUND, None, None, {}),
        (rules(jurisdictions=("DE", "FR")), {}, BOUND, "pool_jurisdiction", "/rules/jurisdictions",
         {"country": "JP"}),
        (rules(latency=(LatencyLimit("osaka", 9),)), {}, BOUND, None, None, {}),
        (rules(latency=(LatencyLimit("osaka", 10), LatencyLimit("osaka", 8))), {}, BOUND, "pool_latency",
         "/rules/latency/1/max_ms", {"declared": 9, "most": 8, "to": "osaka"}),
        (rules(latency=(LatencyLimit("berlin", 99),)), {}, BOUND, "pool_latency_unknown",
         "/rules/latency/0/to", {"known": "osaka"}),
        (rules(latency=(LatencyLimit("berlin", 99),)), {"latencies": {}}, BOUND, "pool_latency_unknown",
         "/rules/latency/0/to", {"known": "-"}),
        (JobSpec(command=("true",), network=True), {}, BOUND, "network_not_allowed", "/network", {}),
        (JobSpec(command=("true",), network=True), {"network_allowed": True}, BOUND, None, None, {}),
        (rules(isolation=IsolationClass.PROCESS), {}, BOUND, None, None, {}),
        (rules(isolation=IsolationClass.CONTAINER), {}, BOUND, None, None, {}),
        (rules(isolation=IsolationClass.VM), {}, BOUND, "pool_isolation", "/rules/isolation",
         {"offered": "container", "wanted": "vm"}),
        (rules(isolation=IsolationClass.HOST), {}, BOUND, None, None, {}),
        (JobSpec(image=IMAGE), {"engine": "sandbox"}, BOUND, "image_needs_containers", "/image",
         {"engine": "podman"}),
        (JOB, {"engine": "podman"}, BOUND, "container_needs_image", "/image", {"engine": "sandbox"}),
        (JobSpec(image=IMAGE), {"engine": "podman"}, BOUND, None, None, {}),
        (JobSpec(command=("x",), image=IMAGE), {"engine": "podman"}, BOUND, None, None, {}),
        (JOB, {"engine": "sandbox"}, BOUND, None, None, {}),
        (JobSpec(image=IMAGE), {"engine": "other"}, BOUND, None, None, {}),
        (JOB, {}, DataBinding("general", "DE"), "pool_data_class", "/pool",
         {"country": "JP", "jurisdiction": "DE"}),
        (JOB, {"data_classes": ("general",)}, DataBinding("general", "DE"), None, None, {}),
        (JOB, {"data_classes": ("secret",)}, BOUND, "pool_data_class", "/pool", {"data_class": "general"}),
    ],
)  # fmt: skip
def test_a_pool_that_does_not_keep_a_rule_is_refused(
    spec: JobSpec,
    pool: dict[str, Any],
    bound: DataBinding,
    code: str | None,
    at: str | None,
    params: dict[str, Any],
) -> None:
    check(pool_mismatch(replace(POOL, **pool), spec, bound), code, at, params)


def check(error: Invalid | None, code: str | None, at: str | None, params: dict[str, Any]) -> None:
    """That the error is this one, and can be told."""
    assert (error and error.code, error and error.at) == (code, at)
    if error is not None:
        assert {name: str(error.params[name]) for name in params} == {
            name: str(value) for name, value in params.items()
        }
        assert str(error)
