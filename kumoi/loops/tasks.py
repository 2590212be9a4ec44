"""Attempts meet their engine: start what was placed, record what ended, stop what must stop.

The store is written before an engine is called and after it answered, never while: every call may be
repeated, and after a crash at any line the next activation goes on from the rows.
"""

from collections.abc import Mapping, Sequence

from kumoi.engines.base import AttemptSpec, DeviceShare, Engine, Limits, Observation, StartRefused
from kumoi.loops.context import LoopContext
from kumoi.loops.volumes import volumes_ensure
from kumoi.model.jobs import SPEC_DECODER, AttemptOutcome, JobSpec
from kumoi.store import attempts
from kumoi.store.attempts import AttemptEnd
from kumoi.store.devices import DeviceHeld, devices_held
from kumoi.store.keys.errors import KeyUnavailable, KeyWithdrawn, SealBroken
from kumoi.store.schema import AnyRow
from kumoi.store.secrets import secret_seal_name
from kumoi.store.specs import content_fill, sealed_of, spec_seal_name
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.writer import Fence

START_LIMIT = 64
END_LIMIT = 256
STOP_LIMIT = 1_000
STOP_GRACE_S = 5.0
WITHDRAWN_WHY = "the key of its organization is withdrawn"


class SecretMissing(Exception):
    """A secret that the task names does not exist any more."""


def tasks_activate(context: LoopContext, fence: Fence) -> bool:
    """One pass over every engine. More to do at once where a limit was reached."""
    more = False
    for engine in context.engines.values():
        more = _engine_serve(context, engine, fence) or more
    return more


def _engine_serve(context: LoopContext, engine: Engine, fence: Fence) -> bool:
    """Take what ended, start what was placed, and record both in one transaction."""
    ended = engine.ended(END_LIMIT)
    attempts_stop(context, engine)
    rows = context.store.read_wait(attempts.attempts_to_start, engine.name, START_LIMIT)
    started, refused = _attempts_start(context, engine, fence, rows)
    ends = [end_of(observation) for observation in ended] + refused
    attempts_record(context, engine, fence, started, ends)
    return len(ended) == END_LIMIT or len(started) + len(refused) == START_LIMIT


def attempts_collect(context: LoopContext, engine: Engine, fence: Fence) -> None:
    """Record the exits that the engine holds."""
    ends = [end_of(observation) for observation in engine.ended(END_LIMIT)]
    attempts_record(context, engine, fence, {}, ends)


def attempts_record(
    context: LoopContext,
    engine: Engine,
    fence: Fence,
    started: Mapping[str, int],
    ends: Sequence[AttemptEnd],
) -> None:
    """Write starts and ends, wake whom they concern, then let the engine forget the ends."""
    now_us = context.clock_us()
    for first in range(0, max(len(ends), 1 if started else 0), END_LIMIT):
        part = ends[first : first + END_LIMIT]
        jobs_ended = context.store.transact_wait(fence, attempts.attempts_record, started, part, now_us)
        if started or part:
            context.nudge("services")
        started = {}
        if jobs_ended:
            context.nudge("jobs")
    if ends:
        context.nudge("placement")
        engine.forget([end.attempt_id for end in ends])


def _attempts_start(
    context: LoopContext, engine: Engine, fence: Fence, rows: Sequence[AnyRow]
) -> tuple[dict[str, int], list[AttemptEnd]]:
    """Start placed attempts. What the engine will never start ends here; what it cannot start now waits."""
    if not rows:
        return {}, []
    specs, ends = _specs_build(context, fence, rows)
    results = engine.ensure(specs)
    now_us = context.clock_us()
    ends += [
        _never_started(ref, now_us, str(error))
        for ref, error in results.items()
        if isinstance(error, StartRefused)
    ]
    return {ref: now_us for ref, error in results.items() if error is None}, ends


def attempts_stop(context: LoopContext, engine: Engine) -> None:
    """Ask the engine to end what is stopping. Repeated until the end is seen."""
    stopping = context.store.read_wait(attempts.attempts_to_stop, engine.name, STOP_LIMIT)
    if stopping:
        engine.stop(stopping, STOP_GRACE_S)


def end_of(observation: Observation) -> AttemptEnd:
    """The store's form of an exit record."""
    record = observation.exit
    if record is None:
        raise ValueError(f"the attempt {observation.ref} has not ended")
    return AttemptEnd(
        observation.ref,
        record.outcome,
        record.exit_code,
        record.signal,
        record.started_us,
        record.ended_us,
        record.cpu_us,
        record.memory_peak_bytes,
        record.detail,
    )


def end_without_record(
    attempt_id: str, outcome: AttemptOutcome, started_us: int | None, now_us: int, detail: str
) -> AttemptEnd:
    """The end of an attempt of which nothing more will be heard."""
    return AttemptEnd(attempt_id, outcome, None, None, started_us, now_us, 0, 0, detail)


def _specs_build(
    context: LoopContext, fence: Fence, rows: Sequence[AnyRow]
) -> tuple[list[AttemptSpec], list[AttemptEnd]]:
    """What the engine needs for each attempt; those that can never be started end instead.

    Tasks whose organization withdrew its key go back to their queue, where `job why` says so; where a key
    cannot be had for the moment, the attempt waits as long as it may be started.
    """
    held = context.store.read_wait(devices_held, [row.id for row in rows])
    now_us = context.clock_us()
    specs: list[AttemptSpec] = []
    ends: list[AttemptEnd] = []
    missing = volumes_ensure(context, {row.organization_id for row in rows})
    withdrawn: list[str] = []
    for row in rows:
        try:
            if row.organization_id in missing:
                raise missing[row.organization_id]
            job = _spec_open(context, row)
            opened = _secrets_open(context, row, job)
        except KeyWithdrawn:
            withdrawn.append(row.id)
        except (SecretMissing, SealBroken) as error:
            ends.append(_never_started(row.id, now_us, str(error)))
        except (KeyUnavailable, VolumeUnavailable) as error:
            if now_us > row.start_before_us:
                ends.append(_never_started(row.id, now_us, str(error)))
        else:
            specs.append(_spec_build(row, job, opened, held.get(row.id, ())))
    if withdrawn:
        context.store.transact_wait(fence, attempts.attempts_preempt, withdrawn, WITHDRAWN_WHY, now_us)
        context.nudge("tasks")
    return specs, ends


def _spec_open(context: LoopContext, row: AnyRow) -> JobSpec:
    spec, sealed = SPEC_DECODER.decode(row.spec), sealed_of(row)
    if sealed is None:
        return spec
    return content_fill(spec, context.keys.open(spec_seal_name(row.organization_id, row.project_id), sealed))


def _secrets_open(context: LoopContext, row: AnyRow, job: JobSpec) -> Mapping[str, bytes]:
    """File name -> value of the job's secrets."""
    if not job.secrets:
        return {}
    names = sorted(set(job.secrets.values()))
    sealed = context.store.read_wait(attempts.secrets_sealed, row.project_id, names)
    missing = [name for name in names if name not in sealed]
    if missing:
        raise SecretMissing(f"the secret {missing[0]} was deleted; write it again, then submit again")
    return {
        file: context.keys.open(secret_seal_name(row.organization_id, row.project_id, name), sealed[name])
        for file, name in job.secrets.items()
    }


def _spec_build(
    row: AnyRow, job: JobSpec, secrets: Mapping[str, bytes], held: Sequence[DeviceHeld]
) -> AttemptSpec:
    environment = job.environment | {
        "KUMOI_JOB_ID": row.job_id,
        "KUMOI_TASK_INDEX": str(row.ordinal),
        "KUMOI_ARRAY_SIZE": str(row.array_size),
        "KUMOI_ATTEMPT": str(row.number),
    }
    if held:
        environment["KUMOI_DEVICES"] = ",".join(device.uuid for device in held)
        environment["KUMOI_DEVICE_MILLI"] = ",".join(str(device.milli) for device in held)
    limits = Limits(
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        processes=job.resources.processes,
        wall_time_s=job.resources.wall_time_s,
    )
    return AttemptSpec(
        ref=row.id,
        organization_id=row.organization_id,
        project_id=row.project_id,
        project_number=row.project_number,
        command=job.command,
        environment=environment,
        limits=limits,
        start_before_us=row.start_before_us,
        lease_expires_us=row.lease_us,
        network=job.network,
        port=job.port,
        image=job.image,
        secrets=secrets,
        device_paths=tuple(dict.fromkeys(path for device in held for path in device.paths)),
        devices=tuple(DeviceShare(device.uuid, device.kind, device.milli) for device in held),
    )


def _never_started(attempt_id: str, now_us: int, detail: str) -> AttemptEnd:
    return end_without_record(attempt_id, AttemptOutcome.START_FAILED, None, now_us, detail)
