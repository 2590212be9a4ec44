"""What must be nowhere in the tree: addresses of registries, places of one developer's machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Written in parts, so that this file does not hold what it forbids.
REGISTRIES = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "crates" + ".io",
    "proxy.golang" + ".org",
)
INDEX_OPTION = re.compile(r"--(extra-)?index" + r"-url|--find" + r"-links")
DEVELOPER_PATH = re.compile(r"(?<![\w.$}])/(wo" + r"rk|ro" + r"ot|Us" + r"ers/\w+|ho" + r"me/(?!you\b)\w+)/")
GENERATED = {"build", "dist", "node_modules", "__pycache__"}


def _texts(repository: Path) -> Iterator[tuple[str, str]]:
    for place, directories, names in os.walk(repository):
        directories[:] = [
            name
            for name in directories
            if name not in GENERATED and not name.startswith(".") and not name.endswith(".egg-info")
        ]
        # A second working tree of git has a file .git, which is not of the tree.
        for name in sorted(set(names) - {".git"}):
            path = Path(place, name)
            try:
                yield path.relative_to(repository).as_posix(), path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


def test_the_tree_names_no_registry_and_no_developer_machine(repository: Path) -> None:
    found = []
    for path, text in _texts(repository):
        found += [f"{path}: {host}" for host in REGISTRIES if host in text]
        found += [f"{path}: {match[0]}" for match in INDEX_OPTION.finditer(text)]
        found += [f"{path}: {match[0]}" for match in DEVELOPER_PATH.finditer(text)]
    assert found == []


def test_requirements_are_locked_with_hashes(repository: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (repository / name).read_text("utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert lines
        assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []
