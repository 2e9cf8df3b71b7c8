"""Pages that follow the code are as the code says, and documented commands can be typed."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from surefoot.cli import build_app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTS = "\n".join(
    file.read_text(encoding="utf-8")
    for folder in ("e2e", "integration", "unit")
    for file in (ROOT / "tests" / folder).glob("*.py")
)


def _documented() -> list[tuple[str, str]]:
    """Each `surefoot` command in a console block, and its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            whole = block.replace("\\\n", " ")
            lines = re.findall(r"^\$ (?:\.venv/bin/)?surefoot (.*)$", whole, re.MULTILINE)
            found += [(str(page.relative_to(ROOT)), line) for line in lines]
    return found


DOCUMENTED = _documented()


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The program that writes the pages."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_generated_pages_follow_the_code(generate: ModuleType) -> None:
    """Each page of the reference is what `make docs` would write now."""
    for name, make in generate.PAGES.items():
        page = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert page == generate._NOTE + make(), f"'make docs' writes docs/reference/{name} again"


def test_every_command_key_and_event_is_in_the_reference(generate: ModuleType) -> None:
    """No command, event or section of a policy is left out, and none has an empty line in place of what it does."""
    root: Any = typer.main.get_command(build_app())
    commands = generate.commands_page()
    assert [name for name in root.commands if f"## `surefoot {name}`" not in commands] == []
    assert [name for name in generate.EVENT_TYPES if f"## {name}\n" not in generate.events_page()] == []
    assert not re.search(r"^\| `[^|]*` \|  \|", commands + generate.metrics_page(), re.MULTILINE)


@pytest.mark.parametrize(("page", "line"), DOCUMENTED, ids=lambda value: value[:60])
def test_a_documented_command_can_be_typed(page: str, line: str) -> None:
    """Command, arguments and options are those of this release, and a test runs the command."""
    words = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(build_app())
    while hasattr(command, "commands"):
        assert words, page
        name = words.pop(0)
        assert name in command.commands, (page, line)
        command = command.commands[name]
    command.make_context(name, words)  # raises where a word is not known or one is missing
    assert re.search(rf'[(\[,]\s*"{name}"', TESTS), f"no test runs {name}"


def test_many_commands_are_documented() -> None:
    """The pages are read, not passed over."""
    assert len(DOCUMENTED) > 30
