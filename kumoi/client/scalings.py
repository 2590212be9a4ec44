"""Decisions of the autoscaler."""

from kumoi.client.flows import Flow
from kumoi.client.groups import D, Group, Operation
from kumoi.client.requests import ask, get, path
from kumoi.model.scalings import ScalingRecord


def scaling_read(scaling: str) -> Flow[ScalingRecord]:
    """A decision with everything that it was decided on."""
    return ask(ScalingRecord, get(path("scalings", scaling)))


class Scalings(Group[D]):
    """`client.scalings`"""

    get = Operation(scaling_read)
