"""Device models that operators wrote; what they did not write is in the built-in catalogue."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from kumoi.core.capacity import Figure
from kumoi.core.devices import CATALOGUE, CatalogueEntry
from kumoi.model.capacity import DeviceModel
from kumoi.store.errors import StaleState
from kumoi.store.schema import AnyRow, device_models

MODELS_MAX = 10_000


def device_model_get(connection: Connection, name: str) -> DeviceModel | None:
    """The model of this name: as an operator wrote it, or as it is built in."""
    row = connection.execute(select(device_models).where(device_models.c.name == name)).one_or_none()
    if row is not None:
        return _of_row(row)
    entry = CATALOGUE.get(name)
    return None if entry is None else _of_entry(entry)


def device_model_list(connection: Connection, limit: int, after_name: str | None) -> Sequence[DeviceModel]:
    """Models by name, after `after_name`: those that were written, and those that are built in."""
    after = after_name or ""
    statement = select(device_models).where(device_models.c.name > after).order_by(device_models.c.name)
    found = {entry.name: _of_entry(entry) for entry in CATALOGUE.values() if entry.name > after}
    found |= {row.name: _of_row(row) for row in connection.execute(statement.limit(limit))}
    return [found[name] for name in sorted(found)][:limit]


def device_model_kinds(connection: Connection) -> dict[str, str]:
    """The kind of every model."""
    return {model.name: model.kind for model in device_model_list(connection, MODELS_MAX, None)}


def figures_all(connection: Connection) -> dict[str, Figure]:
    """What every model counts."""
    return {
        model.name: Figure(model.fp16_dense_gflops, model.attested)
        for model in device_model_list(connection, MODELS_MAX, None)
    }


def device_model_replace(connection: Connection, model: DeviceModel) -> None:
    """Write over the row of a model that an operator wrote before. StaleState if it changed meanwhile."""
    changed = connection.execute(
        update(device_models)
        .where(device_models.c.name == model.name, device_models.c.version == model.version - 1)
        .values(**device_model_values(model), version=model.version)
    )
    if changed.rowcount != 1:
        raise StaleState(f"the device model {model.name} changed meanwhile")


def device_model_values(model: DeviceModel) -> dict[str, object]:
    """The columns of a model that say what its datasheet says."""
    return {
        "vendor": model.vendor,
        "kind": model.kind,
        "fp16_dense_gflops": model.fp16_dense_gflops,
        "fp16_sparse_gflops": model.fp16_sparse_gflops,
        "memory_bytes": model.memory_bytes,
        "datasheet": model.datasheet,
        "datasheet_sha256": model.datasheet_sha256 or "",
    }


def _of_row(row: AnyRow) -> DeviceModel:
    return DeviceModel(
        name=row.name,
        vendor=row.vendor,
        kind=row.kind,
        fp16_dense_gflops=row.fp16_dense_gflops,
        fp16_sparse_gflops=row.fp16_sparse_gflops,
        memory_bytes=row.memory_bytes,
        datasheet=row.datasheet,
        datasheet_sha256=row.datasheet_sha256 or None,
        attested=bool(row.datasheet_sha256),
        built_in=False,
        version=row.version,
    )


def _of_entry(entry: CatalogueEntry) -> DeviceModel:
    """The built-in entry; nobody has recorded a datasheet for it."""
    return DeviceModel(
        name=entry.name,
        vendor=entry.vendor,
        kind=entry.kind,
        fp16_dense_gflops=entry.fp16_dense_gflops,
        fp16_sparse_gflops=None,
        memory_bytes=entry.memory_bytes,
        datasheet=entry.datasheet,
        datasheet_sha256=None,
        attested=False,
        built_in=True,
        version=0,
    )
