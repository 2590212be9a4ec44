"""`kumoi capacity-plan`: which devices are to serve where, from when, until when."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.output import Column
from kumoi.cli.pools import site_id_find
from kumoi.cli.session import Session, limit_option, pass_session
from kumoi.model.capacity import PLAN_COUNT_MAX, CapacityPlanCreate

COLUMNS = (
    Column("id", "ID"),
    Column("site", "SITE"),
    Column("model", "MODEL"),
    Column("count", "COUNT"),
    Column("service_start", "SERVICE START"),
    Column("service_end", "SERVICE END"),
    Column("note", "NOTE"),
)


@click.group("capacity-plan", cls=Group)
def capacity_plan() -> None:
    """Plans of capacity."""


@capacity_plan.command("list")
@limit_option
@pass_session
def capacity_plan_list(session: Session, limit: int) -> None:
    """List plans."""
    session.out.rows(session.client.capacity_plans.list(limit=limit + 1), COLUMNS, limit)


@capacity_plan.command("create")
@option("--site", required=True, help="Name or id of the site where they are to stand.")
@option("--model", required=True, help="Their model, as kumoi device-model list names it.")
@option("--count", type=click.IntRange(1, PLAN_COUNT_MAX), required=True, help="How many.")
@option("--start", required=True, metavar="DAY", help="First day of their service.")
@option("--end", metavar="DAY", help="Last day of their service.")
@option("--note", default="", help="For whoever reads the plan.")
@pass_session
def capacity_plan_create(
    session: Session, site: str, model: str, count: int, start: str, end: str | None, note: str
) -> None:
    """Plan devices at a site."""
    body = CapacityPlanCreate(site_id_find(session, site), model, count, start, end, note)
    session.out.record(session.client.capacity_plans.create(body))


@capacity_plan.command("rm")
@click.argument("plan")
@pass_session
def capacity_plan_rm(session: Session, plan: str) -> None:
    """Drop a plan."""
    session.client.capacity_plans.delete(plan)
    session.out.done(plan)
