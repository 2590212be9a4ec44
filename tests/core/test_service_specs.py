"""What of a service contradicts itself, and where requests find it."""

from typing import Any

import pytest

from kumoi.core.replica_jobs import replica_job
from kumoi.core.service_specs import (
    job_error_placed,
    service_contradiction,
    service_hosts,
    service_path,
)
from kumoi.model.errors import Invalid
from kumoi.model.jobs import WALL_TIME_S_MAX, HostLossPolicy, PlacementRules, Resources, Spread
from kumoi.model.services import RevisionSpec, RouteSpec, ScaleSpec, Schedule, ServiceSpec

PROJECT = "prj_own"
RUN = RevisionSpec(8_080, ("/bin/serve",), environment={"A": "1"}, resources=Resources(cpu_milli=500))


def spec(**change: Any) -> ServiceSpec:
    return ServiceSpec(**({"run": RUN, "name": "web"} | change))


def night(low: int = 0, high: int = 5, begin: int = 0, end: int = 360) -> Schedule:
    return Schedule((0, 6), begin, end, low, high)


def test_a_plain_service_is_in_order() -> None:
    assert service_contradiction(PROJECT, spec()) is None
    whole = spec(
        scale=ScaleSpec(1, 5, schedules=(night(1, 2), night(5, 5)), pin=0),
        route=RouteSpec(("www.example.jp", "api.example.jp"), "/v2/"),
    )
    assert service_contradiction(PROJECT, whole) is None


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        ({"scale": ScaleSpec(3, 2)}, "replicas_min_above_max", "/scale/min_replicas"),
        ({"scale": ScaleSpec(0, 5, pin=6)}, "pin_above_max", "/scale/pin"),
        (
            {"scale": ScaleSpec(schedules=(night(), night(4, 3)))},
            "replicas_min_above_max",
            "/scale/schedules/1/min_replicas",
        ),
        ({"scale": ScaleSpec(1, schedules=(night(0),))}, "schedule_outside", "/scale/schedules/0"),
        ({"scale": ScaleSpec(0, 4, schedules=(night(),))}, "schedule_outside", "/scale/schedules/0"),
        (
            {"scale": ScaleSpec(schedules=(night(begin=600, end=600),))},
            "schedule_empty",
            "/scale/schedules/0/to_minute",
        ),
        (
            {"run": RevisionSpec(80, ("a",), resources=Resources(wall_time_s=60))},
            "wall_time_of_service",
            "/run/resources/wall_time_s",
        ),
        ({"route": RouteSpec(("localhost",))}, "route_host_reserved", "/route/hosts/0"),
        ({"route": RouteSpec(("a.example", "127.0.0.1"))}, "route_host_reserved", "/route/hosts/1"),
        ({"route": RouteSpec(path="/")}, "route_path_not_yours", "/route/path"),
        ({"route": RouteSpec(path="/prj_other/web")}, "route_path_not_yours", "/route/path"),
        ({"route": RouteSpec(path="/prj_owner")}, "route_path_not_yours", "/route/path"),
        ({"route": RouteSpec(path="/prj_own/../prj_other")}, "route_path_dots", "/route/path"),
        ({"route": RouteSpec(("a.example",), "/a/./b")}, "route_path_dots", "/route/path"),
        ({"route": RouteSpec(("a.example",), "/prj_other/x")}, "route_path_of_project", "/route/path"),
        ({"rules": PlacementRules(spread=Spread())}, "spread_of_service", "/rules/spread"),
    ],
)
def test_a_contradiction_says_what_and_where(change: dict[str, Any], code: str, at: str) -> None:
    found = service_contradiction(PROJECT, spec(**change))
    assert found is not None
    assert (found.code, found.at) == (code, at)


@pytest.mark.parametrize(
    ("route", "hosts", "path"),
    [
        (RouteSpec(), ("",), "/prj_own/web"),
        (RouteSpec(path="/prj_own"), ("",), "/prj_own"),
        (RouteSpec(path="/prj_own/shop/"), ("",), "/prj_own/shop"),
        (RouteSpec(("a.example",)), ("a.example",), "/"),
        (RouteSpec(("a.example",), "/prj_own/x"), ("a.example",), "/prj_own/x"),
        (RouteSpec(("a.example", "b.example", "a.example"), "/x/"), ("a.example", "b.example"), "/x"),
    ],
)
def test_where_requests_find_it(route: RouteSpec, hosts: tuple[str, ...], path: str) -> None:
    asked = spec(route=route)
    assert service_contradiction(PROJECT, asked) is None
    assert (service_hosts(asked), service_path(PROJECT, asked)) == (hosts, path)


def test_a_replica_is_a_job_that_lasts_and_is_not_repeated() -> None:
    job = replica_job(spec(priority=7, pool="fast"), RUN)
    assert (job.name, job.command, job.port, job.pool, job.priority) == ("web", RUN.command, 8_080, "fast", 7)
    assert job.environment == RUN.environment
    assert job.resources == Resources(cpu_milli=500, wall_time_s=WALL_TIME_S_MAX)
    assert (job.array_size, job.retries.limit, job.on_host_lost) == (1, 0, HostLossPolicy.WAIT)


@pytest.mark.parametrize(
    ("of_job", "of_service"),
    [
        ("/resources/cpu_milli", "/run/resources/cpu_milli"),
        ("/command", "/run/command"),
        ("/rules/sites", "/rules/sites"),
        ("/pool", "/pool"),
        (None, None),
    ],
)
def test_an_error_about_a_replica_names_the_place_in_the_service(
    of_job: str | None, of_service: str | None
) -> None:
    assert job_error_placed(Invalid("x", "x", at=of_job)).at == of_service
