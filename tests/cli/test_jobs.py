"""`kumoi job`: what is sent, what is printed, how it ends."""

import json

import fake_rows as rows
import msgspec
import pytest

from kumoi.cli.text import bytes_show, cpu_parse, duration_parse, memory_parse
from kumoi.model.jobs import (
    DeviceRequest,
    GangScope,
    JobBatch,
    JobSpec,
    LatencyLimit,
    PlacementRules,
    Spread,
    SpreadOver,
)
from kumoi.model.places import IsolationClass

pytestmark = pytest.mark.usefixtures("logged_in")

IMAGE = "localhost/x@sha256:" + "0" * 64


def sent(plane, kind=JobSpec):
    return msgspec.json.decode([a for a in plane.asked if a.method == "POST"][-1].body, type=kind)


def test_run_prints_what_the_job_writes_and_ends_as_it_does(kumoi, plane):
    ran = kumoi("job", "run", "--", "echo", "--json")
    assert ran.code == 0
    assert ran.out == "hello\n"
    assert "careful\n" in ran.err
    assert sent(plane).command == ("echo", "--json")


def test_run_says_how_a_job_failed(kumoi, plane):
    plane.outcome = ("failed", 3)
    ran = kumoi("job", "run", "--", "false")
    assert ran.code == 7
    assert "failed (a task failed for good)" in ran.err
    assert "task 0: exited 3, attempt 1" in ran.err


def test_run_as_json_lines(kumoi):
    ran = kumoi("job", "run", "--json", "--", "echo")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "ended"
    assert "".join(line["text"] for line in lines if line.get("stream") == "stdout") == "hello\n"
    assert lines[-1]["job"]["state"] == "succeeded"
    assert ran.err == ""


def test_an_array_shows_how_it_ended_and_not_what_it_wrote(kumoi, plane):
    plane.outcome = ("failed", 1)
    ran = kumoi("job", "run", "--array", "9", "--", "false")
    assert (ran.code, ran.out) == (7, "")
    assert "and 4 more" in ran.err


def test_flags_become_the_specification(kumoi, plane):
    flags = (
        "--name train -e A=1 -e B=x=y --secret KEY=api-key --cpu 1.5 --memory 2Gi --time 2h --processes 9"
        " --device gpu:2:a100 --device qpu --array 4 --gang --retries 2 --retry-on exit_code"
        " --retry-exit-code 75 --on-host-lost replace --priority -5 --class preemptible"
        f" --after job_a --after-ended job_b --pool fast --network --key mine --image {IMAGE}"
    )
    ran = kumoi("job", "submit", *flags.split(), "--", "python3", "train.py")
    assert (ran.code, ran.out) == (0, rows.id_make("job", 100) + "\n")
    assert plane.asked[-1].headers["idempotency-key"] == "mine"
    assert json.loads(msgspec.json.encode(sent(plane))) == {
        "command": ["python3", "train.py"],
        "name": "train",
        "environment": {"A": "1", "B": "x=y"},
        "secrets": {"KEY": "api-key"},
        "resources": {
            "cpu_milli": 1500,
            "memory_bytes": 2 << 30,
            "disk_bytes": 0,
            "wall_time_s": 7200,
            "processes": 9,
            "devices": [
                {"kind": "gpu", "count": 2, "models": ["a100"], "milli": 1000, "partition": None},
                {"kind": "qpu", "count": 1, "models": [], "milli": 1000, "partition": None},
            ],
        },
        "array_size": 4,
        "gang": True,
        "retries": {"limit": 2, "on": ["exit_code"], "exit_codes": [75]},
        "on_host_lost": "replace",
        "priority": -5,
        "work_class": "preemptible",
        "depends_on": [
            {"job": "job_a", "condition": "succeeded"},
            {"job": "job_b", "condition": "ended"},
        ],
        "pool": "fast",
        "rules": {
            "sites": [],
            "jurisdictions": [],
            "latency": [],
            "isolation": None,
            "spread": None,
            "gang_within": None,
            "dedicated": False,
            "reservation": None,
        },
        "network": True,
        "image": IMAGE,
        "port": None,
    }


def test_flags_say_where_it_may_run(kumoi, plane):
    flags = (
        "--disk 10Gi --device gpu:0.25 --device gpu:1:h200/1g.18gb --site tokyo-1 --jurisdiction JP"
        " --latency osaka=9 --isolation host --spread failure_domain:4 --gang --gang-within fabric_island"
        " --dedicated --reservation spring"
    )
    assert kumoi("job", "submit", *flags.split(), "--", "true").code == 0
    found = sent(plane)
    assert found.resources.disk_bytes == 10 << 30
    assert found.resources.devices == (
        DeviceRequest("gpu", milli=250),
        DeviceRequest("gpu", models=("h200",), partition="1g.18gb"),
    )
    assert found.rules == PlacementRules(
        sites=("tokyo-1",),
        jurisdictions=("JP",),
        latency=(LatencyLimit("osaka", 9),),
        isolation=IsolationClass.HOST,
        spread=Spread(SpreadOver.FAILURE_DOMAIN, 4),
        gang_within=GangScope.FABRIC_ISLAND,
        dedicated=True,
        reservation="spring",
    )


def test_without_flags_the_specification_is_the_default_one(kumoi, plane):
    kumoi("job", "submit", "true")
    assert sent(plane) == JobSpec(("true",))


TOML = 'command = ["a"]\nname = "x"\n[environment]\nA = "1"\nB = "2"\n[resources]\ncpu_milli = 5\n'


@pytest.mark.parametrize("form", ["toml", "json", "stdin"])
def test_flags_go_over_what_the_file_says(kumoi, plane, tmp_path, form):
    text = json.dumps(
        {"command": ["a"], "name": "x", "environment": {"A": "1", "B": "2"}, "resources": {"cpu_milli": 5}}
    )
    source = tmp_path / f"job.{form}"
    source.write_text(TOML if form == "toml" else text)
    name, stdin = ("-", text) if form == "stdin" else (source, None)
    ran = kumoi("job", "submit", "-f", name, "-e", "B=3", "--memory", "64Mi", "--json", stdin=stdin)
    assert ran.json["name"] == "x"
    found = sent(plane)
    assert found.environment == {"A": "1", "B": "3"}
    assert (found.resources.cpu_milli, found.resources.memory_bytes) == (5, 64 << 20)
    assert found.command == ("a",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"command": []}', "say what to run"),
        ('{"command": [1]}', "$.command"),
        ('{"command": ["a"], "cmd": 1}', "cmd"),
        ('{"command": ["a"], "resources": {"cpu_milli": -1}}', "$.resources.cpu_milli"),
        ("[]", "an object is needed"),
        ("{", "not JSON"),
        ("{}", "say what to run"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_bad_specification_is_a_usage_error_and_nothing_is_sent(kumoi, plane, tmp_path, text, said):
    source = tmp_path / "job.json"
    source.write_text(text, errors="surrogateescape")
    ran = kumoi("job", "submit", "-f", source)
    assert ran.code == 2
    assert said in ran.err
    assert plane.asked == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--cpu", "many"],
        ["--cpu", "-1"],
        ["--memory", "2X"],
        ["--time", "soon"],
        ["--device", "gpu:x"],
        ["--device", "gpu:0"],
        ["--device", "gpu:1.5"],
        ["--device", "gpu:0.0001"],
        ["--device", "gpu:NaN"],
        ["--device", "gpu:inf"],
        ["--device", "gpu:1:a100/half"],
        ["--disk", "much"],
        ["--spread", "rack"],
        ["--spread", "host:0"],
        ["--spread", "host:x"],
        ["--latency", "tokyo"],
        ["--latency", "tokyo=near"],
        ["--jurisdiction", "Japan"],
        ["-e", "A"],
        ["--name", "Bad Name"],
        ["--cpu", "0"],
        ["--memory", "1"],
        ["-f", "/nonexistent.json"],
    ],
)
def test_bad_flags_are_refused_here(kumoi, plane, flags):
    assert kumoi("job", "submit", *flags, "--", "true").code in {1, 2}
    assert plane.asked == []


BATCHES = {
    "jobs.json": '{"jobs": [{"command": ["a"]}, {"command": ["b"], "depends_on": [{"job": "x"}]}]}',
    "list.json": '[{"command": ["a"]}, {"command": ["b"]}]',
    "lines.jsonl": '{"command": ["a"]}\n\n{"command": ["b"]}\n',
    "jobs.toml": '[[jobs]]\ncommand = ["a"]\n[[jobs]]\ncommand = ["b"]\n',
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_from_each_form_of_file(kumoi, plane, tmp_path, name):
    (tmp_path / name).write_text(BATCHES[name])
    ran = kumoi("job", "batch", tmp_path / name)
    assert ran.code == 0
    assert len(ran.lines) == 2
    assert [spec.command for spec in sent(plane, JobBatch).jobs] == [("a",), ("b",)]


def test_look_at_jobs(kumoi, plane):
    plane.polls_to_end = 1
    job = plane.job_add(JobSpec(("sh", "-c", "a b"), name="one")).id
    plane.job_add(JobSpec(("true",), name="two"))
    assert [line[1] for line in kumoi("job", "list").lines] == ["two", "one"]
    assert kumoi("job", "list", "--limit", 1, "--json").json["more"] is True
    assert "--limit" in kumoi("job", "list", "--limit", 1).err
    shown = dict(kumoi("job", "show", job).lines)
    assert (shown["state"], shown["spec.command"]) == ("succeeded", "sh -c 'a b'")
    assert kumoi("job", "show", job, "--json").json["spec"]["command"] == ["sh", "-c", "a b"]
    assert kumoi("job", "list", "--state", "succeeded").lines[0][1] == "one"
    assert kumoi("job", "tasks", job).lines == [
        ["0", "succeeded", "1", "exited", "0", "0.5", "1048576", rows.HOST, rows.AT, rows.AT]
    ]
    assert kumoi("job", "tasks", job, "--json").json["items"][0]["attempts"][0]["number"] == 1
    assert kumoi("job", "why", job).out.splitlines() == [
        f"{job} queued: no host takes its next task now: 1 not enough CPU free",
        "not enough CPU free: 1 hosts",
    ]
    assert kumoi("--lang", "ja", "job", "why", job).out.splitlines()[0] == (
        f"{job} queued: 今、次のタスクを受け入れるホストがない（CPUの空きが足りない: 1台）"
    )
    told = kumoi("job", "why", job, "--json").json
    assert told["refusals"] == [{"code": "no_cpu", "reason": "not enough CPU free", "hosts": 1}]


def test_wait_and_cancel(kumoi, plane):
    job = plane.job_add(JobSpec(("true",))).id
    ran = kumoi("job", "wait", job)
    assert (ran.code, ran.out) == (0, f"{job} succeeded\n")
    assert kumoi("job", "wait", job, "--json").json["state"] == "succeeded"
    other = plane.job_add(JobSpec(("true",))).id
    assert kumoi("job", "cancel", other, "--json").json["state"] == "cancelled"
    assert kumoi("job", "wait", other).code == 7


def test_logs_keep_the_streams_apart(kumoi, plane):
    job = plane.job_add(JobSpec(("true",))).id
    plane.logs["stdout"] = bytes(range(256))
    ran = kumoi("job", "logs", job, "--stream", "stderr")
    assert (ran.out, ran.err) == ("", "careful\n")
    lines = kumoi("job", "logs", job, "--follow", "--json").out.splitlines()
    assert {json.loads(line)["stream"] for line in lines} == {"stdout", "stderr"}


def test_quantities():
    assert [cpu_parse(t) for t in ("2", "0.5", "500m")] == [2000, 500, 500]
    assert [memory_parse(t) for t in ("1", "2k", "1Ki", "512Mi", "1.5GiB", "2 G")] == [
        1, 2000, 1024, 512 << 20, 3 << 29, 2 * 10**9
    ]  # fmt: skip
    assert [duration_parse(t) for t in ("90", "15m", "2h", "1d", "0.5s")] == [90, 900, 7200, 86400, 0.5]
    assert [bytes_show(n) for n in (0, 1023, 1536, 5 << 30, 3 << 41)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "6.0 TiB",
    ]
