"""`kumoi budget` and `kumoi rate`: what may be spent, and what work costs. Amounts are given in yen."""

from decimal import Decimal, InvalidOperation

import click

from kumoi.cli.command import Group, option
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.model.shares import RateWrite

MICROYEN = 1_000_000


class Yen(click.ParamType[int]):
    """Yen with up to six decimals, as micro-yen."""

    name = "yen"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Micro-yen for the text."""
        try:
            microyen = Decimal(str(value)) * MICROYEN
        except InvalidOperation:
            microyen = Decimal("NaN")
        if not microyen.is_finite() or microyen != int(microyen) or microyen < 0:
            self.fail(
                _("{value} is not an amount in yen; write it as 350 or 0.25").format(value=value), param, ctx
            )
        return int(microyen)


def yen_show(microyen: int) -> str:
    """Micro-yen as yen."""
    return f"{Decimal(microyen) / MICROYEN:f}"


RATE_COLUMNS = (
    Column("pool", "POOL"),
    Column("cpu_core_hour_microyen", "CORE-HOUR (yen)", yen_show),
    Column("memory_gib_hour_microyen", "GiB-HOUR (yen)", yen_show),
    Column("device_hour_microyen", "DEVICE-HOUR (yen)", yen_show),
)


@click.group("budget", cls=Group)
def budget() -> None:
    """Budgets: what an organization may spend in a month."""


@budget.command("show")
@organization_option
@pass_session
def budget_show(session: Session, organization: str | None) -> None:
    """Show what may be spent this month, and what was."""
    session.out.record(session.client.budgets.get(session.organization(organization)))


@budget.command("set")
@click.argument("yen", type=Yen())
@organization_option
@pass_session
def budget_set(session: Session, yen: int, organization: str | None) -> None:
    """Set what new work may spend in a calendar month of Japan (for operators)."""
    session.out.record(session.client.budgets.put(session.organization(organization), yen))


@budget.command("rm")
@organization_option
@pass_session
def budget_rm(session: Session, organization: str | None) -> None:
    """Lift a budget (for operators)."""
    owner = session.organization(organization)
    session.client.budgets.delete(owner, session.client.budgets.get(owner).version)
    session.out.done("budget")


@click.group("rate", cls=Group)
def rate() -> None:
    """Rates: what work costs."""


@rate.command("list")
@limit_option
@pass_session
def rate_list(session: Session, limit: int) -> None:
    """List what work costs in each pool. In pools that are not listed it is free."""
    session.out.rows(session.client.rates.list(limit=limit + 1), RATE_COLUMNS, limit)


@rate.command("set")
@click.argument("pool")
@option("--core-hour", type=Yen(), default="0", help="Yen for a core for an hour.")
@option("--gib-hour", type=Yen(), default="0", help="Yen for a GiB of memory for an hour.")
@option("--device-hour", type=Yen(), default="0", help="Yen for a whole device for an hour.")
@pass_session
def rate_set(session: Session, pool: str, core_hour: int, gib_hour: int, device_hour: int) -> None:
    """Set what work costs in a pool (for operators)."""
    session.out.record(session.client.rates.put(pool, RateWrite(core_hour, gib_hour, device_hour)))
