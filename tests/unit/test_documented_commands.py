"""Commands that are named inside sentences, of the documents and of the product's own messages, can be typed."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from surefoot.cli import build_app

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(
    file.read_text(encoding="utf-8")
    for folder in ("e2e", "integration", "unit")
    for file in (ROOT / "tests" / folder).glob("*.py")
    if file != Path(__file__)
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [file for folder in ("surefoot", "flows", "tasks") for file in sorted((ROOT / folder).rglob("*.py"))]
ALTERNATIVES = re.compile(r"^[a-z]+(?: \| [a-z]+)+")
"""Subcommands that a page names at once, such as `list | show | note`."""


def _named(files: list[Path], quote: str) -> list[tuple[str, str]]:
    """Each command line that stands between quotes in a file, and where: (place, words behind `surefoot`)."""
    pattern = rf"{quote}surefoot ([a-z][^{quote}\n]*){quote}"
    return [
        (str(file.relative_to(ROOT)), line)
        for file in files
        for line in re.findall(pattern, file.read_text(encoding="utf-8"))
    ]


def _lines(goal: str) -> list[tuple[str, str]]:
    """Each line of a console block that calls another program of this repository, and its page."""
    return [
        (str(page.relative_to(ROOT)), line)
        for page in PAGES
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in re.findall(rf"^\$ {goal} ?([^#\n]*)", block, re.MULTILINE)
    ]


IN_PAGES, IN_MESSAGES = _named(PAGES, "`"), _named(SOURCES, "'")


@functools.cache
def _commands() -> Any:
    """Every command of this release; building them takes a tenth of a second."""
    return typer.main.get_command(build_app())


def _options(command: Any) -> set[str]:
    return {word for one in command.params for word in (*one.opts, *one.secondary_opts)} | {"--help"}


def _problem(line: str) -> str:
    """What of a command line does not exist; empty where all of it does."""
    command = _commands()
    words = re.sub(r"\{[^{}]*\}", "X", line).split()
    while hasattr(command, "commands") and words:
        listed = ALTERNATIVES.match(" ".join(words))
        for name in listed[0].split(" | ") if listed else words[:1]:
            if name.startswith(("-", "X")):  # an option of the group, or what a message fills in
                break
            if name not in command.commands:
                return f"there is no command {name}"
        else:
            command = command.commands[words.pop(0)]
            continue
        break
    used = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(words)))
    known = _options(command)
    if hasattr(command, "commands"):  # an option of a group's command, named without it
        known |= {word for one in command.commands.values() for word in _options(one)}
    return "" if used <= known else f"there is no option {', '.join(sorted(used - known))}"


@pytest.mark.parametrize(("place", "line"), IN_PAGES + IN_MESSAGES, ids=lambda value: value[:60])
def test_a_command_in_a_sentence_exists(place: str, line: str) -> None:
    """Command, subcommand and options that a sentence names are those of this release."""
    if line.startswith("COMMAND"):
        return
    assert _problem(line) == "", (place, line)


def test_a_line_that_cannot_be_typed_is_found() -> None:
    """The check can fail: a command, a subcommand and an option that do not exist are each named."""
    assert _problem("promoted prices 2") == "there is no command promoted"
    assert _problem("token renew night-shift") == "there is no command renew"
    assert _problem("promote MODEL 2 --dryrun") == "there is no option --dryrun"
    assert _problem("incident list | show ID") == ""


def test_every_command_is_run_by_a_test() -> None:
    """Each command and each subcommand, documented or not, stands in a test as words that are run."""
    root = _commands()
    words = [
        rf'"{name}", "{sub}"' if sub else rf'[(\[,]\s*"{name}"'
        for name, command in root.commands.items()
        for sub in getattr(command, "commands", [""])
    ]
    assert [one for one in words if not re.search(one, TESTS)] == []


@pytest.mark.parametrize(("page", "line"), _lines("make"), ids=lambda value: value[:60])
def test_a_documented_goal_exists(page: str, line: str) -> None:
    """Each `make` of a console block names a goal of the Makefile."""
    goals = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert line.split(maxsplit=1)[0] in goals, page


def _benches() -> list[tuple[str, str]]:
    found = _lines(r"(?:\.venv/bin/)?python -m")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(str(page.relative_to(ROOT)), line) for line in re.findall(r"`python -m (bench[^`\n]*)`", text)]
    return [(page, line) for page, line in found if line.startswith("bench")]


@pytest.mark.parametrize(("page", "line"), _benches(), ids=lambda value: value[:60])
def test_a_documented_bench_exists(page: str, line: str) -> None:
    """Module and options of each bench that a page names exist."""
    module, *rest = line.replace("[", "").replace("]", "").split()
    file = ROOT / f"{module.replace('.', '/')}.py"
    file = file if file.is_file() else ROOT / module.replace(".", "/") / "__main__.py"
    source = file.read_text(encoding="utf-8")
    missing = [word for word in rest if word.startswith("--") and f'"{word}"' not in source]
    assert missing == [], page


def test_many_commands_are_named() -> None:
    """Pages and messages are read, not passed over."""
    assert len(IN_PAGES) > 150
    assert len(IN_MESSAGES) > 100
    assert len(_lines("make")) > 5
    assert len(_benches()) > 20
