"""The import contracts hold, and imports that hide from the top of a file are few and known."""

import ast
import subprocess
import sys
from pathlib import Path

# Where an import may wait until it is needed, and why.
LAZY = {
    "kumoi/main/__init__.py": "the wiring: `kumoi --help` pays for no room",
    "kumoi/store/migrate.py": "Alembic: a start on a current schema does not pay for it",
    "kumoi/loops/placement.py": "NumPy: a plane that has placed nothing yet does without",
    "kumoi/app/pool_looks.py": "NumPy, likewise",
    "kumoi/main/wiring.py": "PKCS#11: a plane without tokens does without",
    "kumoi/main/replay.py": "NumPy, likewise for the other commands",
    "kumoi/core/placement/prices.py": "HiGHS: needed when prices are drawn, thousands of arrivals apart",
}


def test_rooms_import_as_the_contracts_say(repository: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=repository, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_are_at_the_top(modules: dict[str, ast.Module]) -> None:
    lazy = {
        path
        for path, module in modules.items()
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert lazy == LAZY.keys()
