"""Functions and files stay short enough to be read at once."""

import ast
from pathlib import Path

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500


def test_files_are_short(repository: Path, modules: dict[str, ast.Module]) -> None:
    lines = {path: len((repository / path).read_text("utf-8").splitlines()) for path in modules}
    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_functions_are_short(modules: dict[str, ast.Module]) -> None:
    lines = {
        f"{path}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES_MAX} == {}
