"""`kumoi service`: what is sent, what is printed, how it ends."""

import json

import fake_rows as rows
import msgspec
import pytest
from fake_services import FAILING, FAILING_TEXT, sent, step_make
from msgspec.structs import replace

from kumoi.cli.service_chart import bar_lines, chart_lines
from kumoi.cli.service_show import reason_shorten
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.model.services import RevisionSpec, ScaleSpec, ServiceSpec

pytestmark = pytest.mark.usefixtures("logged_in")
SPEC = ServiceSpec(RevisionSpec(8_080, ("serve",), environment={"A": "1"}), "web", ScaleSpec(0, 4))
WEB = rows.id_make(IdKind.SERVICE, 1)


@pytest.fixture
def web(plane):
    return plane.services.add(SPEC)


def test_flags_become_the_specification(kumoi, plane):
    flags = (
        "--name shop --port 8080 -e A=1 --secret KEY=api-key --min 1 --max 8 --concurrency 16 --policy panic"
        " --slo 0.5 --violations 0.5% --host www.example.jp --path /v2 --keep-path --ready /ok --alive /up"
        " --start-timeout 5m --surge 2 --no-rollback --cpu 0.5 --memory 1Gi --pool fast --site tokyo-1"
        " --class guaranteed --priority 3 --key mine"
    )
    ran = kumoi("service", "create", *flags.split(), "--", "serve", "--loud")
    assert (ran.code, ran.out) == (0, WEB + "\n")
    assert plane.asked[-1].headers["idempotency-key"] == "mine"
    body = sent(plane.asked)
    run = body["run"]
    assert (run["command"], run["port"], run["concurrency"]) == (["serve", "--loud"], 8080, 16)
    assert (run["environment"], run["secrets"]) == ({"A": "1"}, {"KEY": "api-key"})
    assert (run["resources"]["cpu_milli"], run["resources"]["memory_bytes"]) == (500, 1 << 30)
    assert (run["readiness"]["path"], run["readiness"]["start_timeout_s"]) == ("/ok", 300)
    assert run["liveness"]["path"] == "/up"
    assert body["scale"] | {"schedules": [], "pin": None} == {
        "min_replicas": 1,
        "max_replicas": 8,
        "policy": "panic",
        "slo_wait_ms": 500,
        "violation_target_ppm": 5_000,
        "schedules": [],
        "pin": None,
    }
    route = body["route"]
    assert (route["hosts"], route["path"], route["strip_path"]) == (["www.example.jp"], "/v2", False)
    assert (body["rollout"]["surge"], body["rollout"]["rollback"]) == (2, False)
    assert (body["name"], body["pool"], body["work_class"], body["priority"]) == (
        "shop",
        "fast",
        "guaranteed",
        3,
    )
    assert body["rules"]["sites"] == ["tokyo-1"]


def test_flags_go_over_a_file(kumoi, plane, tmp_path):
    source = tmp_path / "web.toml"
    source.write_text('name = "web"\n[run]\nport = 80\ncommand = ["a"]\n[scale]\nmax_replicas = 3\n')
    assert kumoi("service", "create", "-f", str(source), "--min", "2").code == 0
    body = sent(plane.asked)
    assert (body["run"]["port"], body["scale"]["min_replicas"], body["scale"]["max_replicas"]) == (80, 2, 3)
    as_json = json.dumps({"run": {"port": 81, "image": "x@sha256:" + "0" * 64}})
    assert kumoi("service", "create", "-f", "-", stdin=as_json).code == 0
    assert sent(plane.asked)["run"]["port"] == 81


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--port", "80"), "say what to run"),
        (("--", "serve"), "say where replicas listen"),
        (("--port", "80", "--violations", "few", "--", "serve"), "few is no percentage"),
        (("--port", "80", "--slo", "soon", "--", "serve"), "soon is no amount"),
        (("--port", "80", "--image", "nginx:1", "--", "serve"), "write NAME@sha256:HEX, tags are not taken"),
        (("--port", "80", "-e", "A", "--", "serve"), "A has no ="),
    ],
)
def test_what_makes_no_sense_is_not_sent(kumoi, plane, arguments, told):
    ran = kumoi("service", "create", *arguments)
    assert ran.code == 2
    assert told in ran.err
    assert plane.asked == []


def test_update_changes_what_is_named_and_nothing_else(kumoi, plane, web):
    assert kumoi("service", "update", "web", "--max", "9", "-e", "B=2").code == 0
    body = msgspec.json.decode(msgspec.json.encode(sent(plane.asked)), type=ServiceSpec)
    expected = replace(
        SPEC,
        scale=replace(SPEC.scale, max_replicas=9),
        run=replace(SPEC.run, environment={"A": "1", "B": "2"}),
    )
    assert body == expected
    put = next(asked for asked in plane.asked if asked.method == "PUT")
    assert put.headers["if-match"] == '"1"'


def test_waiting_ends_as_the_rollout_does(kumoi, plane):
    assert kumoi("service", "create", "--port", "80", "--wait", "--", "serve").code == 0
    plane.services.outcome = "failed"
    ran = kumoi("service", "create", "--port", "80", "--wait", "--timeout", "60", "--", "serve")
    assert ran.code == 7
    assert FAILING_TEXT in ran.err
    assert "rollout failed" in ran.err
    ran = kumoi("service", "create", "--port", "80", "--wait", "--json", "--", "serve")
    assert (ran.code, ran.json["rollout"]) == (7, "failed")


def test_list_and_show(kumoi, plane, web):
    assert kumoi("service", "list").lines[0][0] == "web"
    plane.services.rows[WEB] = replace(web, conditions=(FAILING,), replicas=tuple(plane.services._replicas()))
    ran = kumoi("service", "show", "web")
    lines = ran.out.splitlines()
    assert lines[0] == f"! {FAILING_TEXT}"
    assert lines[1] == "web is active: revision none, rollout under way"
    assert lines[2].strip() == f"/{rows.PROJECT}/web"
    assert "0 ready, 2 starting, 0 draining; 2 wanted (0 to 4)" in lines[3]
    assert lines[-1].split("\t")[2] == "ready"
    assert kumoi("service", "show", WEB, "--json").json["name"] == "web"
    assert kumoi("service", "show", "nobody").code == 5
    impossible = kumoi("service", "show", "Nope_X")
    assert (impossible.code, "lower-case letters" in impossible.err) == (5, True)


def test_following_in_a_pipe_prints_a_line_for_each_change(kumoi, plane, web):
    plane.services.rows[WEB] = replace(web, state="deleting")
    ran = kumoi("service", "show", "web", "--follow")
    assert [line[1] for line in ran.lines] == ["deleting", "deleted"]
    plane.services.rows[WEB] = replace(web, state="deleting")
    ran = kumoi("service", "show", "web", "-f", "--json")
    assert [json.loads(line)["state"] for line in ran.out.splitlines()] == ["deleting", "deleted"]


def test_why_is_a_sentence_and_its_figures(kumoi, plane, web):
    ran = kumoi("service", "why", "web")
    assert ran.out.splitlines()[0] == "replicas: 3, unchanged since the last look"
    assert [line[2] for line in ran.lines[1:]] == ["1", "2", "3"]
    assert len(kumoi("service", "why", "web", "--limit", "2", "--json").json["steps"]) == 2


def test_sentences_are_in_the_language_asked_for(kumoi, plane, web):
    plane.services.rows[WEB] = replace(web, rollout="done", conditions=(FAILING,))
    assert kumoi("service", "show", "web").out.startswith(
        "! replicas of revision 2 cannot stand (failures in a row: 3)"
    )
    assert kumoi("--lang", "ja", "service", "show", "web").out.startswith(
        "! リビジョン2のレプリカが3回続けて"
    )
    ran = kumoi("--lang", "ja", "service", "why", "web")
    assert ran.out.startswith("レプリカ3個。前回の判断から変更なし。リビジョン2のレプリカが")
    assert ran.lines[-1][-1] == "レプリカ3個。前回の判断から変更なし"
    told = kumoi("--lang", "ja", "service", "why", "web", "--json").json
    assert [one["code"] for one in (told["conditions"][0], told["steps"][0])] == [
        "revision_failing",
        "steady",
    ]


def test_states_are_in_the_language_asked_for_in_prose_and_as_they_are_in_pipes(kumoi, plane, web):
    plane.services.rows[WEB] = replace(web, rollout="failed", revision=2)
    prose = kumoi("--lang", "ja", "service", "show", "web").out.splitlines()[0]
    assert prose == "webは稼働中。リビジョン: 2、切り替え: 失敗"
    plane.services.rows[WEB] = replace(web, rollout="rolling", revision=0)
    prose = kumoi("--lang", "ja", "service", "show", "web").out.splitlines()[0]
    assert prose == "webは稼働中。リビジョン: なし、切り替え: 進行中"
    assert kumoi("--lang", "ja", "service", "list").lines[0][1] == "active"


def test_a_replica_that_wrote_nothing_is_said_to_have_written_nothing(kumoi, plane, web, monkeypatch):
    monkeypatch.setattr("kumoi.cli.services.parts_print", lambda session, parts: False)
    assert kumoi("service", "logs", "web").err.endswith("it wrote nothing\n")


def test_a_long_reason_is_shortened_beside_a_replica():
    assert reason_shorten("x" * 40) == "x" * 40
    assert (
        reason_shorten("it could not be started: " + "x" * 200)
        == "it could not be started: " + "x" * 14 + "…"
    )


def test_pins_and_rollouts(kumoi, plane, web):
    assert kumoi("service", "pin", "web", "3").code == 0
    assert "pinned to 3" in kumoi("service", "show", "web").out
    assert kumoi("service", "unpin", "web").code == 0
    assert kumoi("service", "rollout", "pause", "web").lines[0][2] == "paused"
    assert kumoi("service", "rollout", "resume", "web", "--json").json["rollout"] == "rolling"
    assert kumoi("service", "rollout", "undo", "web", "--to", "4", "--wait").code == 0
    assert sent(plane.asked) == {"revision": 4}
    assert kumoi("service", "rollout", "undo", "web", "--to", "7").code == 5
    assert [line[:2] for line in kumoi("service", "revisions", "web").lines] == [
        ["2", "rolling"],
        ["1", "serving"],
    ]


def test_replicas_are_listed_read_and_stopped(kumoi, plane, web):
    plane.job_add(JobSpec(("serve",)))
    listed = kumoi("service", "replicas", "web").lines
    assert [line[2] for line in listed] == ["starting", "ready"]
    ran = kumoi("service", "logs", "web", "--follow")
    assert (ran.out, "careful\n" in ran.err) == ("hello\n", True)
    assert f"replica {listed[1][0]}, ready" in ran.err
    ran = kumoi("service", "logs", "web", "--replica", listed[1][0], "--stream", "stdout")
    assert (ran.out, ran.err) == ("hello\n", "")
    assert kumoi("service", "logs", "web", "--replica", "rep_x").code == 5
    assert "draining" in kumoi("service", "stop", "web", listed[1][0]).out


def test_delete_names_the_version_that_was_seen(kumoi, plane, web):
    ran = kumoi("service", "delete", "web")
    assert (ran.code, ran.out) == (0, "web is deleting\n")
    assert plane.asked[-1].headers["if-match"] == '"1"'
    assert kumoi("service", "delete", "web", "--json").json["state"] == "deleting"


def test_the_bars_have_a_cell_for_what_there_is(web):
    drawn = list(bar_lines(replace(web, ready=2, starting=1, wanted=4), step_make(4), 130))
    assert drawn[0].count("#") == 25
    assert drawn[0].count("+") == 13
    assert "[" + "#" * 25 + "+" * 13 + "." * 12 + "]" in drawn[0]
    assert drawn[1].count("*") == 28
    empty = list(bar_lines(replace(web, starting=0, wanted=0), None, 40))
    assert len(empty) == 1
    assert "[          ]" in empty[0]
    waiting = list(bar_lines(web, step_make(1), 130))
    assert "*" * 50 in waiting[1]


def test_the_chart_has_a_column_for_each_time(web):
    assert list(chart_lines((), 80)) == []
    steps = [step_make(number) for number in range(20)]
    drawn = list(chart_lines(steps, 200))
    assert drawn[0] == "    20|" + " " * 17 + "---"
    assert drawn[7].startswith("   2.5|")
    assert drawn[8] == "      +" + "-" * 20
    assert drawn[-2] == " " * 7 + "08:00:00" + "08:00:19".rjust(12)
    later = replace(step_make(9), at="2026-11-23T08:01:00.000000Z")
    sparse = list(chart_lines([step_make(0), step_make(5), later], 200))
    assert sparse[0] == "    10|" + " " * 60 + "-"
    assert sparse[7] == "   1.2|" + "-" * 5 + "#" * 56
    many = [step_make(number) for number in range(60)]
    assert max(map(len, chart_lines(many, 40))) <= 60
    assert all(len(line) <= 40 for line in list(chart_lines(many, 40))[:-1])
    still = [replace(step_make(1), wanted=0, ready=0, demand=0.0)]
    assert any(line.endswith("+-") for line in chart_lines(still, 80))
