"""`kumoi witness`: cosign the checkpoints of logs that others run."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from pathlib import Path

import click
import uvloop

from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import SignatureType, Signer, VerifierKey, vkey_format, vkey_parse
from kumoi.main.listening import free_check, reachable_wait
from kumoi.model.settings import address_split
from kumoi.store.keys.platform import key_file_ensure
from kumoi.web.api.server import server_create
from kumoi.web.settings import WebSettings
from kumoi.witness.application import WitnessApplication
from kumoi.witness.cosigner import Cosigner
from kumoi.witness.records import Records

STOP_S = 10


@click.command("witness")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), required=True, help="Where the key and the records are."
)
@click.option("--name", required=True, help="The witness's name, such as witness.example.org/w1.")
@click.option(
    "--log", "logs", multiple=True, required=True, help="Verifier key of a log to watch; may be repeated."
)
@click.option("--listen", default="127.0.0.1:8680", show_default=True, help="HOST:PORT for logs.")
def witness(data_dir: Path, name: str, logs: tuple[str, ...], listen: str) -> None:
    """Cosign what logs show, as long as each shows one history, until stopped."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        keys = _keys(logs)
        host, port = address_split(listen)
    except (LedgerError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        with Records(data_dir.resolve()) as records:
            seed = key_file_ensure(data_dir.resolve() / "witness.key")
            uvloop.run(_serve(Signer(name, seed, SignatureType.COSIGNATURE_V1), keys, records, (host, port)))
    except (LedgerError, OSError, ValueError) as error:
        click.echo(f"kumoi witness: {error}", err=True)
        sys.exit(1)


def _keys(logs: tuple[str, ...]) -> list[VerifierKey]:
    """The keys of the logs. Raises LedgerError, or ValueError where one is of another kind or named twice."""
    keys = [vkey_parse(log) for log in logs]
    for key in keys:
        if key.signature_type is not SignatureType.ED25519:
            raise ValueError(f"{key.name}: this is the key of a witness; --log takes the keys of logs")
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two --log keys have the same name: a log has one key")
    return keys


async def _serve(signer: Signer, keys: list[VerifierKey], records: Records, address: tuple[str, int]) -> None:
    """Answer until SIGTERM or SIGINT."""
    cosigner = Cosigner(signer, keys, records, lambda: int(time.time()))
    vkey = vkey_format(signer.key)
    server = server_create(WitnessApplication(cosigner, vkey), *address, WebSettings())
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    free_check(*address)
    serving = asyncio.create_task(server.serve())
    try:
        await reachable_wait(*address, serving)
        click.echo(f"witness {vkey}")
        sys.stdout.flush()
        await asyncio.wait([serving, asyncio.create_task(stopped.wait())], return_when="FIRST_COMPLETED")
    finally:
        server.stop()
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(serving, STOP_S)
