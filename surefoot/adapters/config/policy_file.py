"""Read policy files: strict YAML, refused with path, line and rule."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.policy.fields import LARGEST, Problem, Violation, guarded, tell
from surefoot.core.policy.fields import Path as Place
from surefoot.core.policy.model import Policy
from surefoot.core.policy.parse import parse
from surefoot.core.policy.vacuous import refuse_vacuous

MOST_BYTES = 1_000_000
MOST_LEVELS = 20
"""Deepest nesting [levels]: a policy needs six, and a parser that recurses must not be driven into the ground."""
BESIDE_GATES = 2
"""Length of a path that leads to a gate or to all of them [keys]."""
Lines = dict[Place, int]


def policy_files(folder: Path) -> list[Path]:
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
        known = ", ".join(item.stem for item in policy_files(path.parent)) or "none"
        raise NotFound(f"there is no policy {path}; policies in {path.parent}: {known}")
    lines: Lines = {}
    unread: Problem = []
    value = _load(path, lines, unread)
    broken: Problem = []
    policy = guarded(broken, lambda: parse(value, broken), None)
    if policy is not None:
        odd = [v.path[:2] for v in (*unread, *broken) if v.path[:1] == ("gates",)]
        idle: Problem = []
        refuse_vacuous(replace(policy, gates={k: g for k, g in policy.gates.items() if ("gates", k) not in odd}), idle)
        broken += idle
        if path.stem != policy.model == value.get("model"):
            rule = f"model is '{policy.model}', but the file is named {path.name}: they must be the same"
            broken.append(_FileRule(("model",), rule))
    broken = _own(unread, broken)
    found = [(_line(lines, v.path), str(v)) for v in (*unread, *broken)]
    if found or policy is None:
        (line, rule), *more = found
        suite = policy.suite if policy is not None and not any(_about_suite(v) for v in (*unread, *broken)) else ""
        raise PolicyInvalid(str(path), line, rule, more, suite)
    return value, policy


def _own(unread: Problem, broken: Problem) -> Problem:
    """Broken rules that do not follow from another mistake in the same file."""
    # What could not be read as a value is told as that, and not again as what it is no value for.
    kept = [v for v in broken if not any(v.path[: len(one.path)] == one.path for one in unread)]
    unnamed = [one.path[:-1] for one in unread if one.path and one.path[-1] in {"?", "<<"}]
    kept = [v for v in kept if not (v.path in unnamed and v.rule.endswith("is missing"))]
    strange = [v for v in kept if v.rule.startswith("expected a name")]
    if any(v.path[:1] == ("gates",) and len(v.path) <= BESIDE_GATES for v in (*unread, *strange)):
        kept = [v for v in kept if not v.rule.startswith("there is no gate")]  # it may be the one that is unread
    return kept


def _about_suite(violation: Violation) -> bool:
    """Whether a rule keeps the name of the suite from being known."""
    return (
        violation.path in {("data",), ("data", "suite")}
        or "'suite' is missing" in violation.rule
        or (violation.path == () and "'data'" in violation.rule)
    )


class _FileRule(Violation):
    """A rule about the file and not about the value at its place."""

    def __str__(self) -> str:
        """The rule alone."""
        return self.rule


def _load(path: Path, lines: Lines, told: Problem) -> dict[str, object]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PolicyInvalid(str(path), 1, f"larger than {MOST_BYTES:,} bytes")
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
        value = _plain(node, (), lines, told)
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
        if depth > MOST_LEVELS:
            yield line, f"nested more than {MOST_LEVELS} levels deep"
            return


def _plain(node: yaml.Node, at: Place, lines: Lines, told: Problem) -> object:
    """JSON value of a YAML node; what YAML allows and people do not expect is told, and stands as None."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return guarded(told, lambda: _scalar(node, at), None)
    if node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
        tell(told, at, f"tags ({node.tag.removeprefix('tag:yaml.org,2002:')}) are not allowed")
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, index), lines, told) for index, item in enumerate(node.value)]
    made: dict[str, object] = {}
    for key_node, value_node in node.value:
        # YAML 1.1 reads a bare `on` as true; here every key is the text that was written.
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        lines[*at, key] = key_node.start_mark.line + 1
        if key in {"?", "<<"}:
            tell(told, (*at, key), "keys are plain words")
        elif key in made:
            tell(told, (*at, key), f"key {key!r} is written twice")
        else:
            made[key] = _plain(value_node, (*at, key), lines, told)
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
