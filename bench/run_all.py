"""Run every bench, one after the other; keep each one's JSON in a directory, and figures.md for documents.

run_all.py DIRECTORY [--seed N] [--rounds N] [--without-slurm]
"""

import argparse
import subprocess
import sys
from pathlib import Path

from report import report_markdown, report_parse, report_table

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 3_600


def main() -> int:
    """Run them; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the reports go; made if it is not there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of crashes")
    parser.add_argument("--without-slurm", action="store_true")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    peerless = ["--without-slurm"] if options.without_slurm else []
    benches = {
        "startup": peerless,
        "submit": peerless,
        "crash": ["--rounds", str(options.rounds)],
        "claims": [],
        "region": [],
        "serve": [],
        "ledger": [],
        "guard": [],
        "store": [],
    }
    (options.directory / "figures.md").unlink(missing_ok=True)
    failed = [
        name
        for name, flags in benches.items()
        if not bench_run(name, [*flags, "--seed", str(options.seed)], options.directory)
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def bench_run(name: str, flags: list[str], directory: Path) -> bool:
    """Run one bench, keep its JSON as NAME.json and show its table; whether it went well."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
    if done.stdout:
        (directory / f"{name}.json").write_text(done.stdout)
        report, machine = report_parse(done.stdout)
        with (directory / "figures.md").open("a") as figures:
            figures.write(f"### {name}\n\n{report_markdown(report)}\n\n")
        print(report_table(report, machine), end="\n\n", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
