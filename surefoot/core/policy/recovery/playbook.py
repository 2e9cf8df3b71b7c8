"""Define the policy section `playbook`: which people are called or informed about an incident, and when."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Duration, Name, Names, Texts
from surefoot.core.policy.violations import Violation, describe_type, rule_error


class Escalation(PolicyModel):
    """A role that is called while an incident is open."""

    after: Duration = Field(description="Time since the incident was opened.")
    to: Name = Field(description="The role that is called, one of `roles`.")


def _escalations(value: object) -> object:
    if not isinstance(value, list):
        raise rule_error(f"expected a list of escalations, found {describe_type(value)}")
    return tuple(value)


class Playbook(PolicyModel):
    """Who does what when a version is taken back."""

    roles: dict[Name, Texts] = Field(
        default_factory=dict,
        description="People by role, each as they are reached: a name, an address, a number.",
    )
    escalate: Annotated[tuple[Escalation, ...], BeforeValidator(_escalations)] = Field(
        (), description="Who is called, and when, while an incident is open."
    )
    send: Names = Field(
        (),
        description="Audiences whose message is sent as soon as it is drafted: users, support, management, or the name"
        " of a template in configs/messages/.",
    )

    def broken_rules(self) -> Iterator[Violation]:
        """Roles are known, and called ever later."""
        for place, one in enumerate(self.escalate):
            if one.to not in self.roles:
                known = ", ".join(self.roles) or "none"
                yield Violation(("escalate", place, "to"), f"names the role '{one.to}', which is not in roles: {known}")
            if place and one.after < self.escalate[place - 1].after:
                yield Violation(("escalate", place, "after"), "must not be before the one above it")


NO_PLAYBOOK = Playbook.model_validate({})
"""Of a model without a policy."""
