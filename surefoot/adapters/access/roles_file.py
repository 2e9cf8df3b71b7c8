"""Read `configs/roles.yaml`, which says who has which role for which models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError

from surefoot.adapters.config.policy_folder import ROLES_FILE
from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.access.identity_claims import IdentityProvider, is_safe_provider_address
from surefoot.core.access.roles import EVERY_MODEL, Role, RoleAssignments
from surefoot.core.errors import PolicyInvalid
from surefoot.core.naming.model_names import is_model_name
from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.pydantic_errors import convert_pydantic_error
from surefoot.core.policy.scalars import Name, OptionalKey, Text, Texts
from surefoot.core.policy.violations import Violation

_PersonRole = Literal["viewer", "operator", "approver", "admin"]


def _mapping(value: object) -> object:
    return {} if value is None else value


class ProviderSection(PolicyModel):
    """An OpenID Connect provider whose people may act over HTTP."""

    issuer: Text = Field(description="Address of the provider, as its tokens name it; https, or http on this host.")
    audience: Text = Field(description="What tokens must be made for: the client id of Surefoot at the provider.")
    claim: Text = Field("email", description="Claim that names a person; roles name them as oidc:NAME.")

    def broken_rules(self) -> Iterator[Violation]:
        """Keys of an address that is not encrypted could be anyone's."""
        if not is_safe_provider_address(self.issuer):
            yield Violation(("issuer",), "expected an address of https://, or of http:// on this host")


class RolesFile(PolicyModel):
    """Roles of people, by model or group of models."""

    groups: Annotated[dict[Name, Texts], BeforeValidator(_mapping)] = Field(
        default_factory=dict, description="Registered models by the name of their group."
    )
    roles: dict[Text, dict[_PersonRole, Texts]] = Field(
        description='Names of people by role, by model, group, or "*" for every model.'
    )
    oidc: OptionalKey[ProviderSection] = Field(None, description="Identity provider of people who act over HTTP.")


def has_roles_file(configs: Path) -> bool:
    """Whether a project says who may do what; without it every account of the host may do everything."""
    try:
        return (configs / ROLES_FILE).exists()
    except OSError:  # a folder that cannot be looked into may hold one
        return True


def read_roles(configs: Path) -> RoleAssignments | None:
    """Read and check the file of roles; None where there is none.

    Args:
        configs: Folder of the policies.

    Raises:
        PolicyInvalid: Names file, line and rule of everything in it that is broken.
    """
    if not has_roles_file(configs):
        return None
    path = configs / ROLES_FILE
    document = YamlDocument()
    value = load_yaml(path, document, "file of roles")
    try:
        found = RolesFile.model_validate(value)
    except ValidationError as error:
        broken = convert_pydantic_error(error, value, root=RolesFile)
        (line, rule), *more = [(document.line(one.path), str(one)) for one in (*document.unread, *broken)]
        raise PolicyInvalid(str(path), line, rule, more) from error
    problems = [(document.line(one.path), str(one)) for one in document.unread]
    problems += [
        (document.line(("roles", place)), f"roles.{place}: no name of a model or group, and not '*'")
        for place in found.roles
        if place != EVERY_MODEL and place not in found.groups and not is_model_name(place)
    ]
    roles = {place: {Role(role): names for role, names in people.items()} for place, people in found.roles.items()}
    oidc = found.oidc
    provider = IdentityProvider(oidc.issuer, oidc.audience, oidc.claim) if oidc else None
    assigned = RoleAssignments(found.groups, roles, provider)
    if not problems and not assigned.admins:
        problems = [(document.line(("roles",)), 'roles."*".admin names no person: at least one must manage tokens')]
    if problems:
        (line, rule), *more = problems
        raise PolicyInvalid(str(path), line, rule, more)
    return assigned


def roles_file_problems(configs: Path) -> list[str]:
    """What is wrong with the file of roles, with file and line."""
    try:
        read_roles(configs)
    except PolicyInvalid as error:
        return [f"{error.path}:{line}: {rule}" for line, rule in error.problems()]
    return []
