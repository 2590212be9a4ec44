"""The form of the reports, which other programs read."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
MACHINE: dict[str, object] = {"cpus": 2}


def _load(name: str) -> ModuleType:
    """A script of bench/, which is no package: its scripts are run as programs."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


report = _load("report")


def _figures() -> tuple[object, ...]:
    return (
        report.Figure("rate_per_s", 1234.56, "1/s", "higher", 1_000.0, 900.5),
        report.Figure("wait_ms", 12.0, "ms", "lower", 10.0),
        report.Figure("rounds", 20, "rounds", "higher"),
    )


def test_json_is_one_object_with_the_agreed_names() -> None:
    text = report.report_json(report.Report("submit", 7, _figures()), MACHINE)
    assert "\n" not in text
    value = json.loads(text)
    assert list(value) == ["bench", "machine", "seed", "figures"]
    assert (value["bench"], value["machine"], value["seed"]) == ("submit", MACHINE, 7)
    assert [set(figure) for figure in value["figures"]] == [
        {"name", "value", "unit", "better", "goal", "reference"}
    ] * 3
    assert value["figures"][1] == {
        "name": "wait_ms",
        "value": 12.0,
        "unit": "ms",
        "better": "lower",
        "goal": 10.0,
        "reference": None,
    }


def test_json_is_read_back_as_it_was() -> None:
    made = report.Report("submit", 7, _figures())
    assert report.report_parse(report.report_json(made, MACHINE)) == (made, MACHINE)


def test_a_goal_is_a_floor_or_a_ceiling() -> None:
    rate, wait, rounds = _figures()
    assert (rate.reached, wait.reached, rounds.reached) == (True, False, None)  # type: ignore[attr-defined]


def test_the_table_has_a_line_a_figure() -> None:
    lines = report.report_table(report.Report("submit", 7, _figures()), MACHINE).splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["figure", "rate_per_s", "wait_ms", "rounds"]
    assert lines[4].split() == ["rate_per_s", "1,235", "1/s", ">=", "1,000", "900.5", "yes"]
    assert lines[5].split()[-1] == "NO"
    assert lines[6].split() == ["rounds", "20", "rounds", "-", "-", "-"]


def test_the_table_for_documents_has_a_line_a_figure() -> None:
    lines = report.report_markdown(report.Report("submit", 7, _figures())).splitlines()
    assert lines[2] == "| `rate_per_s` | 1,235 | 1/s | >= 1,000 | 900.5 |"
    assert len(lines) == 2 + len(_figures())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (20.0, "20"), (0.949, "0.949"), (69.44, "69.4"), (548.46, "548.5"), (8323.6, "8,324")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert report.number_text(value) == text
