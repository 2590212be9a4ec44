"""Keys of organizations: held in a token, withdrawn, lost, restored, rotated. Tokens are SoftHSM's."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from key_world import KeyWorld
from plane_fixture import plane_open
from softhsm import SoftTokens
from store_pages import store_bytes

from kumoi.app import organization_keys as app
from kumoi.app.jobs import job_create, job_read
from kumoi.loops.keys import DESTROY_AFTER_US, KeyWatch, keys_activate
from kumoi.model.errors import Conflict, Invalid, KumoiError, NotFound
from kumoi.model.jobs import JobSpec
from kumoi.model.keys import KeyAttach, OnWithdraw
from kumoi.store import schema
from kumoi.store.errors import MissingReference, StoreBusy
from kumoi.store.keys import rotation
from kumoi.store.keys.ciphers import WRAPPED_BYTES
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.errors import KeyFailure, KeyUnavailable, KeyWithdrawn, TokenFailure
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.pkcs11 import session_open
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.tokens import Token, Tokens

VALUE = b"the value of a secret that nobody else reads"


@pytest.fixture
def keys(tmp_path: Path, soft_tokens: SoftTokens, database_url: str) -> Iterator[KeyWorld]:
    """The tenant acme, a token with a key, and no key attached; on each kind of database."""
    with plane_open(tmp_path, database_url) as world:
        opened = KeyWorld(world, world.tenant("acme"), soft_tokens.take())
        yield opened
        opened.watch.stop()


def fresh_ring(keys: KeyWorld) -> KeyRing:
    """The ring of a plane that was just started."""
    return KeyRing(keys.world.plane.store, keys.ring.encryptions)


def test_a_key_is_attached_and_the_platform_wraps_it_no_more(keys: KeyWorld) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "before", VALUE)
    shown = keys.attach()
    assert shown["holder"]["state"] == "held"
    assert [(one["number"], one["state"]) for one in shown["versions"]] == [(1, "retired"), (2, "current")]
    assert {one["kek"] for one in shown["versions"]} == {"token/hsm/key"}
    keys.secret_put(project, "after", VALUE)
    assert keys.secret_open(project, "before") == keys.secret_open(project, "after") == VALUE
    assert fresh_ring(keys).withdrawn(keys.tenant.id) is False
    assert keys.secret_open(project, "before", fresh_ring(keys)) == VALUE
    keys.round()
    assert {row.key_version for row in keys.rows(schema.secrets)} == {2}
    keys.world.clock_us += DESTROY_AFTER_US + 1
    keys.round()
    assert [
        row.number for row in keys.rows(schema.organization_keys) if row.organization_id == keys.tenant.id
    ] == [2]
    assert keys.events() == ["key_attach", "key_destroy"]


def test_a_withdrawn_key_opens_nothing_until_it_is_restored(keys: KeyWorld) -> None:
    project = keys.tenant.project("apollo")
    plane, admin = keys.world.plane, keys.tenant.admin
    keys.secret_put(project, "one", VALUE)
    job = keys.world.write(job_create(plane, admin, project, JobSpec(("secret-command",)), None))["id"]
    keys.attach()
    keys.round()
    keys.world.write(app.key_withdraw(plane, admin, keys.tenant.id, None))
    assert keys.notices == ["withdrawn"]
    assert keys.ring.withdrawn(keys.tenant.id)
    for ring in (keys.ring, fresh_ring(keys)):
        with pytest.raises(KeyWithdrawn):
            keys.secret_open(project, "one", ring)
    with pytest.raises(Conflict) as refused:
        keys.secret_put(project, "two", VALUE)
    assert refused.value.code == "key_withdrawn"
    with pytest.raises(Conflict, match="withdrawn"):
        keys.world.run(job_create(plane, admin, project, JobSpec(("true",)), None))
    shown = keys.world.run(job_read(plane, admin, job))
    assert (shown.spec.command, shown.withheld) == ((), "key_withdrawn")
    keys.round()
    with pytest.raises(KeyWithdrawn):
        keys.secret_open(project, "one")
    keys.world.write(app.key_restore(plane, admin, keys.tenant.id, None))
    assert keys.notices == ["withdrawn", "restored"]
    assert keys.secret_open(project, "one") == VALUE
    assert keys.world.run(job_read(plane, admin, job)).spec.command == ("secret-command",)
    assert keys.events() == ["key_attach", "key_withdraw", "key_restore"]


def hide(keys: KeyWorld) -> Callable[[], None]:
    keys.token.key_hide()
    return keys.token.key_show


def pin_refuse(keys: KeyWorld) -> Callable[[], None]:
    """The token refuses the PIN at the next login."""
    pin = keys.token.pin_file.read_text()
    keys.token.pin_file.write_text("987654\n")
    return lambda: (keys.token.pin_file.write_text(pin), None)[1]


def pin_lose(keys: KeyWorld) -> Callable[[], None]:
    pin = keys.token.pin_file.read_text()
    keys.token.pin_file.unlink()
    return lambda: (keys.token.pin_file.write_text(pin), None)[1]


def token_hang(keys: KeyWorld) -> Callable[[], None]:
    """The module does not come back from a call."""
    tokens = keys.ring.encryptions.tokens
    assert tokens is not None
    token = tokens.get("hsm")
    assert token is not None
    gate = threading.Event()

    def open_slowly(rule: Any, pin: str) -> Any:
        gate.wait(60)
        return session_open(rule, pin)

    token._session_open = open_slowly
    return gate.set


@pytest.mark.parametrize("lose", [hide, pin_refuse, pin_lose, token_hang])
def test_a_token_that_does_not_give_the_key_any_more_withdraws_it(
    keys: KeyWorld, lose: Callable[[KeyWorld], Callable[[], None]]
) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    keys.attach()
    keys.round()
    assert keys.secret_open(project, "one") == VALUE
    give_back = lose(keys)
    keys.watch.look()
    assert keys.notices == ["withdrawn"]
    with pytest.raises(KeyFailure):
        keys.secret_open(project, "one")
    keys.round()
    (holder,) = keys.rows(schema.key_holders)
    assert holder.state == "lost"
    assert holder.cause
    with pytest.raises(KeyWithdrawn):
        keys.secret_open(project, "one", fresh_ring(keys))
    give_back()
    keys.round()
    keys.round()
    assert keys.notices == ["withdrawn", "restored"]
    assert keys.secret_open(project, "one") == VALUE
    assert keys.events() == ["key_attach", "key_lost", "key_found"]


def test_a_wrong_pin_is_tried_once_and_not_until_the_token_is_locked(keys: KeyWorld) -> None:
    tried: list[str] = []

    def open_counted(rule: Any, pin: str) -> Any:
        tried.append(pin)
        return session_open(rule, pin)

    token = Token(keys.token.rule(), open_counted)
    keys.token.pin_file.write_text("0000\n")
    for _ in range(5):
        with pytest.raises(KeyUnavailable, match="PIN"):
            token.call(lambda session: session.check("key"))
    assert tried == ["0000"]


def test_a_destroyed_key_is_gone_for_good(keys: KeyWorld) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    keys.attach()
    keys.round()
    keys.token.key_destroy()
    keys.round()
    keys.token.key_make()
    keys.round()
    with pytest.raises(KeyWithdrawn):
        keys.secret_open(project, "one")


def test_a_key_is_not_used_longer_than_a_second_without_a_word_of_its_token(
    keys: KeyWorld,
) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    keys.attach()
    now_s = 5.0
    ring = KeyRing(keys.world.plane.store, keys.ring.encryptions, lambda: now_s)
    assert keys.secret_open(project, "one", ring) == VALUE
    keys.token.key_destroy()
    now_s += 0.95
    with pytest.raises(KeyWithdrawn):
        keys.secret_open(project, "one", ring)


def test_nothing_on_disk_decrypts_without_the_token(keys: KeyWorld, tmp_path: Path) -> None:
    """All bytes of the database and its log against the platform's key, at every offset."""
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    store = keys.world.plane.store
    if not store.is_sqlite:
        pytest.skip("the files of PostgreSQL are its operator's")
    platform = keys.ring.encryptions.platform.current
    wrapped_before = [row.wrapped_key for row in keys.rows(schema.organization_keys)]
    assert found_at(store, wrapped_before)
    keys.attach()
    keys.round()
    keys.world.write(app.key_withdraw(keys.world.plane, keys.tenant.admin, keys.tenant.id, None))
    store.residue_clear()
    mine = keys.versions()
    cipher: AESGCM = platform._cipher
    named = [
        organization_key_additional(keys.tenant.id, number, kek)
        for number in (1, 2)
        for kek in (platform.name, "token/hsm/key")
    ]
    for row in mine:
        for additional in named:
            with pytest.raises(InvalidTag):
                cipher.decrypt(row.wrapped_key[:12], row.wrapped_key[12:], additional)
    raw = disk(store)
    assert VALUE not in raw
    opened = 0
    for at in range(len(raw) - WRAPPED_BYTES):
        if raw[at : at + 4] == bytes(4):
            continue
        try:
            cipher.decrypt(raw[at : at + 12], raw[at + 12 : at + WRAPPED_BYTES], named[0])
            opened += 1
        except InvalidTag:
            continue
    assert opened == 0, "the platform's old wrapping of the key is still on the disk"


def disk(store: Any) -> bytes:
    """The database and its log, as they are on the disk, for who has the store's key."""
    return store_bytes(Path(store.url.database).parent)


def found_at(store: Any, values: list[bytes]) -> bool:
    raw = disk(store)
    return all(value in raw for value in values)


@pytest.mark.parametrize("token", ["hsm", "other"])
def test_a_token_serves_those_whom_the_operator_names(keys: KeyWorld, token: str) -> None:
    rival = keys.world.tenant("rival")
    body = KeyAttach(token, "key", OnWithdraw.CONTINUE)
    with pytest.raises(Invalid) as refused:
        keys.world.run(app.key_attach(keys.world.plane, rival.admin, rival.id, body))
    assert refused.value.code == "token_unknown"
    with pytest.raises(NotFound):
        keys.world.run(app.key_attach(keys.world.plane, rival.admin, keys.tenant.id, body))
    with pytest.raises(NotFound):
        keys.world.run(app.key_withdraw(keys.world.plane, rival.admin, keys.tenant.id, None))


def test_a_key_that_could_leave_its_token_is_refused(keys: KeyWorld) -> None:
    keys.token.key_make("loose", leaves=True)
    told = set()
    for label in ("loose", "missing"):
        with pytest.raises(Conflict, match="has not exactly one key") as refused:
            keys.attach(label=label)
        assert refused.value.code == "key_unreachable"
        told.add(str(refused.value).replace(label, "LABEL"))
    assert len(told) == 1, "which labels there are is nobody's affair"
    assert keys.rows(schema.key_holders) == []


def test_in_a_token_of_several_each_names_its_own_keys_where_the_operator_says_so(keys: KeyWorld) -> None:
    rule = replace(keys.token.rule(organizations=("*",)), has_own_labels=True)
    keys.ring.encryptions.tokens = Tokens([rule], session_open)
    for label in ("key", "rival.key", "acmekey", "missing"):
        with pytest.raises(Invalid) as refused:
            keys.attach(label=label)
        assert refused.value.code == "key_label_foreign"
    keys.token.key_make("acme.key")
    assert keys.attach(label="acme.key")["holder"]["state"] == "held"


def test_what_is_no_word_of_a_token_is_not_told_as_one(keys: KeyWorld) -> None:
    for error, code in (
        (KeyUnavailable("the key changes again and again"), "key_unavailable"),
        (TokenFailure("anything at all"), "key_unreachable"),
    ):

        def work(error: KeyFailure = error) -> None:
            raise error

        with pytest.raises(KumoiError) as refused:
            keys.world.run(app._asked(work))
        assert refused.value.code == code


def test_the_operator_reads_who_holds_a_key_and_rotates_its_own_only(keys: KeyWorld) -> None:
    world = keys.world
    shown = world.run(app.key_read(world.plane, world.operator, keys.tenant.id))
    assert (shown.holder, shown.versions[0].kek) == (None, "platform/1")
    for refused in (app.key_withdraw, app.key_restore, app.key_rotate):
        with pytest.raises(KumoiError, match=r"roles do not allow|there is no"):
            world.run(refused(world.plane, world.operator, keys.tenant.id, None))
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    world.write(app.platform_key_rotate(world.plane, world.operator, None))
    assert keys.secret_open(project, "one") == VALUE
    keys.round()
    assert {row.kek for row in keys.rows(schema.organization_keys)} == {"platform/2"}
    assert keys.secret_open(project, "one", fresh_ring(keys)) == VALUE


def test_a_rotation_under_load_loses_nothing(keys: KeyWorld) -> None:
    """Secrets are written and read while the key is rotated again and again."""
    project = keys.tenant.project("apollo")
    for number in range(20):
        keys.secret_put(project, f"s-{number}", f"value {number}".encode())
    keys.attach()
    with keys.looking():
        for turn in range(5):
            keys.world.write(app.key_rotate(keys.world.plane, keys.tenant.admin, keys.tenant.id, None))
            keys.world.clock_us += DESTROY_AFTER_US + 1
            for number in range(20):
                assert keys.secret_open(project, f"s-{number}").startswith(b"value")
                if number % 4 == turn % 4:
                    keys.secret_put(project, f"s-{number}", f"value {number}, turn {turn}".encode())
    keys.round()
    keys.world.clock_us += DESTROY_AFTER_US + 1
    keys.round()
    mine = keys.versions()
    assert [(row.number, row.state) for row in mine] == [(7, "current")]
    for number in range(20):
        assert keys.secret_open(project, f"s-{number}", fresh_ring(keys)).startswith(
            f"value {number}".encode()
        )


class Killed(Exception):
    """The plane ends here."""


class DyingStore:
    """The store of a plane that ends before or after its n-th write."""

    def __init__(self, store: Any, at: int, *, after: bool) -> None:
        self._store = store
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact_wait(self, *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        found = self._store.transact_wait(*args, **kwargs)
        if self._left == 0:
            raise Killed
        return found


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_rotation_that_is_killed_goes_on_where_it_was(keys: KeyWorld, at: int, *, after: bool) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    plane, admin = keys.world.plane, keys.tenant.admin
    job = keys.world.write(job_create(plane, admin, project, JobSpec(("secret-command",)), None))["id"]
    keys.world.write(app.key_rotate(plane, admin, keys.tenant.id, None))
    keys.world.write(app.platform_key_rotate(plane, keys.world.operator, None))
    keys.world.clock_us += DESTROY_AFTER_US + 1
    dying = replace(keys.context, store=DyingStore(plane.store, at, after=after))
    try:
        for _ in range(10):
            if not keys_activate(keys.watch, dying, keys.fence):
                break
    except Killed:
        pass
    assert keys.secret_open(project, "one", fresh_ring(keys)) == VALUE
    keys.round()
    keys.round()
    mine = keys.versions()
    assert [(row.number, row.kek) for row in mine] == [(2, "platform/2")]
    assert keys.secret_open(project, "one", fresh_ring(keys)) == VALUE
    assert keys.world.run(job_read(plane, admin, job)).spec.command == ("secret-command",)
    assert keys.events() == ["key_rotate", "key_destroy"]


def test_a_version_in_use_is_not_destroyed(keys: KeyWorld) -> None:
    project = keys.tenant.project("apollo")
    keys.world.write(app.key_rotate(keys.world.plane, keys.tenant.admin, keys.tenant.id, None))
    (retired,) = keys.world.plane.store.read_wait(rotation.retired_read)
    keys.secret_put(project, "one", VALUE)
    table = schema.secrets
    store = keys.world.plane.store
    store.transact_wait(None, lambda c: c.execute(table.update().values(key_version=retired.number)))
    with pytest.raises(MissingReference):
        store.transact_wait(None, rotation.version_destroy, retired, keys.world.clock_us)


def test_two_planes_that_rotate_at_once_make_one_version(keys: KeyWorld) -> None:
    store, now_us = keys.world.plane.store, keys.world.clock_us
    (current,) = keys.versions()
    wrapper = keys.ring.encryptions.platform.current
    first, second = (rotation.version_next(wrapper, current, now_us) for _ in range(2))
    store.transact_wait(None, rotation.version_add, current, first, now_us)
    with pytest.raises(Exception, match=r"same key|another state"):
        store.transact_wait(None, rotation.version_add, current, second, now_us)


def test_a_plane_without_the_token_uses_nothing(keys: KeyWorld) -> None:
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    keys.attach()
    platform = keys.ring.encryptions.platform
    for tokens in (None, Tokens([], session_open)):
        ring = KeyRing(keys.world.plane.store, KeyEncryptions(platform, tokens))
        with pytest.raises(KeyWithdrawn, match="tokens_file"):
            keys.secret_open(project, "one", ring)


def test_the_watch_forgets_what_it_cannot_ask_about(keys: KeyWorld) -> None:
    keys.attach()
    keys.round()

    class Away:
        def read_wait(self, *_: Any) -> Any:
            raise StoreBusy("away")

    watch = KeyWatch(Away(), keys.ring, lambda *_: None, seen=keys.watch.seen)  # type: ignore[arg-type]
    watch.look()
    assert keys.ring.withdrawn(keys.tenant.id)
    keys.round()
    assert not keys.ring.withdrawn(keys.tenant.id)


def broken(keys: KeyWorld, table: Any, column: str, row_id: str) -> None:
    """Change a byte of the wrapped key in a row."""
    (row,) = [row for row in keys.rows(table) if row.id == row_id]
    held = getattr(row, column)
    values = {column: held[:20] + bytes([held[20] ^ 1]) + held[21:]}
    changed = table.update().where(table.c.id == row_id).values(**values)
    keys.world.plane.store.transact_wait(None, lambda c: c.execute(changed))


def settled(keys: KeyWorld, rounds_max: int = 20) -> bool:
    """Whether the loop comes to rest."""
    return not all(keys_activate(keys.watch, keys.context, keys.fence) for _ in range(rounds_max))


def test_one_version_that_does_not_unwrap_keeps_nobody_else_waiting(
    keys: KeyWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, table = keys.world, schema.organization_keys
    monkeypatch.setattr(rotation, "BATCH", 1)
    project = keys.tenant.project("apollo")
    keys.secret_put(project, "one", VALUE)
    first = min(keys.rows(table), key=lambda row: row.id)
    others = {row.id for row in keys.rows(table)} - {first.id}
    assert others
    broken(keys, table, "wrapped_key", first.id)
    world.write(app.platform_key_rotate(world.plane, world.operator, None))
    world.clock_us += DESTROY_AFTER_US + 1
    for _ in range(3):
        assert settled(keys)
    assert {row.id: row.kek for row in keys.rows(table)} == {first.id: "platform/1"} | dict.fromkeys(
        others, "platform/2"
    )
    assert len([one for one in caplog.records if "does not open" in one.message]) == 1
    assert keys.ring.encryptions.platform.find("platform/1").version == 1


def test_a_broken_seal_keeps_no_other_from_the_new_version_and_the_old_one_stays(
    keys: KeyWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    project = keys.tenant.project("apollo")
    for number in range(7):
        keys.secret_put(project, f"s-{number}", VALUE)
    heads = sorted(row.id for row in keys.rows(schema.secrets))[:2]
    for row_id in heads:
        broken(keys, schema.secrets, "sealed", row_id)
    keys.world.write(app.key_rotate(keys.world.plane, keys.tenant.admin, keys.tenant.id, None))
    keys.world.clock_us += DESTROY_AFTER_US + 1
    for _ in range(3):
        assert settled(keys)
    under = {row.id: row.key_version for row in keys.rows(schema.secrets)}
    assert under == {row_id: 1 if row_id in heads else 2 for row_id in under}
    assert [row.number for row in keys.versions()] == [1, 2]
    assert "key_destroy" not in keys.events()
    assert len([one for one in caplog.records if "does not open" in one.message]) == 1
