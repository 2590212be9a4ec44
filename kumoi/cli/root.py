"""`kumoi`: the table of commands. A command is imported when it is used, so `kumoi --help` imports none."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from kumoi import __version__
from kumoi.cli.command import Globals, Group, Option
from kumoi.cli.exits import Exit
from kumoi.cli.language import _, language_use


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is (`module:attribute`) and what it is for."""

    place: str
    help: str


COMMANDS: Final = {
    "up": Entry("kumoi.main.up:up", "Start a region on this machine."),
    "gateway": Entry("kumoi.main.gateway:gateway", "Carry requests to services."),
    "witness": Entry("kumoi.main.witness:witness", "Cosign the logs of others."),
    "store": Entry("kumoi.main.store_file:store", "The store's file on this machine."),
    "login": Entry("kumoi.cli.login:login", "Remember a plane and a token."),
    "logout": Entry("kumoi.cli.login:logout", "Forget the token."),
    "whoami": Entry("kumoi.cli.login:whoami", "Show who the token speaks for."),
    "org": Entry("kumoi.cli.organizations:org", "Organizations, their members and roles."),
    "project": Entry("kumoi.cli.projects:project", "Projects: where jobs, files and secrets live."),
    "token": Entry("kumoi.cli.tokens:token", "API tokens."),
    "secret": Entry("kumoi.cli.secrets:secret", "Secrets of a project."),
    "file": Entry("kumoi.cli.files:file", "Files of a project."),
    "job": Entry("kumoi.cli.jobs:job", "Run work, follow it, ask why it waits."),
    "service": Entry("kumoi.cli.services:service", "Programs that are kept running for requests."),
    "host": Entry("kumoi.cli.hosts:host", "Machines."),
    "machine": Entry("kumoi.cli.machines:machine", "Machines that providers lend."),
    "pool": Entry("kumoi.cli.pools:pool", "Pools of machines."),
    "plan": Entry("kumoi.cli.plans:plan", "What placement decided."),
    "replay": Entry("kumoi.main.replay:replay", "Decide a recorded placement again, and compare."),
    "key": Entry("kumoi.cli.keys:key", "The key that everything of an organization is sealed with."),
    "site": Entry("kumoi.cli.sites:site", "Sites."),
    "capacity": Entry("kumoi.cli.capacity:capacity", "Theoretical peaks against the criteria of the policy."),
    "capacity-plan": Entry("kumoi.cli.capacity_plans:capacity_plan", "Plans of capacity."),
    "device-model": Entry("kumoi.cli.device_models:device_model", "What device models can do."),
    "quota": Entry("kumoi.cli.shares:quota", "Quotas: what an organization may hold at once."),
    "fair-share": Entry("kumoi.cli.shares:fair_share", "Weights of organizations that compete."),
    "budget": Entry("kumoi.cli.budgets:budget", "Budgets: what an organization may spend in a month."),
    "rate": Entry("kumoi.cli.budgets:rate", "Rates: what work costs."),
    "reservation": Entry("kumoi.cli.reservations:reservation", "Hosts held for an organization at a date."),
    "access": Entry("kumoi.cli.access:access", "Operator access: ask, approve, revoke, see what was done."),
    "usage": Entry("kumoi.cli.usage:usage", "What was used."),
    "event": Entry("kumoi.cli.events:event", "What was done or refused."),
    "notice": Entry(
        "kumoi.cli.notices:notice",
        "Notices by webhook and mail of what cannot wait.",
    ),
    "log": Entry("kumoi.cli.log:log", "The operations log: receipts, mirrors, offline verification."),
    "completion": Entry("kumoi.cli.completion:completion", "Print the completion script of a shell."),
    "version": Entry("kumoi.cli.version:version", "Show versions."),
}


class Root(Group):
    """The command line as a whole."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _colon, attribute = entry.place.partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing what it names."""
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, _(entry.help)) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names that begin so, without importing what they name."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=_(entry.help))
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """A context with the flags' defaults."""
        language_use()
        return super().make_context(info_name, args, parent, **{"obj": Globals(), **extra})

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors become messages and documented exit codes."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)
            ctx.exit(Exit.INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            failure = import_module("kumoi.cli.failures").failure_from(error, ctx.obj)
            if failure is None:
                raise
            raise failure from error


@click.command("kumoi", cls=Root, outermost=True)
@click.version_option(__version__, cls=Option, message="kumoi %(version)s")
def root() -> None:
    """Kumoi: a sovereign cloud. Run work, guard it, show what happened."""


def run() -> None:
    """Run the command line of this process and exit."""
    root.main(prog_name="kumoi")
