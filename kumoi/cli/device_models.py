"""`kumoi device-model`: what device models can do, and whose datasheets are recorded."""

import hashlib
from typing import BinaryIO

import click

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session
from kumoi.cli.text import bytes_show, memory_parse
from kumoi.model.capacity import DeviceModel, DeviceModelWrite

COLUMNS = (
    Column("name", "NAME"),
    Column("vendor", "VENDOR"),
    Column("kind", "KIND"),
    Column("fp16_dense_gflops", "FP16 DENSE GFLOPS"),
    Column("memory_bytes", "MEMORY", bytes_show),
    Column("attested", "ATTESTED"),
    Column("built_in", "BUILT IN"),
    Column("datasheet", "DATASHEET"),
)
_CHUNK_BYTES = 1 << 20


@click.group("device-model", cls=Group)
def device_model() -> None:
    """What device models can do."""


@device_model.command("list")
@limit_option
@pass_session
def device_model_list(session: Session, limit: int) -> None:
    """List device models with their peaks."""
    session.out.rows(session.client.device_models.list(limit=limit + 1), COLUMNS, limit)


@device_model.command("put")
@click.argument("name")
@option("--vendor", help="Its maker.")
@option("--kind", help="What it is, such as gpu.")
@option("--dense-gflops", type=click.IntRange(min=0), help="Peak of half precision without sparsity.")
@option(
    "--sparse-gflops", type=click.IntRange(min=0), help="What the datasheet gives with sparsity; 0: nothing."
)
@option("--memory", help="Its memory, such as 141G.")
@option("--datasheet", help="Title and publisher's URL of the datasheet.")
@option(
    "--datasheet-file", "source", type=click.File("rb"), help="The datasheet itself: its digest is recorded."
)
@pass_session
def device_model_put(
    session: Session,
    name: str,
    vendor: str | None,
    kind: str | None,
    dense_gflops: int | None,
    sparse_gflops: int | None,
    memory: str | None,
    datasheet: str | None,
    source: BinaryIO | None,
) -> None:
    """Write what a datasheet says of a model; what is not given stays as it is."""
    known = _known(session, name)
    if known is None and (vendor is None or dense_gflops is None or datasheet is None):
        raise fail(
            Exit.USAGE,
            _("{name} is not known yet").format(name=name),
            _("give --vendor, --dense-gflops and --datasheet"),
        )
    body = DeviceModelWrite(
        vendor=vendor or (known.vendor if known else ""),
        kind=kind or (known.kind if known else "gpu"),
        fp16_dense_gflops=_either(dense_gflops, known.fp16_dense_gflops if known else 0),
        fp16_sparse_gflops=sparse_gflops
        if sparse_gflops is not None or known is None
        else known.fp16_sparse_gflops,
        memory_bytes=_either(memory_parse(memory) if memory else None, known.memory_bytes if known else 0),
        datasheet=datasheet or (known.datasheet if known else ""),
        datasheet_sha256=_digest(source) if source else (known.datasheet_sha256 if known else None),
    )
    version = None if known is None or known.built_in else known.version
    session.out.record(session.client.device_models.write(name, body, version=version))


def _known(session: Session, name: str) -> DeviceModel | None:
    models = session.client.device_models.list(limit=NAMES_MAX)
    return next((model for model in models if model.name == name), None)


def _either(given: int | None, known: int) -> int:
    return known if given is None else given


def _digest(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
