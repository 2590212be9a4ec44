"""`kumoi plan`: what placement decided."""

import click

from kumoi.cli.command import Group
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, pass_session

COLUMNS = (
    Column("id", "ID"),
    Column("policy", "POLICY"),
    Column("decided_at", "DECIDED"),
    Column("pool", "POOL"),
)


@click.group("plan", cls=Group)
def plan() -> None:
    """What placement decided."""


@plan.command("list")
@limit_option
@pass_session
def plan_list(session: Session, limit: int) -> None:
    """List plans that are still kept, newest first."""
    session.out.rows(session.client.plans.list(limit=limit + 1), COLUMNS, limit)
