"""Device models."""

from typing import Any

import pytest

PATH = "/v1/device-models"
H200 = {
    "vendor": "NVIDIA",
    "fp16_dense_gflops": 989_400,
    "fp16_sparse_gflops": 1_979_000,
    "memory_bytes": 141 * 10**9,
    "datasheet": "NVIDIA H200 Tensor Core GPU datasheet, https://www.nvidia.com/",
    "datasheet_sha256": "ab" * 32,
}


def write(world: Any, name: str, headers: dict[str, str] | None = None, **change: Any) -> Any:
    return world.api(world.operator, "PUT", f"{PATH}/{name}", H200 | change, headers=headers or {})


def test_built_in_models_are_listed_and_not_attested(world: Any) -> None:
    items = world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()["items"]
    b200 = next(item for item in items if item["name"] == "B200")
    assert (b200["built_in"], b200["attested"], b200["datasheet_sha256"]) == (True, False, None)
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    page = world.api(world.operator, "GET", PATH, params={"limit": 2}).json()
    following = world.api(world.operator, "GET", PATH, params={"limit": 2, "cursor": page["next"]}).json()
    assert [item["name"] for item in page["items"] + following["items"]] == [i["name"] for i in items[:4]]


def test_a_model_is_attested_by_its_datasheets_digest(own_world: Any) -> None:
    assert write(own_world, "H200", {"If-Match": '"1"'}).status_code == 412
    made = write(own_world, "H200", {"If-Match": '"0"'})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert (made.json()["attested"], made.json()["built_in"]) == (True, False)
    over = write(own_world, "H200", {"If-Match": '"1"'}, vendor="NVIDIA Corporation")
    assert (over.status_code, over.headers["etag"]) == (200, '"2"')
    assert write(own_world, "H200", {"If-Match": '"1"'}).status_code == 412
    listed = own_world.api(own_world.operator, "GET", PATH, params={"limit": 1_000}).json()["items"]
    assert over.json() in listed


def test_a_name_with_a_blank_is_one(world: Any) -> None:
    name = world.name("H200 NVL")
    made = world.api(world.operator, "PUT", f"{PATH}/{name.replace(' ', '%20')}", H200)
    assert (made.status_code, made.json()["name"]) == (201, name)


@pytest.mark.parametrize(
    ("change", "at", "code"),
    [
        ({"fp16_dense_gflops": 1_979_000}, "/fp16_dense_gflops", "figure_not_dense"),
        (
            {"fp16_dense_gflops": 1_979_000, "fp16_sparse_gflops": None},
            "/fp16_dense_gflops",
            "figure_twice_the_known",
        ),
        (
            {"fp16_dense_gflops": 1_500_000, "fp16_sparse_gflops": None},
            "/fp16_dense_gflops",
            "figure_above_the_known",
        ),
        ({"fp16_sparse_gflops": 3_958_000}, "/fp16_sparse_gflops", "figure_ratio"),
    ],
)
def test_figures_with_sparsity_are_refused_and_change_nothing(
    world: Any, change: dict[str, Any], at: str, code: str
) -> None:
    refused = write(world, "H100", **change)
    assert (refused.status_code, refused.json()["at"]) == (422, at)
    assert refused.json()["type"] == f"urn:kumoi:error:{code}"
    items = world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()["items"]
    assert next(item for item in items if item["name"] == "H100")["built_in"] is True


def test_of_an_unknown_model_the_figure_with_sparsity_is_said(world: Any) -> None:
    name = world.name("X900")
    refused = write(world, name, fp16_sparse_gflops=None)
    assert (refused.status_code, refused.json()["at"]) == (422, "/fp16_sparse_gflops")
    assert write(world, name, fp16_sparse_gflops=0).status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"datasheet_sha256": "AB" * 32},
        {"datasheet_sha256": ""},
        {"datasheet": ""},
        {"fp16_dense_gflops": -1},
        {"fp16_dense_gflops": 989.4},
        {"kind": "A GPU"},
        {"sparse": True},
    ],
)
def test_bad_bodies_are_refused(world: Any, change: dict[str, Any]) -> None:
    assert write(world, "H100", **change).status_code == 422


@pytest.mark.parametrize("name", ["a%2Fb", "-x", "x" * 129, "%E6%97%A5"])
def test_what_cannot_name_a_model_is_refused(world: Any, name: str) -> None:
    assert write(world, name).status_code in (404, 422)
