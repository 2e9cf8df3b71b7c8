"""Define roles, the actions that each role may do, and who has which role."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from surefoot.core.access.identity_claims import IdentityProvider

EVERY_MODEL = "*"
"""Stands for all models, in the file of roles and in a token."""


class Role(StrEnum):
    """What a person or a token is."""

    VIEWER = "viewer"
    REPORTER = "reporter"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class Action(StrEnum):
    """What a person or a token can ask for."""

    VIEW = "view"
    REPORT_LABELS = "report labels"
    ABORT = "abort"
    ROLLBACK = "rollback"
    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    REPAIR = "repair"
    PROMOTE = "promote"
    APPROVE = "approve"
    DENY = "deny"
    RELEASE = "release"
    RESTORE_TABLES = "restore tables"
    DRILL = "run a live drill"
    MANAGE_INCIDENTS = "manage incidents"
    OVERRIDE_FREEZE = "override a freeze"
    FORGET = "forget a unit"
    MANAGE_TOKENS = "manage tokens"
    MANAGE_WEBHOOKS = "manage webhooks"


_OPERATING = (
    Action.ABORT,
    Action.ROLLBACK,
    Action.KILL,
    Action.PAUSE,
    Action.RESUME,
    Action.FREEZE,
    Action.UNFREEZE,
    Action.REPAIR,
    Action.PROMOTE,
    Action.RESTORE_TABLES,
    Action.DRILL,
    Action.MANAGE_INCIDENTS,
)
RIGHTS: Mapping[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.VIEW}),
    # Labels decide verdicts: who may promote must not be able to make them up.
    Role.REPORTER: frozenset({Action.REPORT_LABELS}),
    Role.OPERATOR: frozenset({Action.VIEW, *_OPERATING}),
    Role.APPROVER: frozenset({Action.VIEW, Action.APPROVE, Action.DENY, Action.RELEASE, Action.OVERRIDE_FREEZE}),
    Role.ADMIN: frozenset(Action),
}
"""What each role may do. No action passes a gate: only verdicts do."""
EMERGENCY_ACTIONS = frozenset({Action.ABORT, Action.ROLLBACK, Action.KILL})
"""Actions that a file of roles which cannot be read does not stop for an account of this host."""


def is_allowed(roles: Collection[Role], action: Action) -> bool:
    """Whether one of these roles may do this."""
    return any(action in RIGHTS[role] for role in roles)


def list_roles_for_action(action: Action) -> list[Role]:
    """Roles that may do this, in the order of their definition."""
    return [role for role in Role if action in RIGHTS[role]]


@dataclass(frozen=True, slots=True)
class RoleAssignments:
    """Who has which role for which models.

    Attributes:
        groups: Models by the name of their group.
        roles: People by role, by the name of a model, a group, or "*" for every model.
        provider: Identity provider whose people may act over HTTP; None where there is none.
    """

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    roles: Mapping[str, Mapping[Role, Sequence[str]]] = field(default_factory=dict)
    provider: IdentityProvider | None = None

    def roles_of(self, person: str, model: str) -> frozenset[Role]:
        """Roles of a person for a model; "*" asks for those that hold for every model."""
        return frozenset(
            role
            for place, people in self.roles.items()
            if place == EVERY_MODEL or model in self.groups.get(place, (place,))
            for role, names in people.items()
            if person in names
        )

    @property
    def admins(self) -> frozenset[str]:
        """People who may do everything."""
        return frozenset(self.roles.get(EVERY_MODEL, {}).get(Role.ADMIN, ()))
