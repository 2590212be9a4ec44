"""Files in a directory that tasks share: whatever they put there, the plane stays inside and stays up."""

import asyncio
import errno
import os
import shutil
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from volume_places import volumes_of

from kumoi.model.places import PROJECT_UID_BASE
from kumoi.store import files
from kumoi.store.file_paths import (
    COMPONENTS_MAX,
    PATH_BYTES_MAX,
    FileChanged,
    FileInTheWay,
    FileMissing,
    FileOverLimit,
    FilePathInvalid,
    FileStorageFull,
    FileTreeTooLarge,
    path_split,
    prefix_check,
)
from kumoi.store.files import FileOwner, FileStat, FileStore

OWNER = FileOwner("org_1", "prj_1", 7)
NEIGHBOUR = FileOwner("org_2", "prj_2", 8)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileStore]:
    """Files in directories, and in mounted volumes: nothing that holds for one may differ in the other."""
    with volumes_of(tmp_path, encrypted=request.param) as volumes:
        for owner in (OWNER, NEIGHBOUR):
            volumes.ensure(owner.organization_id)
        opened = FileStore(volumes.root)
        yield opened
        opened.close()


@pytest.fixture
def place(store: FileStore) -> Path:
    """The project's directory, as its tasks see it, empty."""
    put(store, "first", b"")
    asyncio.run(store.delete(OWNER, "first"))
    return store._root / OWNER.organization_id / "projects" / OWNER.project_id


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What no task may reach through the plane: a file beside the projects."""
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "key").write_bytes(b"top secret")
    return secret


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def put(
    store: FileStore, path: str, *parts: bytes, owner: FileOwner = OWNER, bytes_max: int = 1 << 30
) -> FileStat:
    async def work() -> FileStat:
        staged = await store.stage(owner, path, _chunks(*parts), bytes_max)
        try:
            await store.prepare(staged)
            return await store.publish(staged)
        finally:
            await store.discard(staged)

    return asyncio.run(work())


def get(store: FileStore, path: str, owner: FileOwner = OWNER) -> bytes:
    async def work() -> bytes:
        reading = await store.open(owner, path)
        return b"".join([chunk async for chunk in reading.chunks()])

    return asyncio.run(work())


def listed(
    store: FileStore, prefix: str = "", limit: int = 100, after: str | None = None, owner: FileOwner = OWNER
) -> list[str]:
    return [found.path for found in asyncio.run(store.list(owner, prefix, limit, after))]


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def uploads(store: FileStore) -> list[str]:
    return names(store._root / OWNER.organization_id / "staging")


@pytest.mark.parametrize("size", [0, 1, files.CHUNK_BYTES - 1, files.CHUNK_BYTES, 3 * files.CHUNK_BYTES + 5])
def test_what_goes_in_comes_out(store: FileStore, size: int) -> None:
    content = os.urandom(size)
    written = put(store, "a/b/c.bin", content[: size // 2], content[size // 2 :])
    assert (written.path, written.size_bytes) == ("a/b/c.bin", size)
    assert get(store, "a/b/c.bin") == content
    assert asyncio.run(store.stat(OWNER, "a/b/c.bin")) == written
    assert uploads(store) == []


def test_replacing_is_one_step_for_readers(store: FileStore) -> None:
    put(store, "file", b"old" * 1_000_000)

    async def work() -> tuple[bytes, bytes]:
        reading = await store.open(OWNER, "file")
        stream = reading.chunks()
        first = await anext(stream)
        staged = await store.stage(OWNER, "file", _chunks(b"new"), 10)
        await store.publish(staged)
        return first + b"".join([chunk async for chunk in stream]), await _read(store, "file")

    assert asyncio.run(work()) == (b"old" * 1_000_000, b"new")


async def _read(store: FileStore, path: str) -> bytes:
    reading = await store.open(OWNER, path)
    return b"".join([chunk async for chunk in reading.chunks()])


def test_projects_are_apart(store: FileStore) -> None:
    put(store, "file", b"mine")
    assert listed(store, owner=NEIGHBOUR) == []
    with pytest.raises(FileMissing):
        get(store, "file", NEIGHBOUR)
    put(store, "file", b"theirs", owner=NEIGHBOUR)
    assert get(store, "file") == b"mine"


def test_deleting_removes_the_file_only(store: FileStore, place: Path) -> None:
    put(store, "a/b", b"x")
    asyncio.run(store.delete(OWNER, "a/b"))
    for path in ("a/b", "a", "a/b/c", "absent"):
        with pytest.raises(FileMissing):
            asyncio.run(store.delete(OWNER, path))
    assert (place / "a").is_dir()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "a\0b",
        "a\nb",
        "\x7f",
        "\ud800",
        "x" * 256,
        "ü" * 128,
        "/".join(["x"] * (COMPONENTS_MAX + 1)),
        "/".join(["x" * 250] * 5),
    ],
)
def test_paths_that_are_no_paths(store: FileStore, path: str) -> None:
    for work in (
        lambda: get(store, path),
        lambda: put(store, path, b"x"),
        lambda: asyncio.run(store.delete(OWNER, path)),
        lambda: asyncio.run(store.stat(OWNER, path)),
    ):
        with pytest.raises(FilePathInvalid):
            work()
    assert uploads(store) == []


@pytest.mark.parametrize(
    "path",
    ["a", ".hidden", "...", "ファイル/結果.txt", "a b", "-rf", "x" * 255, "/".join(["x"] * COMPONENTS_MAX)],
)
def test_paths_that_are_paths(store: FileStore, path: str) -> None:
    put(store, path, b"x")
    assert listed(store) == [path]
    assert get(store, path) == b"x"


def test_limits_of_paths_and_prefixes() -> None:
    longest = "/".join(["x" * 255] * 4)
    assert len(longest) == PATH_BYTES_MAX - 1
    assert len(path_split(longest)) == 4
    prefix_check("x" * PATH_BYTES_MAX)
    for prefix in ("x" * (PATH_BYTES_MAX + 1), "\udfff"):
        with pytest.raises(FilePathInvalid):
            prefix_check(prefix)


def test_a_file_over_its_limit_leaves_nothing(store: FileStore) -> None:
    put(store, "file", b"12345", bytes_max=5)
    for parts in ((b"123456",), (b"123", b"456"), (b"x" * files.CHUNK_BYTES, b"x" * files.CHUNK_BYTES)):
        with pytest.raises(FileOverLimit) as refused:
            put(store, "file", *parts, bytes_max=5)
        assert refused.value.limit == 5
    assert get(store, "file") == b"12345"
    assert uploads(store) == []


def test_a_body_that_breaks_off_leaves_nothing(store: FileStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * files.CHUNK_BYTES
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        asyncio.run(store.stage(OWNER, "file", broken(), 1 << 30))
    assert uploads(store) == []
    assert listed(store) == []


def test_a_cancelled_upload_leaves_nothing(store: FileStore) -> None:
    async def work() -> None:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * files.CHUNK_BYTES
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(store.stage(OWNER, "file", endless(), 1 << 30))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert uploads(store) == []


def test_uploads_that_a_crash_left_are_removed_when_they_are_old(tmp_path: Path) -> None:
    for encrypted in (False, True):
        with volumes_of(tmp_path / str(encrypted), encrypted=encrypted) as volumes:
            volumes.ensure("org_1")
            left = volumes.root / "org_1" / "staging"
            (left / "old").write_bytes(b"x")
            os.utime(left / "old", (0, 0))
            (left / "new").write_bytes(b"x")
        with volumes_of(tmp_path / str(encrypted), encrypted=encrypted) as volumes:
            volumes.ensure("org_1")
            assert names(left) == ["new"]


def test_what_is_in_the_way(store: FileStore) -> None:
    put(store, "a/b", b"x")
    for path in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(FileInTheWay):
            put(store, path, b"x")
    assert listed(store) == ["a/b"]
    assert uploads(store) == []


def test_a_full_disk_is_told(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileStorageFull):
        put(store, "file", b"x")
    monkeypatch.undo()
    assert uploads(store) == []


@AS_ROOT
def test_files_and_directories_belong_to_the_project(store: FileStore, place: Path) -> None:
    put(store, "a/b", b"x")
    user = PROJECT_UID_BASE + OWNER.number
    for made, mode in ((place, 0o700), (place / "a", 0o700), (place / "a" / "b", 0o600)):
        found = made.lstat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (user, user, mode)
    assert place.parent.lstat().st_uid == 0


# What a task may put into its directory.


def hostile_links(place: Path, outside: Path) -> None:
    (place / "file").symlink_to(outside / "key")
    (place / "dir").symlink_to(outside)
    (place / "up").symlink_to("../../..")
    (place / "loop").symlink_to("loop")
    (place / "self").symlink_to(".")


@pytest.mark.parametrize(
    "path", ["file", "dir", "dir/key", "up/org_2/projects/prj_2/file", "loop", "self/plain"]
)
def test_links_are_never_followed(store: FileStore, place: Path, outside: Path, path: str) -> None:
    hostile_links(place, outside)
    put(store, "plain", b"x")
    put(store, "file", b"theirs", owner=NEIGHBOUR)
    assert listed(store) == ["plain"]
    for work in (
        lambda: get(store, path),
        lambda: asyncio.run(store.stat(OWNER, path)),
        lambda: asyncio.run(store.delete(OWNER, path)),
    ):
        with pytest.raises(FileMissing):
            work()
    assert (outside / "key").read_bytes() == b"top secret"
    assert get(store, "file", NEIGHBOUR) == b"theirs"


def test_writing_replaces_a_link_and_never_what_it_names(
    store: FileStore, place: Path, outside: Path
) -> None:
    hostile_links(place, outside)
    put(store, "file", b"mine")
    assert get(store, "file") == b"mine"
    assert not (place / "file").is_symlink()
    for path in ("dir/key", "dir/new", "up/new", "loop/new"):
        with pytest.raises(FileInTheWay):
            put(store, path, b"mine")
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"key": b"top secret"}


def test_a_second_name_is_not_served(store: FileStore, place: Path) -> None:
    theirs = place.parent / "prj_9" / "key"
    theirs.parent.mkdir()
    theirs.write_bytes(b"top secret")
    os.link(theirs, place / "linked")
    assert listed(store) == []
    for work in (lambda: get(store, "linked"), lambda: asyncio.run(store.delete(OWNER, "linked"))):
        with pytest.raises(FileMissing):
            work()
    put(store, "linked", b"mine")
    assert theirs.read_bytes() == b"top secret"
    assert get(store, "linked") == b"mine"


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        listening.bind(path.name)
    finally:
        os.chdir(here)
        listening.close()


def make_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


@pytest.mark.parametrize("make", [make_fifo, make_socket, pytest.param(make_device, marks=AS_ROOT)])
def test_special_files_neither_block_nor_answer(
    store: FileStore, place: Path, make: Callable[[Path], None]
) -> None:
    try:
        make(place / "special")
    except PermissionError:
        pytest.skip("this machine lets nobody make such a file")
    assert listed(store) == []
    for work in (
        lambda: get(store, "special"),
        lambda: get(store, "special/below"),
        lambda: asyncio.run(store.delete(OWNER, "special")),
    ):
        with pytest.raises(FileMissing):
            work()
    with pytest.raises(FileInTheWay):
        put(store, "special/below", b"x")
    put(store, "special", b"plain now")
    assert get(store, "special") == b"plain now"


def test_names_that_the_api_cannot_carry_are_left_out(store: FileStore, place: Path) -> None:
    os.close(os.open(os.fsencode(place) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    for name in ("a\nb", "\x1b[2J", "tab\t"):
        (place / name).write_bytes(b"x")
    (place / "dir\n").mkdir()
    (place / "dir\n" / "file").write_bytes(b"x")
    put(store, "good", b"x")
    assert listed(store) == ["good"]


def test_times_that_no_calendar_has(store: FileStore, place: Path) -> None:
    put(store, "file", b"x")
    os.utime(place / "file", ns=(-(10**18), -(10**18)))
    assert asyncio.run(store.stat(OWNER, "file")).modified_us == 0


def test_a_file_that_shrinks_while_it_is_read_is_not_padded(store: FileStore, place: Path) -> None:
    put(store, "file", b"x" * (3 * files.CHUNK_BYTES))

    async def work() -> None:
        reading = await store.open(OWNER, "file")
        stream = reading.chunks()
        await anext(stream)
        os.truncate(place / "file", 10)
        with pytest.raises(FileChanged):
            await anext(stream)

    asyncio.run(work())


def test_a_file_that_grows_while_it_is_read_is_cut(store: FileStore, place: Path) -> None:
    put(store, "file", b"x" * 10)

    async def work() -> bytes:
        reading = await store.open(OWNER, "file")
        with (place / "file").open("ab") as file:
            file.write(b"y" * 100)
        return b"".join([chunk async for chunk in reading.chunks()])

    assert asyncio.run(work()) == b"x" * 10


def test_readings_that_nobody_reads_give_their_descriptor_back(store: FileStore, place: Path) -> None:
    put(store, "file", b"x")

    async def work() -> None:
        for _ in range(20):
            reading = await store.open(OWNER, "file")
            stream = reading.chunks()
            del reading
            await stream.aclose()  # type: ignore[attr-defined]
            del stream

    asyncio.run(work())
    store.close()  # a thread may hold its last answer for a moment
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            opened.append(str(descriptor.readlink()))
    assert str(place / "file") not in opened
    assert opened


def test_swapping_a_directory_for_a_link_never_leads_outside(
    store: FileStore, place: Path, outside: Path
) -> None:
    (place / "real").mkdir()
    (place / "real" / "key").write_bytes(b"mine")
    (place / "link").symlink_to(outside)
    ended = threading.Event()

    def swap() -> None:
        shown = place / "dir"
        while not ended.is_set():
            for source in (place / "real", place / "link"):
                # The plane may have made the directory again while it was away.
                with suppress(OSError):
                    source.rename(shown)
                    shown.rename(source)
                if shown.is_dir() and not shown.is_symlink():
                    shutil.rmtree(shown, ignore_errors=True)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(300):
            try:
                seen.add(get(store, "dir/key"))
                put(store, "dir/new", b"x")
            except (FileMissing, FileInTheWay):
                seen.add(b"")
    finally:
        ended.set()
        swapping.join()
    assert seen <= {b"", b"mine"}
    assert names(outside) == ["key"]


# Lists.

TREE = ["a", "a-b", "a/0", "a/b/c", "a/b0", "a0", "b/x", "z/y/x/w"]


@pytest.fixture
def tree(store: FileStore, place: Path) -> FileStore:
    for path in TREE:
        if path != "a":
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(path.encode())
    (place / "empty" / "deeper").mkdir(parents=True)
    return store


PATHS = [path for path in TREE if path != "a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "prefix", ["", "a", "a/", "a/b", "a/b/", "a/b/c", "a-", "b/x", "b/xx", "z/y", "q", "/", ".."]
)
def test_pages_of_a_tree_are_its_paths_in_order(tree: FileStore, prefix: str, limit: int) -> None:
    found: list[str] = []
    after = None
    for _ in range(len(PATHS) + 1):
        page = listed(tree, prefix, limit, after)
        found += page
        if len(page) < limit:
            break
        after = page[-1]
    assert found == sorted(path for path in PATHS if path.startswith(prefix))


def test_a_page_may_begin_behind_a_path_that_is_gone(tree: FileStore) -> None:
    assert listed(tree, after="a/b") == ["a/b/c", "a/b0", "a0", "b/x", "z/y/x/w"]
    assert listed(tree, after="a/b/zzz") == ["a/b0", "a0", "b/x", "z/y/x/w"]
    assert listed(tree, after="zz") == []


def test_trees_deeper_than_any_path_end(store: FileStore, place: Path) -> None:
    directory = os.open(place, os.O_RDONLY)
    for _ in range(COMPONENTS_MAX + 20):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        os.mkdir("d", dir_fd=directory)
        deeper = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = deeper
    os.close(directory)
    assert len(listed(store)) == COMPONENTS_MAX
    assert all(len(path_split(path)) <= COMPONENTS_MAX for path in listed(store))


def test_huge_directories_are_refused_and_a_longer_prefix_helps(
    tree: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SCAN_ENTRIES_MAX", 8)
    with pytest.raises(FileTreeTooLarge):
        listed(tree)
    assert listed(tree, "b/") == ["b/x"]


@AS_ROOT
def test_unreadable_directories_do_not_break_a_list(tree: FileStore, place: Path) -> None:
    (place / "a").chmod(0)
    assert "b/x" in listed(tree)
