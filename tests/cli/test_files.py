"""`kumoi file`: single files and directories, both ways."""

import re

import fake_plane
import fake_rows as rows
import pytest

from kumoi.model.records import File

pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture
def tree(tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "a.csv").write_bytes(b"1,2\n")
    (source / "sub" / "b 雲.bin").write_bytes(bytes(200_000))
    (source / "link").symlink_to("a.csv")
    return source


def test_a_directory_goes_up_and_comes_down_the_same(kumoi, plane, tree, tmp_path):
    ran = kumoi("file", "put", tree, "data")
    assert ran.code == 0
    assert "1 links" in ran.err
    assert sorted(plane.files) == ["data/a.csv", "data/sub/b 雲.bin"]
    back = tmp_path / "back"
    assert kumoi("file", "get", "data/", back).code == 0
    assert (back / "a.csv").read_bytes() == b"1,2\n"
    assert (back / "sub" / "b 雲.bin").read_bytes() == bytes(200_000)
    assert [line[:2] for line in kumoi("file", "list", "data/sub").lines] == [["data/sub/b 雲.bin", "200000"]]


def test_single_files(kumoi, plane, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kumoi("file", "put", tree / "a.csv")
    kumoi("file", "put", tree / "a.csv", "other.csv")
    kumoi("file", "put", tree / "a.csv", "into/")
    assert sorted(plane.files) == ["a.csv", "into/a.csv", "other.csv"]
    assert kumoi("file", "get", "into/a.csv").code == 0
    assert (tmp_path / "a.csv").read_bytes() == b"1,2\n"
    assert kumoi("file", "get", "other.csv", "-").out == "1,2\n"
    assert kumoi("file", "get", "other.csv", tmp_path / "x" / "y", "--json").json == {
        "items": [{"path": "other.csv", "target": str(tmp_path / "x" / "y")}]
    }
    assert kumoi("file", "rm", "other.csv", "a.csv").out == "removed: other.csv\nremoved: a.csv\n"
    assert list(plane.files) == ["into/a.csv"]
    assert kumoi("file", "rm", "a.csv").code == 5
    assert kumoi("file", "get", "a.csv", tmp_path / "none").code == 5
    assert not (tmp_path / "none").exists()
    assert kumoi("file", "get", "empty/").code == 5


@pytest.mark.parametrize("path", ["../out", "a/../b", "./a", "a//b"])
def test_a_path_never_leaves_the_project(kumoi, plane, tree, path):
    assert kumoi("file", "put", tree / "a.csv", path).code == 2
    assert plane.files == {}


@pytest.mark.parametrize("path", ["data/../../evil", "data//etc/evil", "elsewhere/evil"])
def test_a_plane_cannot_make_us_write_elsewhere(kumoi, plane, tmp_path, path):
    listing = re.compile(f"/v1/projects/{rows.PROJECT}/files")
    plane.routes.insert(0, ("GET", listing, lambda asked: fake_plane.page(asked, [File(path, 1, rows.AT)])))
    ran = kumoi("file", "get", "data/", tmp_path / "target")
    assert ran.code == 1
    assert "outside" in ran.err
    assert not (tmp_path / "target").exists()
