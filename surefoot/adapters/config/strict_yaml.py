"""Read YAML files strictly, without duplicate keys, aliases or tags."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from surefoot.core.errors import PolicyInvalid
from surefoot.core.policy.scalars import MAX_NUMBER
from surefoot.core.policy.violations import KeyPath as Place
from surefoot.core.policy.violations import Violation

MAX_POLICY_BYTES = 1_000_000
_MAX_NESTING_LEVELS = 20
"""Deepest nesting [levels]: a policy needs six, and a parser that recurses must not be driven into the ground."""


def load_yaml(path: Path, document: "YamlDocument", what: str = "policy") -> dict[str, object]:
    """Read the mapping that a YAML file holds, as JSON values.

    Args:
        path: The file.
        document: Is told the line of each place, and what cannot be read.
        what: What the file is, for messages.

    Raises:
        PolicyInvalid: It is no YAML that means one thing only; names file, line and rule.
    """
    try:
        if path.stat().st_size > MAX_POLICY_BYTES:
            raise PolicyInvalid(str(path), 1, f"larger than {MAX_POLICY_BYTES:,} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(str(path), 1, f"cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8")
        if found := list(_surprises(text)):
            (line, rule), *more = found
            raise PolicyInvalid(str(path), line, rule, more)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise PolicyInvalid(str(path), 1, "the file is empty")
        value = document.read(node, ())
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
    if not isinstance(value, dict):
        raise PolicyInvalid(str(path), 1, f"a {what} is a mapping of keys to values")
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
        if depth > _MAX_NESTING_LEVELS:
            yield line, f"nested more than {_MAX_NESTING_LEVELS} levels deep"
            return


@dataclass
class YamlDocument:
    """Reads YAML nodes, and collects the line number of each key and the forbidden constructs of a file.

    Attributes:
        lines: Line of each place [one-based].
        unread: What YAML allows and people do not expect.
    """

    lines: dict[Place, int] = field(default_factory=dict)
    unread: list[Violation] = field(default_factory=list)

    def read(self, node: yaml.Node, at: Place) -> object:
        """JSON value of a YAML node; what cannot be read is noted, and stands as None."""
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            try:
                return _scalar(node, at)
            except Violation as violation:
                self.unread.append(violation)
                return None
        if node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            rule = f"tags ({node.tag.removeprefix('tag:yaml.org,2002:')}) are not allowed"
            self.unread.append(Violation(at, rule))
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*at, index)) for index, item in enumerate(node.value)]
        made: dict[str, object] = {}
        for key_node, value_node in node.value:
            # YAML 1.1 reads a bare `on` as true; here every key is the text that was written.
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            self.lines[*at, key] = key_node.start_mark.line + 1
            if key in {"?", "<<"}:
                self.unread.append(Violation((*at, key), "keys are plain words"))
            elif key in made:
                self.unread.append(Violation((*at, key), f"key {key!r} is written twice"))
            else:
                made[key] = self.read(value_node, (*at, key))
        return made

    def line(self, path: Place) -> int:
        """Line of a path, or of the nearest place above it that is in the file [one-based]."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


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
        if not isinstance(number, int | float) or not -MAX_NUMBER <= number <= MAX_NUMBER:
            raise Violation(at, f"{text:.40} is not a number that can be compared")
        return number
    raise Violation(at, f"'{text}' is a YAML {kind}: quote it")
