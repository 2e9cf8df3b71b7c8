"""Determine the name of the person who runs a command, which the journal records as the actor."""

import getpass
import os

from surefoot.core.operator_reason import clean_reason


def current_actor() -> str:
    """Who types: the account's name, or its number where it has none, as in many containers."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"cli:{clean_reason(name).text}"
