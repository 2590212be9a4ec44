"""Requests a second and their times with one replica: through HAProxy, the activator alone, Ray Serve.

The same ASGI application is behind each, loaded by wrk from 1, 16 and 64 connections. With the plane: how
soon four replicas serve where one did, how soon a service at zero answers, and how many requests that may be
repeated are lost while replicas and the plane are killed. `direct.` is the application with nothing before
it, `netns.` is HAProxy's path into a network namespace, as replicas of a root plane have one.
"""

import os
import sys

from report import Figure, Report, arguments_make, machine_describe, report_print, say
from serve_load import (
    CLIENTS,
    Load,
    gateway,
    network_namespace,
    ray_serve,
    ray_version,
    replica,
    wrk_run,
)
from serve_plane import Measured, plane_measure

RAY_TIMES = 12.0
SCALE_S_MAX = 1.5
COLD_START_S_MAX = 0.5
ROUNDS = 20
ACTIVATOR_SHARE = 0.4

Loads = dict[str, dict[int, Load]]


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of scaling, rollouts and kills")
    parser.add_argument("--without-ray", action="store_true", help="leave the peer out")
    options = parser.parse_args()
    machine = machine_describe()
    planes = plane_figures(plane_measure(options.rounds)) if options.rounds else []
    loads = gateways_measure(options.seconds)
    if not options.without_ray:
        machine["ray"] = ray_version()
        say("Ray Serve")
        with ray_serve() as port:
            loads["ray."] = loads_measure(port, "/", options.seconds)
    machine["load_after"] = round(os.getloadavg()[0], 1)
    figures = [
        *planes,
        *figures_make(loads, "", goal_rps=times(loads.get("ray."), RAY_TIMES), reference="ray."),
        *figures_make(loads, "activator.", goal_rps=times(loads[""], ACTIVATOR_SHARE), reference="ray."),
        *(figure for name in ("ray.", "direct.", "netns.") for figure in figures_make(loads, name)),
    ]
    report_print(Report("serve", options.seed, tuple(figures)), machine, as_json=options.json)
    return 0


def plane_figures(measured: Measured) -> list[Figure]:
    """What a service on a plane does under load."""
    for reason in measured.reasons:
        say(f"lost: {reason}")
    return [
        Figure("cold_start_s", measured.cold_start_s, "s", "lower", COLD_START_S_MAX),
        Figure("scale_1_to_4_s", measured.scale_1_to_4_s, "s", "lower", SCALE_S_MAX),
        Figure("lost", measured.lost, "requests", "lower", 0),
        Figure("answered", measured.answered, "requests", "higher"),
    ]


def gateways_measure(seconds: float) -> Loads:
    """The application directly, behind the activator, behind HAProxy, and there in a network of its own."""
    loads: Loads = {}
    with replica() as served:
        say("the application alone")
        loads["direct."] = loads_measure(served, "/", seconds)
        say("the activator alone")
        with gateway(served, "--no-haproxy") as port:
            loads["activator."] = loads_measure(port, "/p/a", seconds)
        say("HAProxy")
        with gateway(served) as port:
            loads[""] = loads_measure(port, "/p/a", seconds)
    if os.geteuid() == 0:
        say("HAProxy into a network namespace")
        with (
            network_namespace() as name,
            replica(name) as served,
            gateway(served, namespace=name) as port,
        ):
            loads["netns."] = loads_measure(port, "/p/a", seconds)
    return loads


def loads_measure(port: int, path: str, seconds: float) -> dict[int, Load]:
    """Every number of clients, after a short load that is not counted."""
    wrk_run(port, path, CLIENTS[1], 1)
    return {clients: wrk_run(port, path, clients, seconds) for clients in CLIENTS}


def times(loads: dict[int, Load] | None, factor: float) -> dict[int, float]:
    """Goals from another's rates, at 16 connections."""
    return {16: loads[16].rps * factor} if loads else {}


def figures_make(
    loads: Loads, name: str, goal_rps: dict[int, float] | None = None, reference: str = ""
) -> list[Figure]:
    """Rates and times of one server; beside them those of the reference."""
    figures = []
    other = loads.get(reference) if reference else None
    for clients, load in loads.get(name, {}).items():
        goal = (goal_rps or {}).get(clients)
        peer = other[clients] if other else None
        figures += [
            Figure(f"{name}rps_c{clients}", load.rps, "/s", "higher", goal, peer.rps if peer else None),
            Figure(
                f"{name}p99_ms_c{clients}",
                load.p99_ms,
                "ms",
                "lower",
                peer.p99_ms if peer and clients == 16 and not name else None,
                peer.p99_ms if peer else None,
            ),
            Figure(f"{name}p50_ms_c{clients}", load.p50_ms, "ms", "lower"),
        ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
