"""Policy files: strict YAML, refused with path and line before anything happens."""

import json
import math
from pathlib import Path

import yaml

from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.fields import Violation
from surefoot.core.parse import parse
from surefoot.core.policy import Policy

MOST_BYTES = 1_000_000


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
    lines: dict[tuple[str | int, ...], int] = {}
    value = _load(path, lines)
    try:
        policy = parse(value)
    except Violation as violation:
        raise PolicyInvalid(str(path), _line(lines, violation.path), violation.rule) from violation
    if policy.model != path.stem:
        rule = f"model is '{policy.model}', but the file is named {path.name}: they must be the same"
        raise PolicyInvalid(str(path), lines.get(("model",), 1), rule)
    return value, policy


def _load(path: Path, lines: dict[tuple[str | int, ...], int]) -> dict[str, object]:
    if path.stat().st_size > MOST_BYTES:
        raise PolicyInvalid(str(path), 1, f"larger than {MOST_BYTES:,} bytes")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyInvalid(str(path), mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyInvalid(str(path), 1, f"not YAML: {error}") from error
    if node is None:
        raise PolicyInvalid(str(path), 1, "the file is empty")
    value = _plain(path, node, (), lines, set())
    if not isinstance(value, dict):
        raise PolicyInvalid(str(path), 1, "a policy is a mapping of keys to values")
    return value


def _plain(
    path: Path, node: yaml.Node, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], seen: set[int]
) -> object:
    """JSON value of a YAML node; what YAML allows and people do not expect is refused."""
    line = node.start_mark.line + 1
    lines.setdefault(at, line)
    if id(node) in seen:
        raise PolicyInvalid(str(path), line, "aliases (*name) are not allowed: write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        made: dict[str, object] = {}
        for key_node, value_node in node.value:
            where = key_node.start_mark.line + 1
            # YAML 1.1 reads a bare `on` as true; here every key is the text that was written.
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key == "<<":
                raise PolicyInvalid(str(path), where, "keys are plain words")
            if key in made:
                raise PolicyInvalid(str(path), where, f"key '{key}' is written twice")
            lines[*at, key] = where
            made[key] = _plain(path, value_node, (*at, key), lines, seen)
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item, (*at, index), lines, seen) for index, item in enumerate(node.value)]
    return _scalar(path, node, line)


def _scalar(path: Path, node: yaml.Node, line: int) -> object:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        if text.lower() not in {"true", "false"}:
            raise PolicyInvalid(str(path), line, f"'{text}' means true or false in YAML: quote it or write true/false")
        return text.lower() == "true"
    if kind in {"int", "float"}:
        try:
            number = json.loads(text)
        except json.JSONDecodeError:
            number = math.nan
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise PolicyInvalid(str(path), line, f"{text} is not a number that can be compared")
        return number
    raise PolicyInvalid(str(path), line, f"'{text}' is a YAML {kind}: quote it")


def _line(lines: dict[tuple[str | int, ...], int], path: tuple[str | int, ...]) -> int:
    """Line of a path, or of the nearest place above it that is in the file."""
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)
