"""Convert a drafted policy to YAML text with a comment on each part."""

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_LENGTH = re.compile(r"[0-9.]+(?:s|m|h|d|pp|%)")
_WORDS_OF_YAML = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_HEAD = """# yaml-language-server: $schema=policy.schema.json
# Drafted from a sample: read each line, and correct what the sample cannot know."""


def write_policy_text(policy: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """The policy as YAML: gates and steps a line each, every part with its comment before it.

    Args:
        policy: JSON values.
        comments: By dotted path: a key of the policy, or "gates." and the name of a gate.

    Law: reading the text gives the policy again.
    """
    lines = [_HEAD]
    for key, value in policy.items():
        if key in comments:
            lines.append(f"# {comments[key]}")
        if key == "gates":
            lines.append("gates:")
            for name, gate in value.items():
                if f"gates.{name}" in comments:
                    lines.append(f"  # {comments[f'gates.{name}']}")
                lines.append(f"  {_value(name)}: {_value(gate)}")
        elif key == "steps":
            lines.append("steps:")
            lines += [f"  - {_value(step)}" for step in value]
        else:
            lines.append(f"{key}: {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """A value in one line."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{_value(key)}: {_value(one)}" for key, one in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case str():
            plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML
            return value if plain or _LENGTH.fullmatch(value) else _quoted(value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    """A text between quotes; what YAML lets into no file is written by its number."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in written)
