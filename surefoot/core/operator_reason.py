"""Clean the reason that an operator types for an action, so that it can be stored."""

from dataclasses import dataclass

MAX_REASON_LENGTH = 500
"""Longest reason that is kept [characters]; no line that people read needs more."""
NO_REASON_TEXT = "no reason given"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that the journal can store.

    Attributes:
        text: One line of printable text, never empty, at most MAX_REASON_LENGTH characters.
        changes: What had to be done to what was typed, in words; empty when it is kept as it was.
    """

    text: str
    changes: str = ""


def clean_reason(typed: str) -> Reason:
    """Make a reason usable: replace what no record can hold, shorten what is too long, name what is missing.

    Args:
        typed: What a person typed; bytes of a command line that are no UTF-8 arrive as lone surrogates.
    """
    changes = []
    printable = "".join(sign if sign.isprintable() or sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in typed)
    if printable != typed:
        changes.append("characters that cannot be kept were replaced")
    line = " ".join(printable.split())
    if not line:
        return Reason(NO_REASON_TEXT, "; ".join([*changes, f"it was empty: '{NO_REASON_TEXT}' is kept"]))
    if len(line) > MAX_REASON_LENGTH:
        changes.append(f"it was shortened from {len(line):,} to {MAX_REASON_LENGTH} characters")
        line = f"{line[: MAX_REASON_LENGTH - 1].rstrip()}…"
    return Reason(line, "; ".join(changes))
