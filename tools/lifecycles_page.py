"""Write docs/lifecycles.md from `kumoi.core.lifecycles`. Run it after every change of a table."""

from pathlib import Path

from kumoi.core.lifecycles import LIFECYCLES, Lifecycle

PAGE = Path(__file__).parents[1] / "docs" / "lifecycles.md"
_HEAD = """\
# Lifecycles

Generated from `kumoi/core/lifecycles.py` by `tools/lifecycles_page.py`; a test holds the two together. States
move along these arrows only, by compare-and-swap, and the schema knows no other state.
"""


def page_render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section_render(lifecycle) for lifecycle in LIFECYCLES)])


def _section_render(lifecycle: Lifecycle) -> str:
    moves = [
        (source, target, cause)
        for source, targets in lifecycle.moves.items()
        for target, cause in targets.items()
    ]
    lines = [f"## {lifecycle.name.capitalize()}", "", "```mermaid", "stateDiagram-v2"]
    lines += [f"  [*] --> {state}" for state in lifecycle.entrances]
    lines += [f"  {source} --> {target}: {cause}" for source, target, cause in moves]
    lines += [f"  {state} --> [*]" for state in lifecycle.states if state in lifecycle.terminal]
    lines += ["```", "", "| From | To | When |", "|---|---|---|"]
    lines += [f"| {source} | {target} | {cause} |" for source, target, cause in moves]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page_render(), "utf-8")
