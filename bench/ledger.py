"""What proof costs: events put into the log, the time until two witnesses saw one, and checking a receipt.

Events are put into the tree of a store of their own, in full batches. Witnessing is measured on a real plane
with two witnesses, each a process with its own key, from the answer to a write until the receipt of its event
carries both cosignatures; the plane signs every INTERVAL_S.
"""

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from plane import Client, PlaneError, Region, Tenant, kumoi_find
from ports import port_free
from report import Figure, Report, arguments_make, machine_describe, report_print, say

from kumoi.app.founding import region_found
from kumoi.core.tokens import SECRET_BYTES, token_format
from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import Signer, VerifierKey, vkey_format, vkey_parse
from kumoi.ledger.receipt import Receipt, receipt_format, receipt_parse, receipt_verify
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.keys.platform import PlatformKeys, key_file_ensure
from kumoi.store.log import EVENTS_MAX, log_append
from kumoi.store.writer import Change

BATCHES = 10
WITNESSES = 2
INTERVAL_S = 0.05
WAIT_S = 30.0
POLL_S = 0.002
CHECKS = 500
NEEDED_EVENTS_PER_S = 5_000
ORIGIN = "kumoi.local/bench"


def main() -> int:
    """Measure and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--events", type=int, default=100, help="events that are followed to their witnesses")
    options = parser.parse_args()
    machine = machine_describe()
    try:
        with tempfile.TemporaryDirectory(prefix="kumoi-bench-ledger-") as place:
            say("putting events into the tree")
            figures = [Figure("events_per_s", append_rate(Path(place)), "1/s", "higher", NEEDED_EVENTS_PER_S)]
            say(f"following {options.events} events to {WITNESSES} witnesses")
            figures += witnessed(Path(place), options.events)
    except PlaneError as error:
        say(f"ledger: {error}")
        return 1
    report_print(Report("ledger", options.seed, tuple(figures)), machine, as_json=options.json)
    return 0


def append_rate(place: Path) -> float:
    """Events a second that get their place in the log, full batches with a signed head after each."""
    signer = Signer(ORIGIN, os.urandom(32))
    store = Store(f"sqlite:///{place / 'ledger.db'}")
    try:
        events_write(store, BATCHES * EVENTS_MAX)
        begun = time.perf_counter()
        placed = 0
        while batch := store.transact_wait(
            None,
            log_append,
            ORIGIN,
            padding=lambda count: [event_commit(os.urandom(32), b"") for _ in range(count)],
            sign=lambda size, root: checkpoint_sign(Checkpoint(ORIGIN, size, root), signer).decode(),
            now_us=time.time_ns() // 1_000,
        ):
            placed += batch.events
        return placed / (time.perf_counter() - begun)
    finally:
        store.close()


def events_write(store: Store, count: int) -> None:
    """Events that have no place yet, each about as long as that of a job."""
    canonical = '{"action":"job_create","detail":{"name":"bench"},"padding":"' + "x" * 300 + '"}'
    token = token_format(os.urandom(SECRET_BYTES))
    founded = region_found(
        store,
        region_name="bench",
        cell=0,
        now_us=1,
        admin_token=token,
        platform_key=PlatformKeys({1: bytes(32)}).current,
    )
    common = {"at_us": 1, "organization_id": founded.platform_organization_id, "project_id": None}
    for first in range(0, count, EVENTS_MAX):
        rows = [
            {"id": f"evt_{number:026d}", "salt": os.urandom(32), "canonical": canonical, **common}
            for number in range(first, first + EVENTS_MAX)
        ]
        store.commit_wait(Change([(schema.events, rows)]))


def witnessed(place: Path, count: int) -> Iterator[Figure]:
    """How long until witnesses saw an event, and what its receipt takes."""
    region = Region("--log-interval-s", str(INTERVAL_S), "--region", "bench", "--no-gateway")
    (region.data_dir / "keys").mkdir(mode=0o700)
    log = Signer(ORIGIN, key_file_ensure(region.data_dir / "keys" / "log.key")).key
    with region, contextlib.ExitStack() as stack:
        asked = [stack.enter_context(witness(place / f"w{number}", log)) for number in range(WITNESSES)]
        rules = [f'[[witnesses]]\nurl = "{url}"\nvkey = "{vkey_format(key)}"\n' for url, key in asked]
        (place / "witnesses.toml").write_text("\n".join([f"quorum = {WITNESSES}", *rules]))
        (region.data_dir / "kumoi.toml").write_text(f'witnesses_file = "{place / "witnesses.toml"}"\n')
        region.start()
        tenant = region.tenant()
        client = Client(region.port, tenant.token)
        taken_ms = [event_follow(client, tenant, number) for number in range(count)]
        yield Figure("event_to_witnessed_ms_p50", median(taken_ms), "ms", "lower")
        yield Figure("event_to_witnessed_ms_max", max(taken_ms), "ms", "lower")
        yield from receipt_figures(client, tenant, log, [key for _url, key in asked])


@contextlib.contextmanager
def witness(directory: Path, log: VerifierKey) -> Iterator[tuple[str, VerifierKey]]:
    """A witness's process: where it is asked, and its key."""
    port = port_free()
    command = [kumoi_find(), "witness", "--data-dir", str(directory), "--name", f"w.example/{directory.name}"]
    command += ["--log", vkey_format(log), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        if len(said) != 2:
            raise PlaneError("a witness did not start")
        yield f"http://127.0.0.1:{port}/", vkey_parse(said[1])
    finally:
        process.terminate()
        process.wait(WAIT_S)


def event_follow(client: Client, tenant: Tenant, number: int) -> float:
    """Milliseconds from the answer to a write until the receipt of its event is there."""
    client.call("POST", f"/v1/organizations/{tenant.organization}/projects", {"name": f"p{number}"})
    begun = time.perf_counter()
    event = client.call("GET", f"/v1/organizations/{tenant.organization}/events?limit=1")["items"][0]["id"]
    while client.raw("GET", f"/v1/events/{event}/receipt")[0] != 200:
        if time.perf_counter() - begun > WAIT_S:
            raise PlaneError(f"the event {event} was not witnessed after {WAIT_S:.0f} s")
        time.sleep(POLL_S)
    return (time.perf_counter() - begun) * 1_000


def receipt_figures(
    client: Client, tenant: Tenant, log: VerifierKey, witnesses: Sequence[VerifierKey]
) -> Iterator[Figure]:
    """What checking a receipt takes, the log's signature and both cosignatures included, and its size."""
    event = client.call("GET", f"/v1/organizations/{tenant.organization}/events?limit=1")["items"][0]["id"]
    held = client.call("GET", f"/v1/events/{event}/receipt")
    proof: Receipt = receipt_parse(held["proof"].encode())
    entry = event_commit(base64.b64decode(held["salt"]), base64.b64decode(held["canonical"]))
    begun = time.perf_counter()
    for _ in range(CHECKS):
        receipt_verify(proof, entry, log, witnesses=witnesses, quorum=len(witnesses))
    taken_us = (time.perf_counter() - begun) / CHECKS * 1e6
    yield Figure("verify_receipt_us", taken_us, "us", "lower")
    yield Figure("proof_bytes", len(receipt_format(proof)), "bytes", "lower")


if __name__ == "__main__":
    sys.exit(main())
