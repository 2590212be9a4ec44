"""Text that only looks like a name: what a pattern must not let through."""

from typing import Any

import msgspec
import pytest

from kumoi.model.access import ProjectCreate
from kumoi.model.ids import Id, Name
from kumoi.model.jobs import EnvironmentName
from kumoi.model.places import SiteCreate
from kumoi.model.records import SecretWrite

GOOD: list[tuple[Any, Any]] = [
    (Name, "a-1"),
    (Id, "org_" + "0" * 26),
    (EnvironmentName, "PATH"),
    (SecretWrite, {"value": "YQ=="}),
    (ProjectCreate, {"name": "a", "jurisdiction": "JP"}),
    (SiteCreate, {"name": "a", "country": "JP"}),
]


def broken(good: Any) -> Any:
    """The same with a line break behind its last text."""
    if isinstance(good, str):
        return good + "\n"
    return good | {list(good)[-1]: broken(list(good.values())[-1])}


@pytest.mark.parametrize(("kind", "good"), GOOD)
def test_a_line_break_at_the_end_is_not_overlooked(kind: Any, good: Any) -> None:
    assert msgspec.convert(good, kind) is not None
    with pytest.raises(msgspec.ValidationError, match="matching regex"):
        msgspec.convert(broken(good), kind)
