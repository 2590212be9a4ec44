"""The schema and the policies that come with Kumoi."""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

# Read once, at import, and the one exception to "no I/O" in this room: the texts are part of the program
# like its modules, so reading them is importing them, and a broken installation fails before it serves.
_PACKAGE = files("kumoi.guard")
SCHEMA_TEXT = _PACKAGE.joinpath("kumoi.cedarschema").read_text("utf-8")
# Layer -> text. Guardrails only forbid and roles only permit.
POLICY_TEXTS: Mapping[str, str] = MappingProxyType(
    {layer: _PACKAGE.joinpath(f"{layer}.cedar").read_text("utf-8") for layer in ("guardrails", "roles")}
)
