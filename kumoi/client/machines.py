"""Machines of providers, and how pools borrow them."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, get, pages, path, put, tell
from kumoi.model.machines import Autoscale, AutoscaleWrite, Machine


def machine_list(pool: str | None = None, *, limit: int | None = None) -> Stream[Machine]:
    """Machines of a pool (id), or of all; those that have ended too."""
    return pages(Machine, path("machines"), limit, pool=pool)


def machine_read(machine: str) -> Flow[Machine]:
    """One machine, by id or name."""
    return ask(Machine, get(path("machines", machine)))


def autoscale_read(pool: str) -> Flow[Autoscale]:
    """How a pool's machines follow demand."""
    return ask(Autoscale, get(path("pools", pool, "autoscale")))


def autoscale_put(pool: str, body: AutoscaleWrite, *, version: int | None = None) -> Flow[Autoscale]:
    """Let a pool borrow machines, if `version` is still the version of its settings."""
    match = None if version is None else {"If-Match": f'"{version}"'}
    return ask(Autoscale, put(path("pools", pool, "autoscale"), body, match))


def autoscale_delete(pool: str, version: int) -> Flow[None]:
    """Let a pool borrow no more machines, if `version` is still the version of its settings."""
    return tell(delete(path("pools", pool, "autoscale"), version))


class Machines(Group[D]):
    """`client.machines`"""

    list = Streaming(machine_list)
    get = Operation(machine_read)


class Autoscales(Group[D]):
    """`client.autoscales`"""

    get = Operation(autoscale_read)
    put = Operation(autoscale_put)
    delete = Operation(autoscale_delete)
