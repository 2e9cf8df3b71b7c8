"""Explain in one line why a model cannot be loaded in this environment."""

import platform
import re
from collections.abc import Iterator
from pathlib import Path

from surefoot.models.rows.answer_checks import describe_error

_PYTHON = re.compile(r"^\s*python_version:\s*['\"]?(\d+\.\d+)", re.MULTILINE)


def load_failure_reason(error: BaseException, path: Path) -> str:
    """The cause of a failed load: a missing module or file, another Python, or what the error says.

    Args:
        error: What loading raised.
        path: The model's directory.
    """
    for cause in _causes(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return (
                f"it needs the module '{cause.name}', which is not installed here and not in its code_paths: install"
                " its package, or log the version again without it"
            )
    other = _other_python(path)
    said = describe_error(error)
    for cause in _causes(error):
        if isinstance(cause, FileNotFoundError) and cause.filename:
            return f"its file {Path(str(cause.filename)).name} is missing"
    if other:
        return f"it was saved with Python {other}, and this is Python {platform.python_version()}: {said}"
    return said


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the outermost first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _other_python(path: Path) -> str:
    """The Python that a model was saved with, where it is another one than this; empty else."""
    try:
        found = _PYTHON.search((path / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    here = ".".join(platform.python_version_tuple()[:2])
    return "" if found is None or found[1] == here else found[1]
