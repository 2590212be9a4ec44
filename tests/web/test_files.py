"""Files."""

from typing import Any

import pytest

from kumoi.store import files
from kumoi.web.api.routes import ROUTES


def path(world: Any, name: str = "") -> str:
    return f"/v1/projects/{world.acme.project}/files{'/' + name if name else ''}"


def put(world: Any, name: str, content: Any = b"content") -> Any:
    return world.api(world.acme.admin, "PUT", path(world, name), content=content)


async def megabytes(count: int) -> Any:
    for _ in range(count):
        yield b"\0\xff" * (1 << 19)


def test_a_file_is_put_read_listed_and_deleted(world: Any) -> None:
    name = f"in/{world.name()}/雲 居.bin"
    made = put(world, name, b"\0\xff\r\n")
    assert made.status_code == 200, made.text
    assert made.json()["path"] == name
    assert made.json()["size_bytes"] == 4
    read = world.api(world.acme.tokens["viewer"], "GET", path(world, name))
    assert read.content == b"\0\xff\r\n"
    assert read.headers["content-type"] == "application/octet-stream"
    assert read.headers["content-length"] == "4"
    assert read.headers["content-disposition"] == "attachment"
    listed = world.api(world.acme.admin, "GET", path(world), params={"prefix": name[:6]}).json()["items"]
    assert made.json() in listed
    assert world.api(world.acme.admin, "DELETE", path(world, name)).status_code == 204
    assert world.api(world.acme.admin, "GET", path(world, name)).status_code == 404
    assert world.api(world.acme.admin, "DELETE", path(world, name)).status_code == 404


def test_large_files_stream_both_ways(world: Any) -> None:
    name = world.name("large")
    assert put(world, name, megabytes(9)).json()["size_bytes"] == 9 << 20
    read = world.api(world.acme.admin, "GET", path(world, name))
    assert len(read.content) == 9 << 20
    assert put(world, name, b"").json()["size_bytes"] == 0
    assert world.api(world.acme.admin, "GET", path(world, name)).content == b""


def test_escaped_slashes_and_plain_ones_name_the_same_file(world: Any) -> None:
    name = world.name("dir")
    put(world, f"{name}%2Fa", b"1")
    assert world.api(world.acme.admin, "GET", path(world, f"{name}/a")).content == b"1"


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e/x",
        "a/%2e%2e/x",
        "a//b",
        "%2Fetc/passwd",
        "a%00b",
        "a%0ab",
        "%ff",
        "a/",
        "x" * 300,
        "a/" * 40 + "x",
    ],
)
def test_bad_paths_are_refused(world: Any, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = world.api(
            world.acme.admin, method, path(world, name), content=b"" if method == "PUT" else None
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["at"] == "path"


def test_too_large_a_file_is_refused_before_it_is_sent(world: Any) -> None:
    headers = {"Content-Length": str((1 << 30) + 1)}
    answer = world.api(world.acme.admin, "PUT", path(world, "huge"), content=megabytes(1), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:kumoi:error:body_too_large"
    assert world.api(world.acme.admin, "GET", path(world, "huge")).status_code == 404


def test_a_file_is_no_directory_too(world: Any) -> None:
    name = world.name("both")
    put(world, name)
    assert put(world, f"{name}/below").status_code == 409


def test_pages_follow_the_order_of_paths(world: Any) -> None:
    folder = world.name("pages")
    for letter in "cab":
        put(world, f"{folder}/{letter}")
    first = world.api(
        world.acme.admin, "GET", path(world), params={"prefix": folder + "/", "limit": 2}
    ).json()
    assert [file["path"][-1] for file in first["items"]] == ["a", "b"]
    params = {"prefix": folder + "/", "cursor": first["next"]}
    rest = world.api(world.acme.admin, "GET", path(world), params=params).json()
    assert [file["path"][-1] for file in rest["items"]] == ["c"]
    assert rest["next"] is None


def test_files_are_the_projects_own(world: Any) -> None:
    name = world.name("own")
    put(world, name)
    for token in (world.rival.admin, world.operator, world.acme.tokens["auditor"]):
        for method in ("GET", "DELETE"):
            assert world.api(token, method, path(world, name)).status_code in (403, 404)
    assert world.api(world.acme.tokens["viewer"], "DELETE", path(world, name)).status_code == 403


def test_a_listing_over_its_bound_is_a_conflict_that_is_documented(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.name()
    for name in "ab":
        assert put(world, f"{folder}/{name}").status_code == 200
    monkeypatch.setattr(files, "SCAN_ENTRIES_MAX", 1)
    answer = world.api(world.acme.admin, "GET", path(world), params={"prefix": f"{folder}/"})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:kumoi:error:file_tree_too_large"
    (route,) = (route for route in ROUTES if route.template == "GET /v1/projects/{project}/files")
    assert 409 in route.problems


def test_a_delete_keeps_no_answer(world: Any) -> None:
    name = world.name()
    put(world, name)
    headers = {"Idempotency-Key": name}
    for status in (204, 404):
        answer = world.api(world.acme.admin, "DELETE", path(world, name), headers=headers)
        assert answer.status_code == status
