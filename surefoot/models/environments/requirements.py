"""Read which packages and Python version a saved model requires."""

import hashlib
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from surefoot.core.errors import Rejected

_PYTHON = re.compile(r"^\s*python\s*:\s*['\"]?(\d+)\.(\d+)", re.MULTILINE)
_OLDEST_PYTHON = (3, 11)
"""The process that hosts a model is written for this Python or a later one."""
_INCLUDED = re.compile(r"^(?:-c|--constraint|-r|--requirement)[ =]+(\S+)")


@dataclass(frozen=True, slots=True)
class VersionRequirements:
    """Packages and Python of one saved model.

    Attributes:
        lines: Lines of its requirements, and of the files that they include, without comments.
        python: Path of the interpreter that runs it.
        digest: SHA-256 of both: versions with the same one share an environment.
    """

    lines: tuple[str, ...]
    python: str
    digest: str


def read_requirements(path: Path) -> VersionRequirements:
    """Read the requirements of a saved model.

    Args:
        path: The model's directory.

    Raises:
        Rejected: It stores no requirements, or this host has no Python that it could run on.
    """
    lines = tuple(_lines(path, "requirements.txt"))
    if not lines:
        raise Rejected("it stores no requirements.txt, from which its environment could be built: log it with MLflow's")
    python, version = _interpreter(path)
    text = "\n".join([version, *sorted(lines)])
    return VersionRequirements(lines, python, hashlib.sha256(text.encode()).hexdigest())


def _lines(path: Path, name: str) -> list[str]:
    try:
        text = (path / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for raw in text.splitlines():
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        found.append(line)
        included = _INCLUDED.match(line)
        if included and ".." not in Path(included.group(1)).parts:
            found += _lines(path, included.group(1))
    return found


def _interpreter(path: Path) -> tuple[str, str]:
    """The interpreter for a saved model, and its version as major.minor."""
    here = sys.version_info[:2]
    try:
        asked = _PYTHON.search((path / "python_env.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        asked = None
    wanted = (int(asked.group(1)), int(asked.group(2))) if asked else here
    named = f"{wanted[0]}.{wanted[1]}"
    if wanted == here:
        return sys.executable, named
    found = shutil.which(f"python{named}")
    if wanted < _OLDEST_PYTHON:
        raise Rejected(f"it was logged with Python {named}, and versions run on Python 3.11 or later: log it there")
    if found is None:
        raise Rejected(
            f"it was logged with Python {named}, and there is no python{named} on this host: install it, or log it with"
            f" Python {here[0]}.{here[1]}"
        )
    return found, named
