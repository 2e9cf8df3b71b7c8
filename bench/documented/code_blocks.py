"""Read the code blocks of a page in Markdown as what a reader types, runs or saves."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

_FENCE = re.compile(r"^```(console|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")
_MAY_EXIT_1 = "exit 1 when"


class Kind(Enum):
    """What a reader does with a step."""

    COMMAND = auto()
    PROGRAM = auto()
    FILE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a reader does.

    Attributes:
        kind: What is done with the text.
        text: A command line, a program or the content of a file.
        block: Number of the code block on its page, from 0.
        name: Path of the file; empty for the others.
        exit_codes: Exit codes that the page allows.
    """

    kind: Kind
    text: str
    block: int
    name: str = ""
    exit_codes: frozenset[int] = frozenset({0})


def read_steps(page: Path, adapt: Callable[[str], str] = str) -> tuple[Step, ...]:
    """Read every console, Python and YAML block of a page, in order.

    A Python or YAML block whose first line is a comment with a file's name is saved as that file; another Python block
    is run. A command may exit with 1 where the comment behind it says "exit 1 when".

    Args:
        page: A file in Markdown.
        adapt: Puts a reader's own names in the place of the page's.
    """
    found: list[Step] = []
    for number, (language, text) in enumerate(_FENCE.findall(page.read_text(encoding="utf-8"))):
        found += _steps(language, adapt(text), number)
    return tuple(found)


def _steps(language: str, text: str, block: int) -> Iterator[Step]:
    if language == "console":
        for line in re.findall(r"^\$ (.*)$", text.replace("\\\n", " "), re.MULTILINE):
            codes = {0, 1} if _MAY_EXIT_1 in line else {0}
            yield Step(Kind.COMMAND, re.sub(r"\s+", " ", line).strip(), block, exit_codes=frozenset(codes))
    elif named := _FILE_NAME.match(text):
        yield Step(Kind.FILE, text, block, named[1])
    elif language == "python":
        yield Step(Kind.PROGRAM, text, block)
