"""`kumoi file`: files of a project, single or whole directories."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import click

from kumoi.cli.command import Group
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.progress import Bar, progress
from kumoi.cli.session import Session, limit_option, pass_session, project_option
from kumoi.cli.text import bytes_show
from kumoi.model.records import File

COLUMNS = (
    Column("path", "PATH"),
    Column("size_bytes", "SIZE", bytes_show),
    Column("modified_at", "MODIFIED"),
)
FILES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Move:
    """One file on its way: `path` in the project, `local` here."""

    path: str
    local: Path
    size_bytes: int


@click.group("file", cls=Group)
def file() -> None:
    """Files of a project."""


@file.command("put")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("path", required=False)
@project_option
@pass_session
def file_put(session: Session, source: Path, path: str | None, project: str | None) -> None:
    """Copy a file, or a directory with all that is in it, into the project.

    PATH is where it goes; by default the name of SOURCE.
    """
    goal = (path or source.resolve().name).strip("/")
    moves = list(_directory(session, source, goal)) if source.is_dir() else [_single(source, goal, path)]
    within = session.project(project)
    total = sum(move.size_bytes for move in moves)
    done = 0
    written: list[File] = []
    with progress(goal, total, size=True, quiet=session.out.json_output) as bar:
        for move in moves:
            moved = partial(_moved, bar, move.path, done)
            written.append(session.client.files.put(within, move.path, move.local, sent=moved))
            done += move.size_bytes
    session.out.rows(written, COLUMNS)


@file.command("get")
@click.argument("path")
@click.argument("target", required=False, type=click.Path(path_type=Path))
@project_option
@pass_session
def file_get(session: Session, path: str, target: Path | None, project: str | None) -> None:
    """Copy a file from the project; with / at the end of PATH, everything below it.

    TARGET is where it goes; - is standard output, the default is the last part of PATH.
    """
    within = session.project(project)
    if target == Path("-"):
        for chunk in session.client.files.stream(within, path):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    if path.endswith("/"):
        found = list(session.client.files.list(within, path, limit=FILES_MAX))
        if not found:
            raise fail(Exit.NOT_FOUND, _("there are no files below {path}").format(path=path))
        base = target or Path(PurePosixPath(path).name)
        moves = [Move(f.path, base / _inside(f.path, path), f.size_bytes) for f in found]
    else:
        local = target or Path()
        goal = local / PurePosixPath(path).name if local.is_dir() else local
        moves = [Move(path, goal, 0)]
    _receive(session, within, moves)


@file.command("list")
@click.argument("prefix", default="")
@project_option
@limit_option
@pass_session
def file_list(session: Session, prefix: str, project: str | None, limit: int) -> None:
    """List files whose path begins with PREFIX."""
    found = session.client.files.list(session.project(project), prefix or None, limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@file.command("rm")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@project_option
@pass_session
def file_rm(session: Session, paths: Sequence[str], project: str | None) -> None:
    """Remove files."""
    within = session.project(project)
    for path in paths:
        session.client.files.delete(within, path)
    session.out.done(*paths)


def _moved(bar: Bar, path: str, before: int, size_bytes: int) -> None:
    bar.update(before + size_bytes, path)


def _single(source: Path, goal: str, path: str | None) -> Move:
    into = f"{goal}/{source.name}" if path is not None and path.endswith("/") else goal
    return Move(into, source, source.stat().st_size)


def _directory(session: Session, source: Path, goal: str) -> Iterator[Move]:
    """Every regular file below a directory, in order. Links and devices are named and left out."""
    left_out = 0
    for base, names, files in os.walk(source):
        names.sort()
        for name in sorted(files):
            local = Path(base) / name
            found = local.lstat()
            if stat.S_ISREG(found.st_mode):
                yield Move(f"{goal}/{local.relative_to(source).as_posix()}", local, found.st_size)
            else:
                left_out += 1
    if left_out:
        session.out.note(_("left out: {count} links and special files").format(count=left_out))


def _inside(path: str, prefix: str) -> PurePosixPath:
    """The part of `path` below `prefix`; a plane cannot make us write outside the target."""
    below = PurePosixPath(path.removeprefix(prefix))
    if not path.startswith(prefix) or below.is_absolute() or not below.parts or ".." in below.parts:
        raise fail(
            Exit.REFUSED, _("the plane names a file outside of what was asked for: {path}").format(path=path)
        )
    return below


def _receive(session: Session, project: str, moves: Sequence[Move]) -> None:
    total = sum(move.size_bytes for move in moves)
    done = 0
    with progress(moves[0].path, total, size=True, quiet=session.out.json_output) as bar:
        for move in moves:
            move.local.parent.mkdir(parents=True, exist_ok=True)
            moved = partial(_moved, bar, move.path, done)
            done += session.client.files.save(project, move.path, move.local, received=moved)
    if session.out.json_output:
        session.out.document({"items": [{"path": m.path, "target": str(m.local)} for m in moves]})
    elif len(moves) > 1:
        session.out.line(_("{count} files, {size}").format(count=len(moves), size=bytes_show(done)))
