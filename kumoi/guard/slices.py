"""The policies that can apply to an actor's action: fewer to evaluate, and the same decisions.

A policy applies only where its scope matches. One that does not apply neither decides nor errs, for its
conditions are not looked at. So it may be left out where its scope names only roles that the actor does not
hold, or only other actions. Whatever is not certain to do that stays in.
Source: https://docs.cedarpolicy.com/policies/json-format.html#principal and #action
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache

from cedarpy import PolicySet, policies_to_json_str

from kumoi.guard.entities import Entity, Uid


class Slices:
    """The slices of a fixed set of static policies. Safe to share between threads."""

    def __init__(self, policies_text: str, roles: Iterable[Uid], actions: Mapping[str, Entity]) -> None:
        """Of policies that parse; with every role, and every action and group with all groups it is in."""
        self._policies: Mapping[str, Mapping[str, object]] = json.loads(policies_to_json_str(policies_text))[
            "staticPolicies"
        ]
        self._roles = tuple(roles)
        self._actions = actions
        # Bounded: as many as there are sets of roles, times actions.
        self._keys = cache(self._keys_find)
        # Actors of the same roles share theirs, and so do actions whose policies are the same: there are 238,
        # of about 70 KiB and 2 ms each.
        self._parsed = cache(self._parse)

    def of(self, roles: Iterable[str], action: str) -> PolicySet:
        """The policies that can apply to `action` of an actor that holds `roles`, and maybe more."""
        return self._parsed(self._keys(frozenset(roles), action))

    def _keys_find(self, roles: frozenset[str], action: str) -> tuple[str, ...]:
        asked = self._actions[action]
        names = [asked["uid"], *asked["parents"]]
        other_actions = [other["uid"] for other in self._actions.values() if other["uid"] not in names]
        other_roles = [role for role in self._roles if role["id"] not in roles]
        return tuple(
            key
            for key, policy in self._policies.items()
            if not _names_only(other_roles, policy["principal"])
            and not _names_only(other_actions, policy["action"])
        )

    def _parse(self, keys: tuple[str, ...]) -> PolicySet:
        static = {key: self._policies[key] for key in keys}
        return PolicySet.from_json_str(
            json.dumps({"staticPolicies": static, "templates": {}, "templateLinks": []})
        )


def _names_only(others: list[Uid], scope: object) -> bool:
    """Whether `scope`, a policy's `principal` or `action`, is limited to entities that are among `others`."""
    match scope:
        case {"op": "==" | "in", "entity": named}:
            return named in others
        case {"op": "in", "entities": [*several]}:
            return all(named in others for named in several)
    return False
