"""Jobs."""

from typing import Any

import pytest


def jobs_path(world: Any) -> str:
    return f"/v1/projects/{world.acme.project}/jobs"


def batch(world: Any, *jobs: dict[str, Any]) -> Any:
    path = f"/v1/projects/{world.acme.project}/job-batches"
    return world.api(world.acme.admin, "POST", path, {"jobs": list(jobs)})


def state(world: Any, job: str) -> str:
    return str(world.api(world.acme.admin, "GET", f"/v1/jobs/{job}").json()["state"])


def test_a_job_is_submitted_and_read_as_it_was_asked_for(world: Any) -> None:
    spec = {
        "command": ["/bin/echo", "雲居", "$HOME"],
        "name": "greeting",
        "environment": {"LANG": "ja_JP.UTF-8"},
        "resources": {"cpu_milli": 250, "memory_bytes": 64 << 20},
        "array_size": 3,
        "priority": -5,
    }
    made = world.api(world.acme.tokens["member"], "POST", jobs_path(world), spec)
    assert made.status_code == 201
    assert made.json()["name"] == "greeting"
    read = world.api(world.acme.tokens["viewer"], "GET", f"/v1/jobs/{made.json()['id']}")
    assert read.status_code == 200
    assert read.headers["etag"] == f'"{read.json()["version"]}"'
    kept = read.json()["spec"]
    assert kept["command"] == spec["command"]
    assert kept["environment"] == spec["environment"]
    assert kept["resources"]["cpu_milli"] == 250
    assert read.json()["created_by"] == world.acme.principals["member"]


def test_lists_are_newest_first_and_by_state(world: Any) -> None:
    first, second = world.job(name="list-a"), world.job(name="list-b")
    listed = world.api(world.acme.admin, "GET", jobs_path(world), params={"limit": 2}).json()
    assert [job["id"] for job in listed["items"]] == [second, first]
    assert listed["next"]
    world.wait(lambda: state(world, first) == "running")
    running = world.api(
        world.acme.admin, "GET", jobs_path(world), params={"state": "running", "limit": 1_000}
    ).json()["items"]
    assert first in {job["id"] for job in running}
    assert {job["state"] for job in running} == {"running"}
    answer = world.api(world.acme.admin, "GET", jobs_path(world), params={"state": "asleep"})
    assert answer.status_code == 422
    assert answer.json()["at"] == "state"


def test_a_batch_is_written_together_with_its_dependencies(world: Any) -> None:
    answer = batch(
        world,
        {"command": ["a"], "name": "map"},
        {"command": ["b"], "name": "reduce", "depends_on": [{"job": "map"}]},
    )
    assert answer.status_code == 201
    first, second = answer.json()["items"]
    why = world.api(world.acme.admin, "GET", f"/v1/jobs/{second['id']}/why").json()
    assert why["waiting_for"] == [first["id"]]


@pytest.mark.parametrize(
    ("jobs", "code", "at"),
    [
        ([], "length_out_of_range", "/jobs"),
        ([{"command": ["a"]}] * 1_001, "length_out_of_range", "/jobs"),
        ([{"command": ["a"]}, {"command": []}], "command_missing", "/jobs/1/command"),
        ([{"command": ["a"]}, {"command": ["a"], "port": 80}], "port_service_only", "/jobs/1/port"),
        (
            [
                {"command": ["a"], "name": "one", "depends_on": [{"job": "two"}]},
                {"command": ["a"], "name": "two", "depends_on": [{"job": "one"}]},
            ],
            "dependency_cycle",
            None,
        ),
        ([{"command": ["a"], "name": "self", "depends_on": [{"job": "self"}]}], "dependency_cycle", None),
        (
            [{"command": ["a"], "depends_on": [{"job": "nobody"}]}],
            "dependency_unknown",
            "/jobs/0/depends_on/0",
        ),
        ([{"command": ["a"], "pool": "never-was"}], "pool_unknown", None),
        ([{"command": ["a"], "secrets": {"KEY": "never-was"}}], "secret_unknown", None),
        ([{"command": ["a"], "network": True}], "network_not_allowed", None),
        (
            [{"command": ["a"]}, {"image": "web@sha256:" + "0" * 64}],
            "image_needs_containers",
            "/jobs/1/image",
        ),
    ],
)
def test_a_bad_batch_writes_nothing(world: Any, jobs: list[Any], code: str, at: str | None) -> None:
    listing = {"limit": 1}
    before = world.api(world.acme.admin, "GET", jobs_path(world), params=listing).json()["items"]
    answer = batch(world, *jobs)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == f"urn:kumoi:error:{code}"
    if at is not None:
        assert answer.json()["at"].startswith(at)
    after = world.api(world.acme.admin, "GET", jobs_path(world), params=listing).json()["items"]
    assert [job["id"] for job in after] == [job["id"] for job in before]


def test_a_batch_may_be_larger_than_other_bodies(world: Any) -> None:
    jobs = [{"command": ["a", "x" * 30_000]} for _ in range(50)]
    answer = batch(world, *jobs)
    assert answer.status_code == 201
    assert len(answer.json()["items"]) == 50
    for job in answer.json()["items"]:
        world.api(world.acme.admin, "POST", f"/v1/jobs/{job['id']}/cancel")


def test_dependencies_on_jobs_of_others_are_unknown(world: Any) -> None:
    job = world.job(world.rival)
    answer = batch(world, {"command": ["a"], "depends_on": [{"job": job}]})
    assert answer.json()["type"] == "urn:kumoi:error:dependency_unknown"


def test_a_job_is_cancelled_once(world: Any) -> None:
    job = world.job()
    answer = world.api(world.acme.admin, "POST", f"/v1/jobs/{job}/cancel")
    assert answer.status_code == 200
    assert answer.json()["id"] == job
    world.wait(lambda: state(world, job) == "cancelled")
    again = world.api(world.acme.admin, "POST", f"/v1/jobs/{job}/cancel")
    assert again.status_code == 409
    assert again.json()["type"] == "urn:kumoi:error:job_ended"


def test_why_names_the_decision(world: Any) -> None:
    job = world.job()
    world.wait(lambda: state(world, job) == "running")
    why = world.api(world.acme.admin, "GET", f"/v1/jobs/{job}/why").json()
    (placement,) = why["placements"]
    assert placement["host_name"] == "fake-1"
    assert placement["plan"].startswith("plan_")


def test_why_says_what_no_host_has(world: Any) -> None:
    job = world.job(resources={"cpu_milli": 1_000_000}, array_size=100)
    why = world.wait(lambda: refused_now(world, job))
    assert sum(refusal["hosts"] for refusal in why["refusals"]) == 1
    world.api(world.acme.admin, "POST", f"/v1/jobs/{job}/cancel")


def refused_now(world: Any, job: str) -> Any:
    """Why the job waits, while a host refuses its next task."""
    why = world.api(world.acme.admin, "GET", f"/v1/jobs/{job}/why").json()
    return why if why["refusals"] else None


def test_jobs_of_others_are_not_found(world: Any) -> None:
    job = world.job(world.rival)
    for method, path in (("GET", ""), ("GET", "/why"), ("GET", "/tasks"), ("POST", "/cancel")):
        assert world.api(world.acme.admin, method, f"/v1/jobs/{job}{path}").status_code == 404
