"""The wiring: the only place that knows every room."""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kumoi.app.founding import FoundedRegion, region_found
from kumoi.app.pages import Cursors
from kumoi.app.plane import AccessTerms, Plane, Region
from kumoi.core.tokens import SECRET_BYTES, token_format
from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
from kumoi.ledger.checkpoint import checkpoint_open
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import Signer, vkey_format
from kumoi.loops.access import access_activate
from kumoi.loops.context import LoopContext, Retention
from kumoi.loops.gateway_link import GatewayLink
from kumoi.loops.hosts import hosts_activate
from kumoi.loops.jobs import jobs_activate
from kumoi.loops.keys import WATCH_S, KeyWatch, keys_activate
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.log_gaps import LogGapsMemory, log_gaps_activate
from kumoi.loops.machines import machines_activate
from kumoi.loops.notices import NoticesMemory, NoticeWays, notices_activate
from kumoi.loops.orphans import orphans_activate
from kumoi.loops.placement import placement_activate
from kumoi.loops.placement_memory import PlacementMemory
from kumoi.loops.retention import retention_activate
from kumoi.loops.runner import Loop, Runner
from kumoi.loops.services import ServicesMemory, services_activate
from kumoi.loops.tasks import tasks_activate
from kumoi.loops.upkeep import upkeep_activate
from kumoi.loops.witnesses import Quorum, WitnessesMemory, witnesses_activate
from kumoi.main.engines import engines_build as _engines_build
from kumoi.main.gateway_child import GatewayChild
from kumoi.main.notices import notice_ways_build
from kumoi.main.witnesses_file import witnesses_read
from kumoi.model.settings import Settings
from kumoi.model.time import US_PER_S
from kumoi.model.witnesses import WitnessRules
from kumoi.providers.base import Provider
from kumoi.providers.file import providers_read
from kumoi.store.database import Store
from kumoi.store.files import FileStore
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.errors import KeyUnavailable, SealBroken
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.platform import PlatformKeys, key_file_ensure, key_file_read
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.rotation import wrapped_by
from kumoi.store.keys.rows import platform_keks
from kumoi.store.keys.tokens import Tokens
from kumoi.store.log import head_any
from kumoi.store.organizations import region_get
from kumoi.store.volumes.mounts import volumes_open
from kumoi.store.witnesses import published_forget

MACHINES_REST_S = 1.0
"""Providers are not asked more often than this."""
GATHER_S = 0.05
"""Under load what is submitted meanwhile is placed together; what comes to an idle plane does not wait."""
SERVICES_REST_S = 0.01
"""Ends of any work wake the services: many in a moment are looked at together."""

_log = logging.getLogger("kumoi")


def plane_build(settings: Settings) -> tuple[Plane, Runner]:
    """Wire store, guard, engines, loops and app into a plane. Nothing runs yet."""
    _directories_ensure(settings)
    with _private_files():
        store = Store(settings.database_url, keys=settings.keys_dir)
    with _first_start(settings.data_dir):
        log_key, platform_keys, cursors_key = _keys_open(
            settings.keys_dir, founded=store.read_wait(region_get) is not None
        )
        founded = _region_ensure(store, settings, platform_keys)
    _platform_keys_check(store, platform_keys)
    signer = Signer(settings.origin, log_key)
    _log_key_check(store, signer)
    ways = notice_ways_build(settings)
    rules, quorum = witnesses_read(settings.witnesses_file, signer.key)
    if not rules.witnesses:
        store.transact_wait(None, published_forget)
    region = _region(founded, settings.origin, vkey_format(signer.key), rules, quorum)
    ring = KeyRing(store, KeyEncryptions(platform_keys, _tokens_read(settings)))
    volumes = volumes_open(settings.data_dir, store, ring, encrypted=settings.volume_encryption)
    engines = _engines_build(settings, founded.incarnation)
    providers = _providers_build(settings)
    plane = Plane(
        store=store,
        guard=Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), founded.platform_organization_id),
        cursors=Cursors(cursors_key),
        keys=ring,
        files=FileStore(volumes.root),
        volumes=volumes,
        region=region,
        data_dir=settings.data_dir,
        engines=engines,
        providers=providers,
        notice_rules=ways.rules,
        access_terms=AccessTerms(
            settings.access_answer_s, settings.access_explain_s, settings.access_second_age_s
        ),
    )

    def nudge(*names: str) -> None:
        runner.nudge(*names)

    context = _context_make(plane, nudge, settings)
    child = GatewayChild(settings.data_dir, settings.gateway_listen)
    link = GatewayLink(
        child.control, plane.clock_us, lambda: nudge("services"), child if settings.gateway else None
    )
    watch = KeyWatch(store, ring, nudge)
    loops = _loops_build(context, link, signer, quorum, ways, watch, settings)
    runner = Runner(store, loops, beside=(link, volumes, watch))
    plane.nudge = nudge
    for engine in engines.values():
        engine.on_change(lambda: nudge("tasks"))
    return plane, runner


def _region(founded: FoundedRegion, origin: str, vkey: str, rules: WitnessRules, quorum: Quorum) -> Region:
    return Region(
        name=founded.name,
        cell=founded.cell,
        incarnation=founded.incarnation,
        platform_organization_id=founded.platform_organization_id,
        log_origin=origin,
        log_vkey=vkey,
        log_witnesses=rules,
        log_rules=quorum.rules,
    )


def _context_make(plane: Plane, nudge: Callable[..., None], settings: Settings) -> LoopContext:
    """The plane as its loops see it."""
    return LoopContext(
        store=plane.store,
        engines=plane.engines,
        keys=plane.keys,
        volumes=plane.volumes,
        clock_us=plane.clock_us,
        nudge=nudge,
        incarnation=plane.region.incarnation,
        platform_organization_id=plane.region.platform_organization_id,
        cell=plane.region.cell,
        host_pool=settings.host_pool,
        region=plane.region.name,
        providers=plane.providers,
        retention=Retention(
            settings.task_log_retention_s, settings.job_retention_s, settings.plan_retention_s
        ),
    )


def _directories_ensure(settings: Settings) -> None:
    """DATA with its parts, closed to everybody else."""
    for place in (settings.data_dir, settings.keys_dir, settings.data_dir / "run"):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)


def _keys_open(keys: Path, *, founded: bool) -> tuple[bytes, PlatformKeys, bytes]:
    """The keys of the log, of secrets and of cursors, made before the region is founded and never again.

    Raises ValueError where one of a founded region is lost: another one in its place would begin a second
    log, or leave every secret unreadable. What cursors are authenticated with may be made anew.
    """
    log, secrets, cursors = (keys / f"{name}.key" for name in ("log", "secrets", "cursors"))
    if founded and not cursors.exists():
        _log.warning("%s is lost and made anew: lists that are being read start again", cursors)
    open_key = key_file_read if founded else key_file_ensure
    platform = PlatformKeys.read(keys)
    if not platform.versions:
        open_key(secrets)
        platform = PlatformKeys.read(keys)
    return open_key(log), platform, key_file_ensure(cursors)


def _platform_keys_check(store: Store, platform: PlatformKeys) -> None:
    """Refuse to go on without a version of the platform's key that wraps something, or with another key."""
    for kek in store.read_wait(platform_keks):
        path = platform.path(kek)
        for row in store.read_wait(wrapped_by, kek, 1):
            additional = organization_key_additional(row.organization_id, row.number, kek)
            try:
                platform.find(kek).unwrap(row.wrapped_key, additional)
            except KeyUnavailable as error:
                raise ValueError(f"{path} is lost, and no other key will do; restore it ({error})") from error
            except SealBroken as error:
                raise ValueError(f"{path} is not the key of this region; restore it") from error


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """What is made inside is closed to everybody else, also where DATA is copied to."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _first_start(data_dir: Path) -> Iterator[None]:
    """Planes that share a data directory found the region and make its keys one after the other."""
    descriptor = os.open(data_dir / "run" / "first-start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _region_ensure(store: Store, settings: Settings, keys: PlatformKeys) -> FoundedRegion:
    """The region in the store; founded at the first start, with the operator's token in `admin.token`.

    The token is on disk before the store knows it: a crash in between leaves a file that the next start
    replaces, never a token that nobody knows.
    """
    token = ""
    if store.read_wait(region_get) is None:
        volumes = settings.data_dir / "volumes"
        if any(volumes.glob("org_*")):
            raise ValueError(
                f"{volumes} holds files of a region whose store is not there: restore it, "
                "or move volumes and keys away to begin another region"
            )
        token = token_format(os.urandom(SECRET_BYTES))
        _file_write(settings.data_dir / "admin.token", token + "\n")
    now_us = time.time_ns() // 1_000
    return region_found(
        store,
        region_name=settings.region,
        cell=settings.cell,
        now_us=now_us,
        admin_token=token,
        platform_key=keys.current,
    )


def _log_key_check(store: Store, signer: Signer) -> None:
    """Refuse to go on with a log that another key signed: that would be a second history."""
    head = store.read_wait(head_any)
    if head is None:
        return
    if head.origin != signer.name:
        raise ValueError(f"the store holds the log {head.origin}; start with --log-origin {head.origin}")
    try:
        checkpoint_open(head.checkpoint.encode(), signer.key)
    except LedgerError as error:
        raise ValueError(f"keys/log.key is not the key of this region's log ({error}); restore it") from error


def _file_write(path: Path, text: str) -> None:
    """Write `path` (mode 600) durably, whole or not at all."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _providers_build(settings: Settings) -> dict[str, Provider]:
    """Where machines can be borrowed. Raises ValueError or OSError for a file that is not as it should be."""
    return providers_read(Path(settings.providers_file)) if settings.providers_file else {}


def _tokens_read(settings: Settings) -> Tokens | None:
    """The tokens that tenants may use. Nothing of PKCS#11 is loaded where there are none."""
    if not settings.tokens_file:
        return None
    from kumoi.main.tokens_file import tokens_read

    return tokens_read(settings.tokens_file)


def _loops_build(
    context: LoopContext,
    gateway: GatewayLink,
    signer: Signer,
    quorum: Quorum,
    ways: NoticeWays,
    watch: KeyWatch,
    settings: Settings,
) -> list[Loop]:
    """The reconcilers, how often each runs by itself, and how long each rests in between."""
    return [
        Loop("jobs", partial(jobs_activate, context), 2.0, GATHER_S),
        Loop("placement", partial(placement_activate, PlacementMemory(), context), 2.0, GATHER_S),
        Loop("tasks", partial(tasks_activate, context), 1.0),
        Loop(
            "services", partial(services_activate, ServicesMemory(), gateway, context), 1.0, SERVICES_REST_S
        ),
        Loop("upkeep", partial(upkeep_activate, context), 5.0),
        Loop("hosts", partial(hosts_activate, context), 10.0),
        Loop("machines", partial(machines_activate, context), 5.0, MACHINES_REST_S),
        Loop("orphans", partial(orphans_activate, context), 30.0),
        Loop(
            "ledger",
            partial(ledger_activate, context, signer),
            settings.log_interval_s,
            settings.log_interval_s,
        ),
        Loop(
            "witnesses",
            partial(witnesses_activate, WitnessesMemory(), quorum, context),
            settings.log_interval_s,
        ),
        Loop("notices", partial(notices_activate, NoticesMemory(), ways, context), 2.0, GATHER_S),
        Loop(
            "log_gaps",
            partial(log_gaps_activate, LogGapsMemory(), quorum, int(settings.log_gap_s * US_PER_S), context),
            min(5.0, settings.log_gap_s / 2),
        ),
        Loop("access", partial(access_activate, context), 1.0),
        Loop("keys", partial(keys_activate, watch, context), WATCH_S if settings.tokens_file else 5.0),
        Loop("retention", partial(retention_activate, context), 60.0),
    ]
