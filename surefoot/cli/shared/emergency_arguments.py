"""Clean malformed options from the arguments of emergency commands."""

import re
from collections.abc import Sequence

EMERGENCY_COMMANDS = ("abort", "rollback", "kill")
"""Commands that act whatever reason is typed."""
_FLAG_WITH_VALUE = re.compile(r"(--json|--lift|--now|--stepped)=.*", re.DOTALL)


def clean_malformed_options(words: Sequence[str]) -> list[str]:
    """Arguments of an emergency command without the malformed options that would stop it before it acts.

    A reason that is missing becomes an empty one, and a flag that was given a value loses that value.
    """
    plain = list(words)
    end = plain.index("--") if "--" in plain else len(plain)
    plain[:end] = [_FLAG_WITH_VALUE.sub(r"\1", word) for word in plain[:end]]
    return [*plain, ""] if plain and plain[-1] in {"-m", "--reason"} else plain
