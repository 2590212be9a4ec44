"""`kumoi capacity` and its chart: exact, as wide as the terminal, and readable without colours."""

import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import date, timedelta
from itertools import pairwise

import fake_rows as rows
import pytest
from msgspec.structs import replace

from kumoi.cli.capacity_chart import ATTESTED, PLANNED, UNATTESTED, chart_lines, gauge_lines
from kumoi.cli.capacity_series import day_at, day_values, least_by_column, top_gflops
from kumoi.cli.capacity_svg import svg_of
from kumoi.cli.hosts import devices_show
from kumoi.cli.language import language_use
from kumoi.cli.text import text_pad, text_width
from kumoi.model.capacity import (
    Capacity,
    CapacityLeast,
    CapacityMeasure,
    CapacitySeries,
    CapacityStep,
    Finding,
)

SVG = "{http://www.w3.org/2000/svg}"


def account(planned: int = 759_859_200, live: int | None = 7_915_200) -> Capacity:
    """One step of each, over a quarter."""
    made = rows.capacity()
    whole = CapacityStep(made.since, made.until, planned, 0)
    there = CapacityStep(made.since, made.until, live, None if live is None else 0)
    return replace(made, planned=CapacitySeries((whole,), None, 0), live=CapacitySeries((there,), None, 0))


def test_days_are_spread_over_columns_by_their_least() -> None:
    made = rows.capacity()
    values = day_values(made.live, made.since, made.until)
    assert len(values) == 90
    assert values[:31] == [None] * 31
    assert values[31:59] == [7_915_200] * 28
    assert values[59:] == [None] * 31
    assert least_by_column([5, 3, None, None, 7, 9], 3) == [3, None, 7]
    assert least_by_column([1, 2], 6) == [1, 1, 1, 2, 2, 2]
    assert len(least_by_column(values, 17)) == 17
    assert (day_at(made, 0, 1), day_at(made, 1, 1)) == (made.since, made.until)


@pytest.mark.parametrize("width", [40, 80, 133])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_line_is_wider_than_the_terminal(width: int, language: str) -> None:
    language_use(language)
    try:
        lines = [*chart_lines(rows.capacity(), width)]
        assert all(text_width(line) <= width for line in lines[:-1])
        if width >= 80:
            assert all(text_width(line) <= width for line in gauge_lines(rows.capacity(), width))
    finally:
        language_use("en")


def test_a_chart_shows_what_is_planned_what_is_there_and_what_nobody_measured() -> None:
    lines = list(chart_lines(account(live=379_929_600), 80))
    top_row = next(index for index, line in enumerate(lines) if PLANNED in line.partition("|")[2])
    first_live = next(index for index, line in enumerate(lines) if ATTESTED in line.partition("|")[2])
    assert top_row < first_live
    assert "?" not in lines[12]
    ground = list(chart_lines(rows.capacity(), 80))[12].strip()
    assert re.fullmatch(r"\+\?+-+", ground), "a month that nobody measured, one measured, one to come"
    assert any(line.strip().startswith("0.75 >") for line in lines)
    assert lines[13].split() == ["2026-01-01", "2026-02-14", "2026-03-31"]


def test_a_chart_reaches_the_second_threshold_only_when_something_does() -> None:
    assert top_gflops(account()) < 7_500_000_000 < top_gflops(account(planned=7_500_641_400))
    assert any("7.50 >" in line for line in chart_lines(account(planned=7_500_641_400), 80))


def test_gauges_tell_what_is_attested_from_what_is_not() -> None:
    lines = list(gauge_lines(rows.capacity(), 100))
    planned = next(line for line in lines if "planned" in line)
    assert planned.count(UNATTESTED) == 40
    assert "0.76 / 0.75  unclear" in planned
    assert any("0.76 of it from models whose datasheet nobody recorded" in line for line in lines)
    assert any("days that nobody measured: 31" in line for line in lines)
    assert any("least: 0.01 on 2026-02-01" in line for line in lines)
    assert sum("nothing known" in line for line in lines) == 2
    half = CapacityLeast("2026-01-01", 375_000_000, 0)
    made = rows.capacity()
    first = replace(made.criteria[0], planned=CapacityMeasure(half, None, 0, Finding.UNMET))
    lines = list(gauge_lines(replace(made, criteria=(first,)), 100))
    assert lines[1].count(ATTESTED) == 20
    assert "not met" in lines[1]


def test_what_is_just_short_is_not_shown_as_enough() -> None:
    short = CapacityLeast("2026-01-01", 749_999_999, 0)
    made = rows.capacity()
    first = replace(made.criteria[0], planned=CapacityMeasure(short, short, 0, Finding.UNMET))
    text = "\n".join(gauge_lines(replace(made, criteria=(first,)), 100))
    assert "0.749999999 / 0.75" in text


def test_widths_count_japanese_characters_twice() -> None:
    assert text_width("計画") == 4
    assert text_pad("計画", 8) == "計画    "
    assert text_pad("planned", 3) == "planned"


def test_the_svg_is_one_well_formed_picture_with_words_for_those_who_do_not_see_it() -> None:
    language_use("en")
    made = rows.capacity()
    root = ElementTree.fromstring(svg_of(made))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    titles = {child.get("id"): child.text for child in root if child.get("id")}
    assert "2026-01-01" in (titles["title"] or "")
    assert "at least 0.76 EFLOPS" in (titles["desc"] or "")
    assert len(root.findall(f"{SVG}polyline")) == 1
    assert len(root.findall(f"{SVG}polygon")) == 1
    labels = [text.text for text in root.findall(f"{SVG}text")]
    assert "0.75" in labels
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", svg_of(made))]
    assert max(numbers) < 900
    assert min(numbers) >= 0


def test_each_run_of_measured_days_is_an_area_of_its_own() -> None:
    first = date(2026, 1, 1)
    steps = tuple(
        CapacityStep(
            (first + start * timedelta(days=1)).isoformat(),
            (first + (end - 1) * timedelta(days=1)).isoformat(),
            value,
            None if value is None else 0,
        )
        for (start, end), value in zip(
            pairwise((0, 10, 20, 30, 90)), (1_000_000, None, 2_000_000, 3_000_000), strict=True
        )
    )
    made = replace(rows.capacity(), live=CapacitySeries(steps, None, 10))
    root = ElementTree.fromstring(svg_of(made))
    areas = root.findall(f"{SVG}polygon")
    assert len(areas) == 2
    assert len((areas[1].get("points") or "").split()) == 6, "two steps of two corners, and the ground"


@pytest.mark.usefixtures("logged_in")
def test_pipes_get_exact_rows_and_programs_the_whole_account(kumoi, tmp_path):
    ran = kumoi("capacity")
    assert ran.lines[0] == ["1", "planned", "unclear", "0.759859200", "0.759859200", "2025-09-30"]
    assert ran.lines[4][:4] == ["live", rows.SITE, "gpu", "H200"]
    whole = kumoi("capacity", "--from", "2026-01-01", "--to", "2026-03-31", "--json").json
    assert whole["criteria"][0]["threshold_gflops"] == 750_000_000
    picture = tmp_path / "capacity.svg"
    assert kumoi("capacity", "--svg", picture).code == 0
    assert ElementTree.fromstring(picture.read_text()).tag == f"{SVG}svg"
    failed = kumoi("capacity", "--svg", tmp_path / "absent" / "x.svg")
    assert (failed.code, failed.out) == (2, "")


@pytest.mark.usefixtures("logged_in")
def test_a_terminal_gets_gauges_and_a_chart(kumoi, monkeypatch):
    monkeypatch.setattr("kumoi.cli.output.sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("kumoi.cli.output.Output.__init__", _as_terminal)
    ran = kumoi("capacity")
    assert ran.code == 0, ran.err
    assert "(1) 0.75 EFLOPS from services that start by 2025-09-30" in ran.out
    assert "(2) 7.50 EFLOPS from services that start from 2025-10-01 to 2028-03-31" in ran.out
    assert "EFLOPS by day" in ran.out
    assert "tokyo" in ran.out, "the site's name, not its id"
    assert "H200" in ran.out


def _as_terminal(self, json_output):
    self.json_output, self.terminal = json_output, True


@pytest.mark.usefixtures("logged_in")
def test_the_query_is_what_was_asked(kumoi, plane):
    kumoi("capacity", "--from", "2026-01-01", "--to", "2026-03-31", "--count-from", "2025-04-01")
    query = {"from": "2026-01-01", "to": "2026-03-31", "count_from": "2025-04-01"}
    assert plane.asked[-1].query == query


@pytest.mark.usefixtures("logged_in")
def test_a_datasheet_is_recorded_by_its_digest_and_the_rest_stays(kumoi, plane, tmp_path):
    sheet = tmp_path / "h200.pdf"
    sheet.write_bytes(b"%PDF datasheet")
    made = kumoi("device-model", "put", "H200", "--datasheet-file", sheet, "--json").json
    assert made["datasheet_sha256"] == hashlib.sha256(b"%PDF datasheet").hexdigest()
    assert (made["fp16_dense_gflops"], made["vendor"], made["attested"]) == (989_400, "NVIDIA", True)
    assert "if-match" not in plane.asked[-1].headers
    unknown = kumoi("device-model", "put", "X9", "--dense-gflops", "1000")
    assert unknown.code == 2
    fresh = ("device-model", "put", "X 9", "--vendor", "Maker", "--dense-gflops", "1000", "--memory", "8G")
    made = kumoi(*fresh, "--datasheet", "its datasheet", "--sparse-gflops", "2000", "--json").json
    assert (made["name"], made["memory_bytes"], made["attested"]) == ("X 9", 8 * 10**9, False)
    assert json.loads(plane.asked[-1].body)["fp16_sparse_gflops"] == 2_000


@pytest.mark.usefixtures("logged_in")
def test_a_machine_is_declared_lost_only_by_who_says_so(kumoi, plane):
    refused = kumoi("host", "lost", "local")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert plane.asked == []
    assert "state\tquarantined" in kumoi("host", "lost", "local", "--yes").out


def test_devices_are_told_by_model_with_what_is_used_and_what_is_sick() -> None:
    assert devices_show(rows.DEVICES) == "3 H200 (1.5 used, 1 unhealthy), 1 H200/1g.18gb"
    assert devices_show(()) == "-"
