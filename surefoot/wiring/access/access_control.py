"""Check whether a person or an access token may do an action."""

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from surefoot.adapters.access.access_log import record_access
from surefoot.adapters.access.roles_file import has_roles_file, read_roles
from surefoot.adapters.access.token_file import TokenFile
from surefoot.core.access.access_tokens import authenticate
from surefoot.core.access.identity_claims import IdentityProvider, is_identity_token, read_person_from_claims
from surefoot.core.access.roles import (
    EMERGENCY_ACTIONS,
    EVERY_MODEL,
    Action,
    RoleAssignments,
    is_allowed,
    list_roles_for_action,
)
from surefoot.core.errors import Forbidden, PolicyInvalid, TokenInvalid
from surefoot.settings import Settings

if TYPE_CHECKING:
    from surefoot.adapters.access.identity_tokens import IdentityTokens

_log = logging.getLogger(__name__)


class AccessControl:
    """Decides who may do what in one installation."""

    def __init__(self, config: Settings) -> None:
        """Read nothing yet; every decision reads what is in force.

        Args:
            config: Where everything is.
        """
        self._config = config
        self._tokens = TokenFile(config.home)
        self._identities: tuple[IdentityProvider, IdentityTokens] | None = None

    def check_person(self, actor: str, action: Action, model: str) -> None:
        """Let an account act, or a person who is signed in with its right to read the state folder.

        Args:
            actor: As the journal names the person: "cli:NAME" or "page:NAME".
            action: What is asked for.
            model: Of which model; "*" for all.

        Raises:
            Forbidden: The file of roles gives this person no role that may do it.
            PolicyInvalid: The file of roles is broken; abort, rollback and kill work all the same.
        """
        try:
            assigned = read_roles(self._config.configs)
        except PolicyInvalid as error:
            if action not in EMERGENCY_ACTIONS:
                raise
            # Such a person could do it without this check: what is broken here must not stop it at night.
            self._record(actor, action, model, f"done, since the file of roles is broken: {error}")
            _log.warning("no role was checked: %s", error)
            return
        if assigned is None:
            return
        name = actor.partition(":")[2]
        if not is_allowed(assigned.roles_of(name, model), action):
            raise self._forbidden(actor, action, model)

    def permits_person(self, actor: str, action: Action, model: str) -> bool:
        """Whether a person would be let act now; nothing is recorded.

        Args:
            actor: As the journal names the person.
            action: What may be asked for.
            model: Of which model.
        """
        try:
            assigned = read_roles(self._config.configs)
        except PolicyInvalid:
            return action in EMERGENCY_ACTIONS
        return assigned is None or is_allowed(assigned.roles_of(actor.partition(":")[2], model), action)

    def check_token(self, header: str, action: Action, model: str) -> str:
        """Let the bearer of a token act.

        Args:
            header: Value of the authorization header.
            action: What is asked for.
            model: Of which model.

        Returns:
            The actor, as the journal names it: "token:NAME", or "oidc:NAME" for the bearer of an identity token.

        Raises:
            TokenInvalid: There is no token, or it does not count.
            Forbidden: It may not do this.
            Unavailable: The file of tokens cannot be read, or the identity provider does not tell its keys.
        """
        if is_identity_token(header):
            return self._check_identity(header, action, model)
        try:
            token = authenticate(header, self._tokens.tokens(), time.time())
        except TokenInvalid as error:
            self._record("unknown", action, model, f"refused: {error}")
            raise
        actor = f"token:{token.name}"
        if not is_allowed(token.roles_of(model), action):
            raise self._forbidden(actor, action, model)
        return actor

    def _check_identity(self, header: str, action: Action, model: str) -> str:
        """Let the bearer of an identity token act."""
        assigned = read_roles(self._config.configs)
        try:
            actor = self._identify(assigned, header)
        except TokenInvalid as error:
            self._record("unknown", action, model, f"refused: {error}")
            raise
        if assigned is None or not is_allowed(assigned.roles_of(actor, model), action):
            raise self._forbidden(actor, action, model)
        return actor

    def _identify(self, assigned: RoleAssignments | None, header: str) -> str:
        """Name the bearer of an identity token.

        Raises:
            TokenInvalid: There is no identity provider, or the token does not count.
            Unavailable: The provider does not tell its keys.
        """
        from surefoot.adapters.access.identity_tokens import IdentityTokens  # noqa: PLC0415 - most commands need none

        if assigned is None or assigned.provider is None:
            raise TokenInvalid("configs/roles.yaml names no identity provider: send an access token (sft_...)")
        provider = assigned.provider
        if self._identities is None or self._identities[0] != provider:
            self._identities = provider, IdentityTokens(provider)
        return read_person_from_claims(self._identities[1].claims(header), provider, time.time())

    def check_labels(self, header: str, model: str) -> None:
        """Let labels be reported: by any sender without a file of roles, else with a token.

        Raises:
            TokenInvalid: There is no token, or it does not count.
            Forbidden: It may not report labels of this model.
            Unavailable: The file of tokens cannot be read.
        """
        if has_roles_file(self._config.configs):
            self.check_token(header, Action.REPORT_LABELS, model)

    def _forbidden(self, actor: str, action: Action, model: str) -> Forbidden:
        needed = " or ".join(list_roles_for_action(action))
        where = "every model" if model == EVERY_MODEL else model
        error = Forbidden(
            f"{actor} may not do this: {action} of {where} needs the role {needed}, see configs/roles.yaml"
        )
        self._record(actor, action, model, f"refused: {error}")
        return error

    def _record(self, actor: str, action: Action, model: str, outcome: str) -> None:
        _log.info("%s: %s of %s: %s", actor, action, model, outcome)
        with suppress(ValueError):
            record_access(self._config.home, time.time(), actor, action, model, outcome)
