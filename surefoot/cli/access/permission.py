"""Check that the actor who runs a command has the role it needs, and open the installation's ports for it."""

from contextlib import AbstractContextManager

from surefoot import wiring
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.rollout import Ports
from surefoot.settings import Settings, read_settings


def require_allowed_actor(config: Settings, action: Action, model: str) -> str:
    """Name of the account that runs the command, as the journal records it, once it may do this.

    Raises:
        Forbidden: The file of roles gives it no role that may.
        PolicyInvalid: The file of roles is broken.
    """
    actor = current_actor()
    wiring.AccessControl(config).check_person(actor, action, model)
    return actor


def open_allowed_ports(action: Action, model: str) -> AbstractContextManager[Ports]:
    """Open the ports of this installation for the account that runs the command, once it may do this.

    Raises:
        Forbidden: The file of roles gives it no role that may.
        PolicyInvalid: The file of roles is broken.
    """
    config = read_settings()
    return wiring.open_ports(config, require_allowed_actor(config, action, model), REGISTRY_TIMEOUT_S)
