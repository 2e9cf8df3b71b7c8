"""Read policy files as strict YAML; an error names the file, the line and the broken rule."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.policy.parse import examine_policy
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.scalars import MAX_NUMBER
from surefoot.core.policy.vacuous_settings import vacuous_settings
from surefoot.core.policy.violations import KeyPath as Place
from surefoot.core.policy.violations import MistakeKind, Violation

MAX_POLICY_BYTES = 1_000_000
_MAX_NESTING_LEVELS = 20
"""Deepest nesting [levels]: a policy needs six, and a parser that recurses must not be driven into the ground."""
_GATE_PATH_LENGTH = 2
"""Length of a path that leads to a gate or to all of them [keys]."""


def list_policy_files(folder: Path) -> list[Path]:
    """Policy files of a folder, sorted; hidden files, such as an editor's lock, and folders are none."""
    return [path for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".") and not path.is_dir()]


def read_policy(path: Path) -> tuple[dict[str, object], Policy]:
    """Read a policy file.

    Returns:
        The mapping as it stands in the file (JSON values), and the Policy it means.

    Raises:
        NotFound: There is no such file; the message lists those that exist.
        PolicyInvalid: Names file, line and rule of everything in it that is broken.
    """
    if not path.is_file():
        known = ", ".join(item.stem for item in list_policy_files(path.parent)) or "none"
        raise NotFound(f"there is no policy {path}; policies in {path.parent}: {known}")
    document = _Document()
    value = _load(path, document)
    examined = examine_policy(value)
    broken = list(examined.broken)
    odd = {violation.path[:2] for violation in (*document.unread, *broken)}
    fine = [gate for name, gate in examined.gates.items() if gate is not None and ("gates", name) not in odd]
    broken += vacuous_settings(fine, examined.fail)
    model = value.get("model")
    if isinstance(model, str) and path.stem != model and ("model",) not in odd:
        rule = f"model is '{model}', but the file is named {path.name}: they must be the same"
        broken.append(_FileRule(("model",), rule))
    broken = _own(document.unread, broken)
    found = [(document.line(v.path), str(v)) for v in (*document.unread, *broken)]
    if found or examined.policy is None:
        (line, rule), *more = found
        raise PolicyInvalid(str(path), line, rule, more, examined.suite)
    return value, examined.policy


def find_line(path: Path, place: Place) -> int:
    """Line of a place in a policy file that can be read [one-based].

    Raises:
        PolicyInvalid: It cannot be read any more.
    """
    document = _Document()
    _load(path, document)
    return document.line(place)


def _own(unread: Sequence[Violation], broken: Sequence[Violation]) -> list[Violation]:
    """Broken rules that do not follow from another mistake in the same file."""
    # What could not be read as a value is told as that, and not again as what it is no value for.
    kept = [v for v in broken if not any(v.path[: len(one.path)] == one.path for one in unread)]
    unnamed = [one.path[:-1] for one in unread if one.path and one.path[-1] in {"?", "<<"}]
    kept = [v for v in kept if not (v.path in unnamed and v.mistake is MistakeKind.MISSING_KEY)]
    strange = [v for v in kept if v.mistake is MistakeKind.STRANGE_NAME]
    if any(v.path[:1] == ("gates",) and len(v.path) <= _GATE_PATH_LENGTH for v in (*unread, *strange)):
        kept = [v for v in kept if v.mistake is not MistakeKind.NO_SUCH_GATE]  # it may be the one that is unread
    return kept


class _FileRule(Violation):
    """A rule about the file and not about the value at its place."""

    def __str__(self) -> str:
        """The rule alone."""
        return self.rule


def _load(path: Path, document: "_Document") -> dict[str, object]:
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
        if depth > _MAX_NESTING_LEVELS:
            yield line, f"nested more than {_MAX_NESTING_LEVELS} levels deep"
            return


@dataclass
class _Document:
    """What is known of a file beside its values.

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
