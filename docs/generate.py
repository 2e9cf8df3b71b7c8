"""Write the reference pages that follow the code: commands, policy keys, journal events, metrics."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from surefoot.cli import MODULES, build_app
from surefoot.core.journal.events import EVENT_TYPES
from surefoot.core.policy.schema import policy_schema
from surefoot.gateway.control.metrics import prometheus_text
from surefoot.status_page.page_metrics import export_journal_metrics

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- `make docs` writes this page from the code. -->\n\n"
_EXIT_CODES = (
    ("0", "done"),
    ("1", "done, and something is wrong: the output says what"),
    ("2", "nothing happened: the line says what to change"),
    ("3", "another process acts on the same thing"),
    ("4", "not all of it could be done now: run it again, or `reconcile` finishes it"),
    ("5", "a record was changed after it was written"),
    ("70", "a defect of Surefoot"),
)


def _cell(text: object) -> str:
    """A text on one line, safe in a cell of a table."""
    plain = " ".join(str(text if text is not None else "").split())
    return plain.replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of a table."""
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(_cell(one) for one in row)} |"
    yield ""


def _command(words: str, command: Any, level: int) -> Iterator[str]:
    """Lines about a command and its subcommands."""
    yield f"{'#' * level} `{words}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    rows = []
    for one in command.params:
        if one.hidden or one.name in {"help", "context"}:
            continue
        flags = [f"`{flag}`" for flag in (*one.opts, *one.secondary_opts)] if one.opts[0].startswith("-") else []
        plain = isinstance(one.default, bool | None) or callable(one.default) or one.default == ""
        given = "required" if one.required else "" if plain else f"`{one.default}`"
        rows.append((", ".join(flags) or f"`{one.name.upper()}`", one.help, given))
    if rows:
        yield from _table(("argument or option", "what it does", "default"), rows)
    for name, other in getattr(command, "commands", {}).items():
        yield from _command(f"{words} {name}", other, level + 1)


def commands_page() -> str:
    """The page of every command, with its arguments and options."""
    root: Any = typer.main.get_command(build_app())
    lines = ["# Commands", "", "A command that fails prints one line, which says what to do. Exit codes:", ""]
    lines += _table(("code", "meaning"), _EXIT_CODES)
    for name in MODULES:
        lines += _command(f"surefoot {name}", root.commands[name], 2)
    return "\n".join(lines).rstrip() + "\n"


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "any value" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in schema[key]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "examples" in schema:
        return f"{schema.get('type', 'value')} such as `{schema['examples'][0]}`"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "any value")), *bounds])


def _keys(schema: Mapping[str, Any]) -> Iterator[str]:
    """Lines about the keys of one section."""
    required = schema.get("required", ())
    rows = []
    for key, value in schema.get("properties", {}).items():
        given = "required" if key in required else f"`{value['default']}`" if "default" in value else ""
        rows.append((f"`{key}`", _kind(value), given, value.get("description", "")))
    yield from _table(("key", "value", "default", "what it is"), rows)


def policy_page() -> str:
    """The page of every key of a policy, section by section."""
    schema = policy_schema()
    lines = [
        "# Keys of a policy",
        "",
        "Generated from the schema that `surefoot schema` prints; [the policy](../policy.md)",
        "",
    ]
    lines[2] += " explains how they work together."
    lines += ["## The whole file", "", *_keys(schema)]
    for name, section in schema["$defs"].items():
        if section.get("properties"):
            lines += [f"## {name}", "", section.get("description", ""), "", *_keys(section)]
        elif "enum" in section:
            lines += [f"## {name}", "", f"One of {_kind(section)}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def events_page() -> str:
    """The page of every journal event, with its fields."""
    lines = [
        "# Events of the journal",
        "",
        "`surefoot history MODEL --json` prints them. Each entry holds one event.",
        "",
    ]
    for name, kind in EVENT_TYPES.items():
        text = inspect.getdoc(kind) or ""
        about, _, fields = text.partition("Attributes:")
        lines += [f"## {name}", "", " ".join(about.split()), ""]
        found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", fields, re.MULTILINE | re.DOTALL)
        if found:
            lines += _table(("field", "what it is"), [(f"`{field}`", told) for field, told in found])
    return "\n".join(lines).rstrip() + "\n"


def metrics_page() -> str:
    """The page of every metric of the gateway and of the status page."""
    lines = [
        "# Metrics",
        "",
        "[Monitoring](../monitoring.md) says where to scrape them, and has rules and a dashboard.",
        "",
    ]
    for title, text in (("Gateway", prometheus_text({})), ("Journal", export_journal_metrics({}, {}))):
        said = text.decode()
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)", said, re.MULTILINE))
        helps = re.findall(r"^# HELP (\S+) (.*)", said, re.MULTILINE)
        lines += [f"## {title}", ""]
        lines += _table(("metric", "type", "what it is"), [(f"`{name}`", types[name], told) for name, told in helps])
    return "\n".join(lines).rstrip() + "\n"


PAGES = {
    "commands.md": commands_page,
    "policy-keys.md": policy_page,
    "events.md": events_page,
    "metrics.md": metrics_page,
}


def write_pages() -> None:
    """Write every page that has changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        page, text = FOLDER / name, _NOTE + make()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages()
