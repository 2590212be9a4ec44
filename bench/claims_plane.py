"""`kumoi up` over hosts that do not exist: the plane of `claims.py`, a process of its own.

claims_plane.py HOSTS up --data-dir DIR --listen HOST:PORT ...
"""

import sys
import time
from unittest.mock import patch

from sim_engine import SimEngine, host_reports

from kumoi.main import wiring
from kumoi.main.up import up


def main() -> None:
    """Everything is as in `kumoi up` but the engine, which is asked for by the name of the first pool's."""
    count = int(sys.argv[1])

    def engines_build(*_: object) -> dict[str, SimEngine]:
        return {"sandbox": SimEngine(lambda: time.time_ns() // 1_000, host_reports(count), "sandbox")}

    with patch.object(wiring, "_engines_build", engines_build):
        up(sys.argv[3:])


if __name__ == "__main__":
    main()
