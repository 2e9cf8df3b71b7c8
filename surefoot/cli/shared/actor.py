"""Determine the name of the person who runs a command, which the journal records as the actor."""

import getpass
import os

from surefoot.core.operator_reason import clean_reason


def current_actor() -> str:
    """Name of the account that runs the command, or its number where it has no name, as in many containers."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"cli:{clean_reason(name).text}"
