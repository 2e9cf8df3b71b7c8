"""Policy files: strict YAML, refused with path and line before anything happens."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import yaml

from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.fields import LARGEST, Violation
from surefoot.core.fields import Path as Place
from surefoot.core.idle import refuse
from surefoot.core.parse import parse
from surefoot.core.policy import Policy

MOST_BYTES = 1_000_000
MOST_LEVELS = 20
"""Deepest nesting [levels]: a policy needs six, and a parser that recurses must not be driven into the ground."""
Lines = dict[Place, int]


def read(path: Path) -> tuple[dict[str, object], Policy]:
    """Read a policy file.

    Returns:
        The mapping as it stands in the file (JSON values), and the Policy it means.

    Raises:
        NotFound: There is no such file; the message lists those that exist.
        PolicyInvalid: Names file, line and rule.
    """
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in path.parent.glob("*.yaml"))) or "none"
        raise NotFound(f"there is no policy {path}; policies in {path.parent}: {known}")
    lines: Lines = {}
    value = _load(path, lines)
    try:
        policy = parse(value)
        refuse(policy)
    except Violation as violation:
        raise PolicyInvalid(str(path), _line(lines, violation.path), str(violation)) from violation
    if policy.model != path.stem:
        rule = f"model is '{policy.model}', but the file is named {path.name}: they must be the same"
        raise PolicyInvalid(str(path), lines.get(("model",), 1), rule)
    return value, policy


def _load(path: Path, lines: Lines) -> dict[str, object]:
    if path.stat().st_size > MOST_BYTES:
        raise PolicyInvalid(str(path), 1, f"larger than {MOST_BYTES:,} bytes")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
        for line, rule in _surprises(text):
            raise PolicyInvalid(str(path), line, rule)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise PolicyInvalid(str(path), 1, "the file is empty")
        value = _plain(node, (), lines)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyInvalid(str(path), line, f"not UTF-8 text: byte {raw[error.start]:#04x}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise PolicyInvalid(str(path), line, f"not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyInvalid(str(path), line, f"not YAML: {error.reason}") from error
    except Violation as violation:
        raise PolicyInvalid(str(path), _line(lines, violation.path), str(violation)) from violation
    if not isinstance(value, dict):
        raise PolicyInvalid(str(path), 1, "a policy is a mapping of keys to values")
    return value


def _surprises(text: str) -> Iterator[tuple[int, str]]:
    """Line and rule of what must be refused before the composer follows it: aliases and bottomless nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        line = mark.line + 1 if mark is not None else 1
        if isinstance(event, yaml.AliasEvent):
            yield line, f"aliases (*{event.anchor}) are not allowed: write the value out"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            yield line, f"nested more than {MOST_LEVELS} levels deep"


def _plain(node: yaml.Node, at: Place, lines: Lines) -> object:
    """JSON value of a YAML node; what YAML allows and people do not expect is refused."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, at)
    if node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
        raise Violation(at, f"tags ({node.tag.removeprefix('tag:yaml.org,2002:')}) are not allowed")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines) for index, item in enumerate(node.value)]
    made: dict[str, object] = {}
    for key_node, value_node in node.value:
        # YAML 1.1 reads a bare `on` as true; here every key is the text that was written.
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        lines[*at, key] = key_node.start_mark.line + 1
        if key in {"?", "<<"}:
            raise Violation((*at, key), "keys are plain words")
        if key in made:
            raise Violation((*at, key), f"key {key!r} is written twice")
        made[key] = _plain(value_node, (*at, key), lines)
    return made


def _scalar(node: yaml.ScalarNode, at: Place) -> object:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        if text.lower() not in {"true", "false"}:
            raise Violation(at, f"'{text}' means true or false in YAML: quote it or write true/false")
        return text.lower() == "true"
    if kind in {"int", "float"}:
        try:
            number = json.loads(text)
        except ValueError:  # not JSON, or with more digits than Python reads
            number = math.nan
        if not isinstance(number, int | float) or not -LARGEST <= number <= LARGEST:
            raise Violation(at, f"{text:.40} is not a number that can be compared")
        return number
    raise Violation(at, f"'{text}' is a YAML {kind}: quote it")


def _line(lines: Lines, path: Place) -> int:
    """Line of a path, or of the nearest place above it that is in the file."""
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)
