"""What the encryption of the embedded store costs, beside plain files of Python's own sqlite3.

Both have the plane's settings. A commit writes 16 rows of a table with a random key and an index: about 35
pages, more than a submission does. Times are of the processor, since the disk's are the same for both.
"""

import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from statistics import median

from report import Figure, Report, arguments_make, machine_describe, report_print, say

from kumoi.store.sqlite import PRAGMAS, SqliteFile

ROUNDS = 5
COMMITS = 400
ROWS_AT_ONCE = 16
ROWS = 60_000
LOOKS = 2_000
PROJECTS = 50
US_PER_S = 1e6
Opened = Callable[[], AbstractContextManager[sqlite3.Connection]]
SCHEMA = (
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, project TEXT, spec TEXT, at INT) WITHOUT ROWID",
    "CREATE INDEX jobs_project ON jobs (project, at)",
)


def main() -> int:
    """Measure and print."""
    options = arguments_make(__doc__ or "").parse_args()
    sealed, plain = [], []
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        with tempfile.TemporaryDirectory(prefix="kumoi-bench-store-") as place:
            plain.append(round_run(plain_make(Path(place, "plain.db")), options.seed + number))
            sealed.append(round_run(sealed_make(Path(place, "kumoi.db")), options.seed + number))
    figures = [
        Figure(
            name,
            median(one[name] for one in sealed),
            "us",
            "lower",
            None,
            median(one[name] for one in plain),
        )
        for name in sealed[0]
    ]
    report_print(Report("store", options.seed, tuple(figures)), machine_describe(), as_json=options.json)
    return 0


def round_run(opened: Opened, seed: int) -> dict[str, float]:
    """Microseconds of processor time of one commit, one look by key into a cold cache, one list of 100."""
    chance = random.Random(seed)
    with opened() as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        begun = time.process_time()
        for number in range(COMMITS):
            rows_put(connection, chance, ROWS_AT_ONCE, number)
        commit_s = (time.process_time() - begun) / COMMITS
        rows_put(connection, chance, ROWS, COMMITS)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        ids = [
            row[0] for row in connection.execute("SELECT id FROM jobs ORDER BY random() LIMIT ?", (LOOKS,))
        ]
    with opened() as connection:
        begun = time.process_time()
        for one in ids:
            connection.execute("SELECT spec FROM jobs WHERE id = ?", (one,)).fetchone()
        look_s = (time.process_time() - begun) / LOOKS
        begun = time.process_time()
        for project in range(PROJECTS):
            listed = "SELECT * FROM jobs WHERE project = ? ORDER BY at DESC LIMIT 100"
            connection.execute(listed, (f"p{project}",)).fetchall()
        list_s = (time.process_time() - begun) / PROJECTS
    begun = time.process_time()
    with opened() as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    open_s = time.process_time() - begun
    times_s = {"commit_us": commit_s, "look_us": look_s, "list_100_us": list_s, "open_us": open_s}
    return {name: value_s * US_PER_S for name, value_s in times_s.items()}


def rows_put(connection: sqlite3.Connection, chance: random.Random, count: int, at: int) -> None:
    """Commit `count` rows."""
    rows = [
        (f"{chance.getrandbits(80):x}", f"p{chance.randrange(PROJECTS)}", "s" * 300, at) for _ in range(count)
    ]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO jobs VALUES (?, ?, ?, ?)", rows)
    connection.execute("COMMIT")


def plain_make(path: Path) -> Opened:
    """Connections to a plain file."""

    @contextmanager
    def opened() -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            yield prepared(connection)

    return opened


def sealed_make(path: Path) -> Opened:
    """Connections to an encrypted file."""
    file = SqliteFile(path, path.parent / "keys")
    file.hold().close()
    path.touch()

    @contextmanager
    def opened() -> Iterator[sqlite3.Connection]:
        with file.connected() as connection:
            yield prepared(connection)

    return opened


def prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """With the plane's settings."""
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


if __name__ == "__main__":
    sys.exit(main())
