"""What import contracts cannot see: calls that make a pure room depend on more than its arguments."""

import ast
from collections.abc import Iterator

PURE_ROOMS = ("kumoi/core/", "kumoi/guard/", "kumoi/ledger/", "kumoi/model/")
IMPURE_NAMES = {"open", "print", "input", "breakpoint", "exec", "eval", "__import__"}
IMPURE_METHODS = {
    # clocks
    "now", "utcnow", "today", "time_ns", "monotonic", "perf_counter",
    # random sources and fresh keys
    "urandom", "uuid1", "uuid4", "token_bytes", "token_hex", "generate", "generate_key",
    # the file system, through paths too
    "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "exists", "is_file", "is_dir",
    "iterdir", "glob", "rglob", "stat", "resolve", "cwd", "home", "expanduser", "touch", "rename",
    # the environment
    "getenv", "getLogger",
}  # fmt: skip
# The policies are part of the program like its modules: reading them once, at import, is importing them.
EXCEPTIONS = {("kumoi/guard/packaged.py", "read_text")}


def _impure_calls(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_NAMES:
            yield node.func.id
        elif isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
            yield node.func.attr


def test_pure_rooms_depend_on_their_arguments_alone(modules: dict[str, ast.Module]) -> None:
    pure = {path: module for path, module in modules.items() if path.startswith(PURE_ROOMS)}
    assert len(pure) > len(PURE_ROOMS)
    assert {(path, call) for path, module in pure.items() for call in _impure_calls(module)} == EXCEPTIONS


def test_nothing_sleeps_instead_of_waiting_for_something(modules: dict[str, ast.Module]) -> None:
    sleepers = [
        f"{path}:{node.lineno}"
        for path, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
    ]
    assert sleepers == []
