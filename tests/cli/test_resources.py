"""The commands on everything but jobs, files and the log: one table, plain and JSON."""

import json

import fake_rows as rows
import pytest

pytestmark = pytest.mark.usefixtures("logged_in")
EVENT = rows.id_make("evt", 1)

# The command, and something that its plain output must hold.
TABLE = [
    ("whoami", "organization\t" + rows.ORG + " (acme)"),
    ("org list", f"{rows.ORG}\tacme\tactive"),
    ("org show", "name\tacme"),
    ("org show acme", "name\tacme"),
    ("org suspend acme", "state\tsuspended"),
    ("org member list", f"{rows.USER}\tadmin\tuser\tactive"),
    ("org member create bob", "name\tbob"),
    ("org member create ci --service-account --organization acme", "kind\tservice_account"),
    (f"org member disable {rows.USER}", f"id\t{rows.USER}"),
    (f"org member enable {rows.USER}", f"id\t{rows.USER}"),
    ("org role list", f"{rows.BINDING}\t{rows.USER}\tmember\torganization"),
    (f"org role grant {rows.USER} member", "role\tmember"),
    (f"org role grant {rows.USER} viewer --project genome", "role\tmember"),
    (f"org role revoke {rows.BINDING}", f"removed: {rows.BINDING}"),
    ("notice list", f"{rows.NOTICE_SENDING.notice}\ttrial\t{rows.NOTICE_TARGET.id}\tpending\t0"),
    ("notice target list", f"{rows.NOTICE_TARGET.id}\twebhook\thttps://acme.example/hook"),
    ("notice target add https://acme.example/other --kind break_glass", f"secret\t{rows.WEBHOOK_SECRET}"),
    ("notice target add ops@acme.example --organization acme", "channel\tmail"),
    (f"notice target test {rows.NOTICE_TARGET.id}", "state\tpending"),
    (f"notice target remove {rows.NOTICE_TARGET.id}", f"removed: {rows.NOTICE_TARGET.id}"),
    ("project list", f"{rows.PROJECT}\tgenome"),
    ("project create weather --data-class public --jurisdiction JP", "name\tweather"),
    ("project show", "name\tgenome"),
    ("project archive genome", f"id\t{rows.PROJECT}"),
    ("project restore genome", f"id\t{rows.PROJECT}"),
    ("token list", f"{rows.TOKEN_ID}\ttoken\tactive\tall"),
    (f"token list --principal {rows.USER}", rows.TOKEN_ID),
    (f"token revoke {rows.TOKEN_ID}", f"id\t{rows.TOKEN_ID}"),
    (
        "host list",
        "local\tschedulable\tup\t500\t2000\t1073741824\t8589934592\t1"
        "\t3 H200 (1.5 used, 1 unhealthy), 1 H200/1g.18gb",
    ),
    ("host list --pool default", "local\tschedulable"),
    ("host show local", "health\tup"),
    ("host drain local", "state\tdraining"),
    ("host resume local", "state\tschedulable"),
    ("host show local", "GPU-3 H200 unhealthy 0m (XID 79)"),
    ("host dedicate local --organization acme", f"dedicated_to\t{rows.ORG}"),
    ("host dedicate local", "dedicated_to\t"),
    ("host lost local --yes", "state\tquarantined"),
    ("capacity", "1\tplanned\tunclear\t0.759859200"),
    ("capacity-plan list", f"{rows.PLAN}\t{rows.SITE}\tH200\t768\t2025-09-30"),
    ("capacity-plan create --site tokyo --model H200 --count 768 --start 2025-09-30", "count\t768"),
    (f"capacity-plan rm {rows.PLAN}", f"removed: {rows.PLAN}"),
    ("device-model list", "H200\tNVIDIA\tgpu\t989400\t141000000000\tfalse\ttrue"),
    ("device-model put H200 --vendor Maker", "vendor\tMaker"),
    ("pool list", "default\topen\tsandbox\tprocess\tfalse\tfalse"),
    ("pool create gpu --site tokyo --isolation vm --network --shared", "name\tgpu"),
    ("pool pause default", "state\tpaused"),
    ("pool resume default", "state\topen"),
    ("machine list --pool default", "mac-1\tready\tkyoto\ti-1"),
    ("machine show mac-1", "host_hour_microyen\t50000000"),
    ("pool autoscale show default", "needed\t4"),
    (
        "pool autoscale set default --provider kyoto --image i --size s --cpu 7.5 --memory 28Gi --boot 3m"
        " --max 20 --headroom 0.5 --hold 10m --price 50 --budget 600",
        "settings.host_cpu_milli\t7500",
    ),
    ("pool autoscale rm default", "removed: default"),
    ("site list", "tokyo\tJP\tcompute"),
    ("site create osaka --country JP --function compute --function operation", "name\tosaka"),
    ("quota list", "cpu_milli\t8000\t500"),
    ("quota set cpu_milli 4000 --organization acme", "most\t4000"),
    ("quota rm cpu_milli", "removed: cpu_milli"),
    ("fair-share show", "weight\t2"),
    ("fair-share set 5 --organization acme", "weight\t5"),
    ("budget show", "spent_microyen\t1500000"),
    ("budget set 1.5 --organization acme", "month_microyen\t1500000"),
    ("budget rm --organization acme", "removed: budget"),
    ("rate list", f"{rows.POOL}\t1000000\t250000\t350000000"),
    ("rate set default --device-hour 0.000007", "device_hour_microyen\t7"),
    ("reservation list", "launch\theld\t4"),
    (f"reservation show {rows.RESERVATION.id}", "name\tlaunch"),
    (
        "reservation create launch --organization acme --pool default --hosts 2"
        " --start 2026-01-31T09:00:00Z --end 2026-02-01T09:00:00Z",
        "host_count\t2",
    ),
    (f"reservation cancel {rows.RESERVATION.id} --organization acme", "state\tcancelled"),
    ("usage", "attempts\t3"),
    ("usage --project genome", f"project\t{rows.PROJECT}"),
    ("usage --organization acme --since 2026-01-01T00:00:00Z", "wall_s\t1.5"),
    ("usage --all", f"{rows.ORG}\t3\t1.5"),
    ("event list", f"job_create\tdone\t{rows.USER}"),
    ("event list --platform --limit 1", "job_create"),
    (f"event show {EVENT}", f"id\t{EVENT}"),
    ("event watch --after 0 --count 2", "job_create\tdone"),
    ("secret list", ""),
    ("version", "client\t"),
]


@pytest.mark.parametrize(("line", "held"), TABLE, ids=[line for line, _ in TABLE])
def test_plain_output_is_tabs_without_colours(kumoi, line, held):
    ran = kumoi(*line.split())
    assert ran.code == 0, ran.err
    assert held in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("line", [line for line, _ in TABLE])
def test_json_is_exactly_one_document_or_one_on_each_line(kumoi, line):
    ran = kumoi(*line.split(), "--json")
    assert ran.code == 0, ran.err
    documents = [json.loads(text) for text in ran.out.splitlines()]
    assert len(documents) == (2 if "watch" in line else 1)
    assert ran.err == ""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("host list --pool nowhere", 5),
        ("pool create gpu --site nowhere", 5),
        ("secret rm nothing", 5),
        ("project show nowhere", 5),
        ("usage --all --project genome", 2),
        ("token create --expires 1s", 2),
        ("token create --expires 400d", 2),
        ("org role grant usr_x emperor", 2),
        ("host show ..", 2),
        ("job show .", 2),
    ],
)
def test_refusals_before_or_by_the_plane(kumoi, line, code):
    ran = kumoi(*line.split())
    assert ran.code == code
    assert ran.out == ""
    assert ran.err


def test_a_new_token_is_shown_once_on_standard_output(kumoi, plane):
    ran = kumoi(
        "token",
        "create",
        "--name",
        "ci",
        "--scope",
        "read",
        "--scope",
        "jobs",
        "--expires",
        "1h",
        "-p",
        "genome",
    )
    assert ran.out.count(rows.TOKEN) == 1
    assert rows.TOKEN not in ran.err
    assert json.loads(plane.asked[-1].body) == {
        "name": "ci", "principal": None,
        "scopes": ["read", "jobs"], "project": rows.PROJECT, "expires_s": 3600
    }  # fmt: skip
    ran = kumoi("org", "create", "beta", "--json")
    assert ran.json["admin_token"] == rows.TOKEN
    assert ran.err == ""


@pytest.mark.parametrize("line", ["org create beta", "token create"])
def test_a_token_whose_answer_was_lost_is_said(kumoi, plane, at_once, line):
    plane.faults.append("lose")
    ran = kumoi(*line.split())
    assert ran.code == 1
    assert f"kumoi token create --principal {rows.USER}" in ran.err
    assert rows.TOKEN not in ran.out + ran.err


def test_secrets_come_from_standard_input_byte_for_byte(kumoi, plane, tmp_path):
    assert kumoi("secret", "put", "key", stdin=b"\x00v\n").code == 0
    assert plane.secret_values["key"] == b"\x00v\n"
    (tmp_path / "value").write_bytes(b"second")
    ran = kumoi("secret", "put", "key", "--file", tmp_path / "value", "--json")
    assert ran.json["version"] == 2
    assert plane.secret_values["key"] == b"second"
    assert kumoi("secret", "rm", "key").out == "removed: key\n"
    assert plane.secrets == {}
    assert kumoi("secret", "put", "key", stdin=b"x" * 70_000).code == 2


def test_what_others_wrote_cannot_steer_the_terminal(kumoi, plane):
    from msgspec.structs import replace

    plane.organizations[0] = replace(plane.organizations[0], display_name="\x1b[31mred\tand\nmore")
    assert ["display_name", " [31mred and more"] in kumoi("org", "show").lines
