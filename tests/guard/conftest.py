"""The guards under test; `org_provider` is the operators' organization everywhere here."""

import pytest

from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT

PROVIDER = "org_provider"
# Permits everything to everyone, so that only the guardrails stand in the way.
PERMIT_ALL = '@id("permit-all") permit (principal, action, resource);'


@pytest.fixture(scope="session")
def guard() -> Guard:
    """The guard as it is shipped."""
    return Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), PROVIDER)


@pytest.fixture(scope="session")
def guardrails_alone() -> Guard:
    """The guardrails over a policy that permits everything."""
    return Guard.load(SCHEMA_TEXT, (POLICY_TEXTS["guardrails"], PERMIT_ALL), PROVIDER)
