"""Plans of placement."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, get, pages, path
from kumoi.model.plans import PlanRecord, PlanSummary


def plan_list(*, limit: int | None = None) -> Stream[PlanSummary]:
    """Plans that are still kept, newest first."""
    return pages(PlanSummary, path("plans"), limit)


def plan_read(plan: str) -> Flow[PlanRecord]:
    """A plan with everything that it was decided on."""
    return ask(PlanRecord, get(path("plans", plan)))


class Plans(Group[D]):
    """`client.plans`"""

    list = Streaming(plan_list)
    get = Operation(plan_read)
