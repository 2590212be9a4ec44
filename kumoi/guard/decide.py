"""The decision: may this actor do this to that? Cedar answers, and whatever is unclear is a denial.

Pure: policies and schema come in as text, and a decision depends on nothing but its arguments.
Semantics: https://docs.cedarpolicy.com/auth/authorization.html (deny by default, forbid trumps permit).
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from cedarpy import Entities, PolicySet, Schema, is_authorized, policies_to_json_str, validate_policies

from kumoi.guard.entities import (
    ACTION,
    ACTOR,
    ROLES,
    action_entities,
    actor_entity,
    specimens,
    target_entity,
    uid,
)
from kumoi.guard.slices import Slices
from kumoi.model.access import AccessGrant, Action, Actor, Decision, ResourceKind, ScopeKind, Target

# Parsing an actor costs more than the rest of a decision, and an actor asks many times. Parsed, it takes
# about 13 KiB. The key is the whole value, grants and token included, so none can be stale.
ACTORS_KEPT = 1_024
# A decision depends on its arguments and the fixed policies alone, so a kept one is the one that would be
# made again. A tenant that submits job after job asks the same question each time.
DECISIONS_KEPT = 4_096
_ERROR_LENGTH_MAX = 500
_encoder = msgspec.json.Encoder()
# Names no project: identifiers have a prefix (kumoi.model.ids).
_ANY_PROJECT = "*"


class PolicyInvalid(ValueError):
    """A schema or a policy cannot be used, so no guard is made. The text names the policy."""


class Guard:
    """Decides by a fixed set of policies. Immutable, and safe to share between threads."""

    def __init__(self, schema: Schema, policies_text: str, platform_organization_id: str) -> None:
        """Of parts that `load` has checked."""
        self._schema = schema
        self._platform_organization_id = platform_organization_id
        actions = action_entities(schema)
        self._slices = Slices(policies_text, ROLES, actions)
        self._actions_parsed = {
            name: Entities.from_json_str(json.dumps([entity])) for name, entity in actions.items()
        }
        self._actor_parsed = lru_cache(ACTORS_KEPT)(self._actor_parse)
        self._decided = lru_cache(DECISIONS_KEPT)(self._decide)

    @classmethod
    def load(cls, schema_text: str, policy_texts: Sequence[str], platform_organization_id: str) -> "Guard":
        """The guard of these policies; `platform_organization_id` is the operators' own organization.

        Raises PolicyInvalid where the schema does not declare what requests bring, where a policy does not
        parse or does not fit the schema, or where it lacks an `@id` of its own: it is logged by that.
        """
        schema = _schema_parse(schema_text)
        _policy_ids_check(policy_texts)
        text = "\n".join(policy_texts)
        validation = validate_policies(text, schema)
        if not validation.validation_passed:
            names = validation.id_annotations_by_policy_id
            wrong = [f"{names.get(error.policy_id, error.policy_id)}: {error}" for error in validation.errors]
            raise PolicyInvalid(f"policies do not fit the schema: {'; '.join(wrong)}")
        return cls(schema, text, platform_organization_id)

    def decide(
        self, actor: Actor, action: Action, target: Target, access: AccessGrant | None = None
    ) -> Decision:
        """Whether `actor` may do `action` to `target`, and which policies say so.

        `access` is a live grant of a tenant to this operator; whoever passes it has checked that it is both.

        A list or a creation is decided about its container. Every error, Cedar's or that of a target
        without its ancestors, is a denial that says so in `reason`.
        """
        return self._decided(actor, action, target, access)

    def _decide(self, actor: Actor, action: Action, target: Target, access: AccessGrant | None) -> Decision:
        asked = f"{action} on {target.kind} {target.id!r} by {actor.id!r}"
        request = {
            "principal": uid(ACTOR, actor.id),
            "action": uid(ACTION, action),
            "resource": uid(target.kind, target.id),
        }
        try:
            target_json = _encoder.encode([target_entity(target)]).decode()
            # Added without the schema, whose shapes `load` has checked: a set made with it carries every
            # action there is, and adding to such a set costs twice the whole decision.
            policies, entities = self._actor_parsed(actor, action, access)
            entities = entities.with_added_json_str(target_json)
            answer = is_authorized(request, policies, entities, self._schema)
        except ValueError as error:
            return _undecided(asked, str(error))
        # Cedar skips a policy that errs, a forbid too, and may still answer Allow.
        if answer.diagnostics.errors:
            return _undecided(asked, "; ".join(sorted(answer.diagnostics.errors)))
        names = answer.diagnostics.id_annotations_by_reason
        deciding = tuple(sorted(names[reason] for reason in answer.diagnostics.reasons))
        if answer.allowed:
            return Decision(True, deciding, f"{asked} is permitted by {', '.join(deciding)}")
        if deciding:
            return Decision(False, deciding, f"{asked} is forbidden by {', '.join(deciding)}")
        return Decision(False, (), f"{asked} is permitted by no role")

    def projects_readable(self, actor: Actor) -> frozenset[str] | None:
        """The projects of its organization that a list may show to `actor`; None means all of them.

        The ids come from its grants and its token: whoever uses them still selects by organization.
        """
        if self._project_is_readable(actor, _ANY_PROJECT):
            return None
        named = {grant.scope_id for grant in actor.grants if grant.scope_kind == ScopeKind.PROJECT}
        if actor.token_project_id is not None:
            named.add(actor.token_project_id)
        return frozenset(project for project in named if self._project_is_readable(actor, project))

    def _project_is_readable(self, actor: Actor, project_id: str) -> bool:
        target = Target(ResourceKind.PROJECT, project_id, organization_id=actor.organization_id)
        return self.decide(actor, Action.PROJECT_READ, target).allowed

    def _actor_parse(
        self, actor: Actor, action: Action, access: AccessGrant | None
    ) -> tuple[PolicySet, Entities]:
        """What every question of the actor about `action` needs: its policies, and both entities."""
        entity = actor_entity(actor, self._platform_organization_id, access)
        entities = self._actions_parsed[action].with_added_json_str(_encoder.encode([entity]).decode())
        return self._slices.of((role["id"] for role in entity["parents"]), action), entities


def _undecided(asked: str, error: str) -> Decision:
    # repr: Cedar quotes its input, and an id with a line break must not forge a line of a log.
    return Decision(False, (), f"{asked} is denied, it cannot be decided: {error[:_ERROR_LENGTH_MAX]!r}")


def _schema_parse(schema_text: str) -> Schema:
    """The schema; PolicyInvalid unless it declares every action and every shape that requests bring."""
    try:
        schema = Schema.from_str(schema_text)
    except ValueError as error:
        raise PolicyInvalid(f"the schema cannot be read: {error}") from error
    for entity in specimens():
        try:
            Entities.from_json_str(json.dumps([entity]), schema)
        except ValueError as error:
            kind = entity["uid"]["type"]
            raise PolicyInvalid(f"the schema's {kind} is not what requests bring: {error}") from error
    undeclared = sorted(set(Action) - action_entities(schema).keys())
    if undeclared:
        raise PolicyInvalid(f"the schema does not declare the actions {', '.join(undeclared)}")
    return schema


def _policy_ids_check(policy_texts: Sequence[str]) -> None:
    """Every text parses by itself, and every policy is a static one with an `@id` of its own."""
    counts: Counter[str] = Counter()
    for number, text in enumerate(policy_texts, start=1):
        try:
            parsed = json.loads(policies_to_json_str(text))
        except ValueError as error:
            raise PolicyInvalid(f"policy text {number} cannot be read: {error}") from error
        if parsed["templates"]:
            raise PolicyInvalid(f"policy text {number} has a template, which permits and forbids nothing")
        for position, policy in parsed["staticPolicies"].items():
            name = policy.get("annotations", {}).get("id")
            if not name:
                raise PolicyInvalid(f"{position} of policy text {number} has no @id, which the log needs")
            counts[name] += 1
    several = sorted(name for name, count in counts.items() if count > 1)
    if several:
        raise PolicyInvalid(f"an @id names one policy, but these name several: {', '.join(several)}")
