"""A replica as the job that it is."""

from msgspec.structs import replace

from kumoi.model.jobs import WALL_TIME_S_MAX, JobSpec
from kumoi.model.services import RevisionSpec, ServiceSpec


def replica_job(spec: ServiceSpec, run: RevisionSpec) -> JobSpec:
    """The job of one replica of a service's revision.

    It ends when it is not wanted any more, and is not tried again: what replaces it is another replica. It
    waits for a lost host, so that replicas outlive any silence of the plane.
    """
    return JobSpec(
        command=run.command,
        name=spec.name,
        environment=run.environment,
        secrets=run.secrets,
        resources=replace(run.resources, wall_time_s=WALL_TIME_S_MAX),
        priority=spec.priority,
        work_class=spec.work_class,
        pool=spec.pool,
        rules=spec.rules,
        image=run.image,
        port=run.port,
    )
