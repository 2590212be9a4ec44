"""`kumoi capacity`: theoretical peaks, planned and live, against the criteria of the policy."""

import shutil
from pathlib import Path

import click
from msgspec.structs import replace

from kumoi.cli import capacity_chart
from kumoi.cli.capacity_svg import svg_of
from kumoi.cli.command import Command, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, pass_session
from kumoi.model.capacity import Capacity, eflops_format

COLUMNS = (
    Column("source", "SOURCE"),
    Column("site", "SITE"),
    Column("kind", "KIND"),
    Column("model", "MODEL"),
    Column("service_start", "SERVICE START"),
    Column("service_end", "SERVICE END"),
    Column("count", "COUNT"),
    Column("healthy", "HEALTHY"),
    Column("fp16_dense_gflops", "GFLOPS EACH"),
    Column("gflops", "EFLOPS", lambda gflops: eflops_format(gflops, digits=7)),
    Column("attested", "ATTESTED"),
)
SHORT = ("source", "site", "model", "service_start", "count", "healthy", "gflops", "attested")
"""The columns that people get: a terminal has little room."""


@click.command("capacity", cls=Command)
@option("--from", "since", metavar="DAY", help="First day; by default the fiscal year's.")
@option("--to", "until", metavar="DAY", help="Last day; by default the fiscal year's.")
@option("--count-from", metavar="DAY", help="First start of service that counts for the second criterion.")
@option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the chart to this file too.")
@pass_session
def capacity(
    session: Session, since: str | None, until: str | None, count_from: str | None, svg: Path | None
) -> None:
    """Show theoretical peaks against the criteria of the policy."""
    account = session.client.capacity.get(since=since, until=until, count_from=count_from)
    if svg is not None:
        _svg_write(svg, account)
    if session.out.json_output:
        session.out.document(account)
    elif session.out.terminal:
        _show(session, account)
    else:
        for row in capacity_chart.table_rows(account):
            session.out.line("\t".join(row))
        for one in account.classes:
            session.out.row(one, COLUMNS)


def _show(session: Session, account: Capacity) -> None:
    columns = shutil.get_terminal_size().columns
    width = min(max(columns, capacity_chart.WIDTH_MIN), capacity_chart.WIDTH_MAX)
    for line in capacity_chart.gauge_lines(account, width):
        session.out.line(line)
    session.out.line("")
    for line in capacity_chart.chart_lines(account, width):
        session.out.line(line)
    names = {site.id: site.name for site in session.client.sites.list(limit=NAMES_MAX)}
    named = [replace(one, site=names.get(one.site, one.site)) for one in account.classes]
    session.out.rows(named, [column for column in COLUMNS if column.name in SHORT])
    if account.classes_left_out:
        session.out.note(_("{count} more are left out").format(count=account.classes_left_out))


def _svg_write(path: Path, account: Capacity) -> None:
    try:
        path.write_text(svg_of(account), encoding="utf-8")
    except OSError as error:
        raise fail(
            Exit.USAGE,
            _("{path} cannot be written: {error}").format(path=path, error=error.strerror),
            _("name a file in a directory that you may write to"),
        ) from error
