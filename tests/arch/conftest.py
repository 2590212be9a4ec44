"""The tree that the rules of the house are held against."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "kumoi"
# What a migration did is a record: it is never made shorter afterwards.
RECORDS = PACKAGE / "store" / "migrations" / "versions"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def modules() -> dict[str, ast.Module]:
    """Every module of the program by its path below the root, parsed."""
    return {
        path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if RECORDS not in path.parents
    }


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Every page of documentation by its path below the root."""
    found = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    return {path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in sorted(found)}
