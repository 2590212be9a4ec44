"""A plane killed right after it acknowledged a write has written it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from region_rows import RegionRows

from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import StoreBusy

ROUNDS = 3
ACKNOWLEDGED = 40
PLANE = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
from region_rows import RegionRows
from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.writer import Change

store = Store(sys.argv[2])
region = RegionRows.__new__(RegionRows)
region.__dict__ = {"store": store, **eval(sys.argv[3])}

def submit():
    while True:
        row = region.job_row(JobSpec(command=("true",)))
        event = region.event(job=row["id"])
        store.commit_wait(Change([(schema.jobs, [row]), (schema.events, [event])]))
        os.write(1, f"{row['id']} {event['id']}\\n".encode())

for _ in range(4):
    threading.Thread(target=submit).start()
"""


def test_nothing_acknowledged_is_lost_when_a_plane_is_killed(database_url: str) -> None:
    store = Store(database_url)
    region = RegionRows(store)
    facts = {name: value for name, value in vars(region).items() if name != "store"}
    store.close()
    acknowledged: list[tuple[str, str]] = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", PLANE, str(Path(__file__).parents[1]), database_url, repr(facts)]
        plane = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert plane.stdout is not None
        lines = [plane.stdout.readline() for _ in range(ACKNOWLEDGED)]
        os.kill(plane.pid, signal.SIGKILL)
        lines += plane.stdout.readlines()
        plane.wait(30)
        plane.stdout.close()
        for line in lines:
            job_id, event_id = line.decode().split()
            acknowledged.append((job_id, event_id))
        store = Store(database_url)
        region.store = store
        jobs = {row.id for row in region.rows(schema.jobs)}
        events = {row.id for row in region.rows(schema.events)}
        store.close()
        assert {job_id for job_id, _ in acknowledged} <= jobs
        assert {event_id for _, event_id in acknowledged} <= events
        assert len(jobs) == len(events), "a job and its event are written together"
    assert len(acknowledged) >= ROUNDS * ACKNOWLEDGED


def test_sqlite_synchronizes_every_commit_in_earnest(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    for pragma, value in (("synchronous", 2), ("journal_mode", "wal"), ("foreign_keys", 1)):
        found = store.transact_wait(
            None, lambda connection, p=pragma: connection.exec_driver_sql(f"PRAGMA {p}").scalar_one()
        )
        assert found == value, pragma
    store.close()


def test_a_sqlite_database_has_one_plane(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    with pytest.raises(StoreBusy, match="another plane holds"):
        Store(sqlite_url)
    store.close()
    Store(sqlite_url).close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="loses everything"):
        Store(url)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="postgresql://HOST/NAME"):
        Store("mysql://localhost/kumoi")
