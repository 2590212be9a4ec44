"""Documents say what is true: paths exist, links lead somewhere, settings and routes are described."""

import ast
import re
import runpy
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from kumoi.model.settings import Settings
from kumoi.web.api.openapi import document_build
from kumoi.web.api.routes import ROUTES

REQUIREMENTS = {"P": 2, "T": 23, "G": 2, "M": 26, "C": 44, "F": 18, "D": 6, "E": 12, "X": 4, "S": 3}
STATES = {"implemented", "partly", "not yet"}
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_CODE_PATH = re.compile(r"`((?:kumoi|tests|bench|demo|docs|tools)/[\w./-]*\.\w+)(?::\s+(\w+))?`")


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = (re.sub(r"[`*]|\]\(.*?\)|\[", "", heading) for heading in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _names(module: ast.Module) -> set[str]:
    """What a module defines at its top level."""
    defined: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    return defined


def test_links_lead_somewhere(repository: Path, pages: dict[str, str]) -> None:
    broken = []
    for page, text in pages.items():
        for link in _LINK.findall(_FENCE.sub("", text)):
            target, _, anchor = link.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            path = (repository / page).parent / target if target else repository / page
            if not path.exists() or (anchor and anchor not in _anchors(path.read_text("utf-8"))):
                broken.append(f"{page}: {link}")
    assert broken == []


def test_code_that_pages_name_exists(
    repository: Path, pages: dict[str, str], modules: dict[str, ast.Module]
) -> None:
    gone = []
    for page, text in pages.items():
        for path, name in _CODE_PATH.findall(text):
            if not (repository / path).exists():
                gone.append(f"{page}: {path}")
            elif name and name not in _names(modules[path]):
                gone.append(f"{page}: {path}: {name}")
    assert gone == []


def test_every_setting_is_documented(repository: Path) -> None:
    text = (repository / "docs/operator/operations.md").read_text("utf-8")
    documented = re.findall(
        r"^\| `(\w+)` \|", text[text.index("## Settings") : text.index("## What is in")], re.M
    )
    assert documented == [field.name for field in fields(Settings)]


@pytest.mark.parametrize("name", ["api", "lifecycles"])
def test_generated_pages_are_as_they_are_generated(repository: Path, name: str) -> None:
    rendered = runpy.run_path(str(repository / f"tools/{name}_page.py"))["page_render"]()
    written = (repository / f"docs/{name}.md").read_text("utf-8")
    assert written == rendered, f"run tools/{name}_page.py"


def test_every_route_says_what_it_does() -> None:
    paths = msgspec.json.decode(document_build(ROUTES))["paths"]
    summaries = {
        f"{method} {path}": operation["summary"]
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert len(summaries) == len(ROUTES)
    assert [route for route, summary in summaries.items() if len(summary.split()) < 2] == []


def test_every_requirement_has_its_row(repository: Path) -> None:
    text = (repository / "docs/requirements.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| [A-Z]-\d\d \|", line)
    ]
    expected = [
        f"{part}-{number:02}" for part, count in REQUIREMENTS.items() for number in range(1, count + 1)
    ]
    assert len(expected) == 140
    assert [row[0] for row in rows] == expected
    assert {len(row) for row in rows} == {9}
    assert {row[5] for row in rows} <= STATES
    for identifier, *_, state, implemented, tested, note in rows:
        assert bool(implemented) == bool(tested) == (state != "not yet"), identifier
        assert note or state == "implemented", identifier
    for state in STATES:
        assert f"| {state} | {sum(row[5] == state for row in rows)} |" in text
