"""Capacity: the account, its plans, and the device models that it reckons with."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, get, pages, path, post, put, tell
from kumoi.model.capacity import Capacity, CapacityPlan, CapacityPlanCreate, DeviceModel, DeviceModelWrite


def capacity_read(
    *, since: str | None = None, until: str | None = None, count_from: str | None = None
) -> Flow[Capacity]:
    """The account of a period of days in Japan, both included; of the fiscal year where none is given."""
    query = {"from": since, "to": until, "count_from": count_from}
    return ask(Capacity, get(path("capacity"), **query))


def capacity_plan_list(*, limit: int | None = None) -> Stream[CapacityPlan]:
    """Every plan."""
    return pages(CapacityPlan, path("capacity-plans"), limit)


def capacity_plan_create(body: CapacityPlanCreate, *, key: str | None = None) -> Flow[CapacityPlan]:
    """Plan devices at a site."""
    return ask(CapacityPlan, post(path("capacity-plans"), body, key))


def capacity_plan_delete(plan: str) -> Flow[None]:
    """Drop a plan."""
    return tell(delete(path("capacity-plans", plan)))


def device_model_list(*, limit: int | None = None) -> Stream[DeviceModel]:
    """Every device model by name."""
    return pages(DeviceModel, path("device-models"), limit)


def device_model_write(name: str, body: DeviceModelWrite, *, version: int | None = None) -> Flow[DeviceModel]:
    """Write what a model's datasheet says; over that row version only, where one is given."""
    headers = None if version is None else {"If-Match": f'"{version}"'}
    return ask(DeviceModel, put(path("device-models", name), body, headers))


class CapacityAccount(Group[D]):
    """`client.capacity`"""

    get = Operation(capacity_read)


class CapacityPlans(Group[D]):
    """`client.capacity_plans`"""

    list = Streaming(capacity_plan_list)
    create = Operation(capacity_plan_create)
    delete = Operation(capacity_plan_delete)


class DeviceModels(Group[D]):
    """`client.device_models`"""

    list = Streaming(device_model_list)
    write = Operation(device_model_write)
