"""Edit the text of a policy file without changing its comments or order."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from surefoot.core.errors import Rejected
from surefoot.core.incidents.review.policy_change import AddItem, PolicyEdit, SetValue
from surefoot.core.policy.violations import KeyPath

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.%-]*")
"""Texts that need no quotes, unless YAML reads them as something else."""


def edit_policy_text(text: str, edits: Sequence[PolicyEdit]) -> str:
    """The text of a policy file after some edits, one after the other.

    Raises:
        Rejected: The place of an edit is not in the file, or is written in a way that cannot be edited.
    """
    for edit in edits:
        made = _set(text, edit) if isinstance(edit, SetValue) else _add(text, edit)
        if _content(made) == _content(text):  # the edit has gone into a comment
            raise Rejected(f"the policy's '{'.'.join(map(str, edit.path))}' cannot be edited as it is written")
        text = made
    return text


def diff_policy_texts(name: str, before: str, after: str) -> str:
    """The unified diff of a file of the project, for `git apply` and `patch -p1`; empty where nothing changes.

    Args:
        name: Path of the file in the project, such as configs/prices.yaml.
        before: Its text.
        after: Its text after the change.
    """
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def read_policy_text(file: Path) -> str:
    """The text of a policy file, line ends as they are.

    Raises:
        Rejected: It cannot be read.
    """
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{file} cannot be read: {error}") from error


def _content(text: str) -> list[tuple[type[yaml.Event], object]]:
    """What a text says to YAML, comments and places apart."""
    return [(type(event), getattr(event, "value", None)) for event in yaml.parse(text, Loader=yaml.SafeLoader)]


def _node(text: str, path: KeyPath) -> yaml.Node | None:
    """The node at a path; None where there is none."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in path:
        if isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            return None
    return node


def _set(text: str, edit: SetValue) -> str:
    """The text with a value in its place: instead of the one that is there, or as a new key."""
    found, value = _node(text, edit.path), _flow_text(edit.value)
    if found is not None:
        return text[: found.start_mark.index] + value + text[_end(found) :]
    parent = _node(text, edit.path[:-1])
    if not isinstance(parent, yaml.MappingNode):
        raise Rejected(f"the policy has no '{'.'.join(map(str, edit.path[:-1]))}' to edit")
    entry = f"{edit.path[-1]}: {value}"
    if parent.flow_style:
        return _into_flow(text, parent, entry)
    return _as_line(text, _end(parent), " " * parent.start_mark.column + entry)


def _add(text: str, edit: AddItem) -> str:
    """The text with one more item in a list."""
    found = _node(text, edit.path)
    if not isinstance(found, yaml.SequenceNode):
        raise Rejected(f"the policy has no list '{'.'.join(map(str, edit.path))}' to add to")
    entry = _flow_text(edit.value)
    place = len(found.value) if edit.before is None else edit.before
    if found.flow_style and place >= len(found.value):
        return _into_flow(text, found, entry)
    if found.flow_style:
        start = found.value[place].start_mark.index
        return f"{text[:start]}{entry}, {text[start:]}"
    item = f"{' ' * found.start_mark.column}- {entry}"
    if place >= len(found.value):
        return _as_line(text, _end(found), item)
    start = text.rfind("\n", 0, found.value[place].start_mark.index) + 1
    return f"{text[:start]}{item}{_line_end(text)}{text[start:]}"


def _into_flow(text: str, node: yaml.CollectionNode, entry: str) -> str:
    """The text with one more entry at the end of `{...}` or `[...]`."""
    close = node.end_mark.index - 1
    inside = text[node.start_mark.index + 1 : close]
    kept = inside.rstrip()
    comma = "" if not kept.strip() or kept.endswith(",") else ","
    blank = " " if kept.strip() else ""
    return f"{text[: node.start_mark.index + 1]}{kept}{comma}{blank}{entry}{inside[len(kept) :]}{text[close:]}"


def _as_line(text: str, end: int, line: str) -> str:
    """The text with one more line after the one in which something ends."""
    after = text.find("\n", end)
    if after < 0:
        return f"{text}{_line_end(text)}{line}{_line_end(text)}"
    return f"{text[: after + 1]}{line}{_line_end(text)}{text[after + 1 :]}"


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends; YAML lets blocks end where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _flow_text(value: object) -> str:
    """A JSON value as YAML within one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_flow_text(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow_text, value)) + "]"
    if isinstance(value, str):
        node = yaml.compose(value, Loader=yaml.SafeLoader) if _PLAIN.fullmatch(value) else None
        return value if node is not None and node.tag.endswith(":str") else json.dumps(value)
    return json.dumps(value)
