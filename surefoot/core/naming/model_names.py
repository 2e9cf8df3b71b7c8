"""Check names of registered models, and convert them to file names and back."""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from urllib.parse import unquote

_FORBIDDEN = ("/", ":")
MAX_MODEL_NAME_LENGTH = 256
"""MLflow's databases hold no longer name [characters]."""
_LONGEST_FILE_NAME = 200
"""Longest file name of a model; ends such as `.json` come behind it, and a file system holds 255 [bytes]."""
_UNSAFE = re.compile(r"^\.|[\x00-\x1f\x7f\\]|%(?=[0-9A-Fa-f]{2})|~(?=[0-9a-f]{16}$)")
"""What does not stand in a file name as it is: a first dot, control characters, backslashes, and our own two marks."""
_SHORTENED = re.compile(r".*~[0-9a-f]{16}", re.DOTALL)


def is_model_name(name: str) -> bool:
    """Whether MLflow accepts this name for a registered model."""
    path = posixpath.normpath(name)
    return (
        bool(name.strip())
        and not any(one in name for one in _FORBIDDEN)
        and path == name
        and path != "."
        and not path.startswith("..")
        and len(name) <= MAX_MODEL_NAME_LENGTH
        and not any("\ud800" <= one <= "\udfff" for one in name)  # half a character has no bytes
    )


def model_file_name(model: str) -> str:
    """Name of a model's files and folders, without an end; two models never share one.

    Most names are their own. Characters that a file name cannot hold are percent-encoded; a name that is too long is
    cut, and ends in the start of its SHA-256.

    Args:
        model: Registered model.
    """
    encoded = _UNSAFE.sub(lambda found: f"%{ord(found.group()):02X}", model)
    if len(encoded.encode()) <= _LONGEST_FILE_NAME:
        return encoded
    mark = f"~{hashlib.sha256(model.encode()).hexdigest()[:16]}"
    cut = encoded.encode()[: _LONGEST_FILE_NAME - len(mark)].decode(errors="ignore")
    return cut + mark


def find_model_of_file_name(name: str, known: Iterable[str] = ()) -> str | None:
    """The model that a file name belongs to; None where that cannot be told.

    Args:
        name: Name of a file or folder without its end.
        known: Models among which the one of a shortened name is looked for.
    """
    if _SHORTENED.fullmatch(name):
        return next((model for model in known if model_file_name(model) == name), None)
    model = unquote(name, errors="strict") if "%" in name else name
    return model if is_model_name(model) and model_file_name(model) == name else None
