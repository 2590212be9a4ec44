"""Device models: what they can do by their makers' datasheets. Figures with sparsity are refused (C-19)."""

from msgspec.structs import asdict

from kumoi.app.answers import answer, etag_matches
from kumoi.app.plane import Plane
from kumoi.core.devices import CATALOGUE, FigureProblem, figure_problem
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.capacity import DeviceModel, DeviceModelWrite
from kumoi.model.errors import Invalid, PreconditionFailed
from kumoi.model.idempotency import Written
from kumoi.model.records import Page
from kumoi.store import device_models, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.writer import Change


async def device_model_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[DeviceModel]:
    """Every device model by name, those that are built in among them."""
    await plane.authorize(actor, Action.DEVICE_MODEL_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("device-models", cursor)
    rows = await plane.store.read(device_models.device_model_list, limit + 1, after)
    return plane.cursors.page("device-models", rows, limit, lambda model: model.name)


async def device_model_write(
    plane: Plane, actor: Actor, name: str, body: DeviceModelWrite, if_match: str | None
) -> Written:
    """Write what a model's datasheet says. With `if_match`, only the version that it names is replaced."""
    await plane.authorize(actor, Action.DEVICE_MODEL_WRITE, PLATFORM_TARGET, named=name)
    _figure_check(name, body)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = device_models.device_model_get(connection, name)
        if if_match is not None and not etag_matches(if_match, None if known is None else known.version):
            raise PreconditionFailed(
                "version_differs",
                "the device model {name} is not at the version {if_match}; "
                "read the list again, then decide again",
                at="If-Match",
                name=name,
                if_match=if_match,
            )
        written = DeviceModel(
            name=name,
            attested=body.datasheet_sha256 is not None,
            built_in=False,
            version=1 if known is None else known.version + 1,
            **asdict(body),
        )
        event = event_row(
            Action.DEVICE_MODEL_WRITE,
            at_us=now_us,
            actor=actor.id,
            resource=name,
            organization=plane.region.platform_organization_id,
            detail=asdict(body) | {"version": written.version},
        )
        inserts = [(schema.events, [event])]
        fresh = known is None or known.built_in
        if fresh:
            row = {"name": name, "created_us": now_us, **device_models.device_model_values(written)}
            inserts.append((schema.device_models, [row]))
        else:
            device_models.device_model_replace(connection, written)
        return Change(inserts, answer=answer(201 if fresh else 200, written, written.version))

    return await plane.commit_built(build)


def _figure_check(name: str, body: DeviceModelWrite) -> None:
    entry = CATALOGUE.get(name)
    known = None if entry is None else entry.fp16_dense_gflops
    match figure_problem(body.fp16_dense_gflops, body.fp16_sparse_gflops, known):
        case FigureProblem.NOT_DENSE:
            raise Invalid(
                "figure_not_dense",
                "the figure given as dense is not below the one with sparsity; "
                "give the peak without sparsity, which is half of it",
                at="/fp16_dense_gflops",
            )
        case FigureProblem.RATIO:
            raise Invalid(
                "figure_ratio",
                "the figure with sparsity is not twice the dense one; read both from the same line of the "
                "datasheet, for half precision on the units for matrices",
                at="/fp16_sparse_gflops",
            )
        case FigureProblem.TWICE_THE_KNOWN:
            raise Invalid(
                "figure_twice_the_known",
                "the figure is twice the {known} GFLOPS that are known of the model {name}, so it is the one "
                "with sparsity; give the peak without sparsity",
                at="/fp16_dense_gflops",
                known=known,
                name=name,
            )
        case FigureProblem.ABOVE_THE_KNOWN:
            raise Invalid(
                "figure_above_the_known",
                "the figure is above the {known} GFLOPS that are known of the model {name}; give the dense "
                "peak of its datasheet, or name the model as what it is",
                at="/fp16_dense_gflops",
                known=known,
                name=name,
            )
        case FigureProblem.SPARSE_UNSAID:
            raise Invalid(
                "figure_sparse_unsaid",
                "say what the datasheet gives with sparsity, or 0 if it gives nothing: "
                "the dense figure is checked against it",
                at="/fp16_sparse_gflops",
            )
