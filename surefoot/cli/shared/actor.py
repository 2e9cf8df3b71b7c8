"""Determine the actor of a command, which is the name of the account that runs it."""

import os
import pwd

from surefoot.core.operator_reason import clean_reason


def current_actor() -> str:
    """Name of the account that runs the command, or its number where it has no name, as in many containers.

    The name is that of the process's user, whatever variables such as LOGNAME say: roles are given to it.
    """
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except (KeyError, OSError):
        name = f"uid {number}"
    return f"cli:{clean_reason(name).text}"
