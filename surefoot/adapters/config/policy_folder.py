"""Find the policy file of each model in `configs/`, which also holds files such as `roles.yaml`."""

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from surefoot.adapters.config.notify_file import NOTIFY_FILE
from surefoot.adapters.config.policy_file import read_policy
from surefoot.core.errors import NotFound, Rejected
from surefoot.core.policy.policy_types import Policy

_NO_POLICIES = frozenset({"incidents", "messages"})
"""Subfolders of `configs/` that hold recorded incidents and templates of messages."""
APPROVERS_FILE = "approvers.yaml"
"""Name of the file beside the policies that says who is in which group; it is no policy."""
ROLES_FILE = "roles.yaml"
"""Name of the file beside the policies that says who may do what; it is no policy."""
_OTHER_FILES = frozenset({NOTIFY_FILE, APPROVERS_FILE, ROLES_FILE})
"""Files of `configs/` that are no policies."""
_MODEL_LINE = re.compile(r"^model[ \t]*:[^\n]*", re.MULTILINE)
_NAMES: dict[Path, tuple[tuple[int, int], str]] = {}
"""Model that each file names, as long as the file is the same; gateway and controller ask again and again."""

_LISTED: dict[Path, tuple[dict[Path, int], dict[str, list[Path]]]] = {}
"""Times of a folder and its subfolders, and its policy files by model."""
_SETTLED_NS = 2_000_000_000
"""How long nothing must have come or gone before a list of files is kept [ns]."""


def list_policy_files(folder: Path) -> list[Path]:
    """Policy files of a folder and its subfolders, sorted.

    Hidden files, such as an editor's lock, hidden folders, `notify.yaml`, `approvers.yaml`, `roles.yaml`, recorded
    incidents and templates are none.
    """
    found = []
    for root, folders, files in os.walk(folder):
        place = Path(root)
        top = place == folder
        folders[:] = [name for name in folders if not name.startswith(".") and not (top and name in _NO_POLICIES)]
        named = (name for name in files if name.endswith(".yaml") and not name.startswith("."))
        found += [place / name for name in named if not (top and name in _OTHER_FILES)]
    return sorted(found)


def read_declared_model(file: Path) -> str:
    """The model that a policy file names; the file's own name without its end where it names none that can be read."""
    try:
        stat = file.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        if (known := _NAMES.get(file)) is not None and known[0] == mark:
            return known[1]
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return file.stem
    name = _declared(text) or file.stem
    _NAMES[file] = mark, name
    return name


def _declared(text: str) -> str:
    """The value of the key `model`; empty where there is none that can be read. The rest of the file may be wrong."""
    line = _MODEL_LINE.search(text)
    return (_named(line.group()) if line else "") or _named(text)  # a long name may go on in the next line


def _named(text: str) -> str:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return ""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    named = (value.value for key, value in pairs if key.value == "model" and isinstance(value, yaml.ScalarNode))
    return str(next(named, ""))


def find_configs_folder(file: Path) -> Path:
    """The folder `configs` that a policy file is in; its own folder where there is none of that name."""
    return next((folder for folder in file.resolve().parents if folder.name == "configs"), file.resolve().parent)


def policy_files_by_model(folder: Path) -> dict[str, list[Path]]:
    """Policy files by the model that they name; more than one for a model is a mistake that `lint` names."""
    found: dict[str, list[Path]] = {}
    for file in list_policy_files(folder):
        found.setdefault(read_declared_model(file), []).append(file)
    return found


def find_policy_file(folder: Path, model: str) -> Path:
    """The policy file of a model.

    Raises:
        NotFound: No file names this model; the message lists the models that have one.
        Rejected: Several files do.
    """
    known = policy_files_by_model(folder)
    return _only_file(folder, model, known)


def find_cached_policy_file(folder: Path, model: str) -> Path:
    """The policy file of a model, as `find_policy_file`, for one model after the other: files are listed once for all.

    They are listed again when a file has come or gone. A file that was edited in place and names another model now is
    read again; that it names a model which has one already is found by `find_policy_file` alone.

    Raises:
        NotFound: No file names this model; the message lists the models that have one.
        Rejected: Several files do.
    """
    known = _LISTED.get(folder)
    if known is not None and _folder_times(known[0]) == known[0]:
        files = known[1].get(model, [])
        if len(files) == 1 and read_declared_model(files[0]) == model:
            return files[0]
    found = policy_files_by_model(folder)
    times = _folder_times(Path(root) for root, _, _ in os.walk(folder))
    if max(times.values(), default=0) < time.time_ns() - _SETTLED_NS:
        _LISTED[folder] = times, found
    else:  # a file that comes within the same tick of the file system's clock would change no time
        _LISTED.pop(folder, None)
    return _only_file(folder, model, found)


def _folder_times(folders: Iterable[Path]) -> dict[Path, int]:
    """When a file last came to each folder, or went [ns]; 0 for a folder that is gone."""
    times = {}
    for one in folders:
        try:
            times[one] = one.stat().st_mtime_ns
        except OSError:
            times[one] = 0
    return times


def _only_file(folder: Path, model: str, known: Mapping[str, list[Path]]) -> Path:
    files = known.get(model, [])
    if not files:
        raise NotFound(f"there is no policy of {model} in {folder}; models with one: {', '.join(known) or 'none'}")
    if len(files) > 1:
        raise Rejected(duplicate_policy_message(model, files))
    return files[0]


def duplicate_policy_message(model: str, files: list[Path]) -> str:
    """Say that several files name one model, and what to do."""
    return f"{files[1]}: a second policy of {model}, beside {files[0]}: keep one of them"


def read_model_policy(folder: Path, model: str) -> tuple[dict[str, object], Policy]:
    """Read the policy of a model, as `read_policy` does.

    Raises:
        NotFound: No file names this model.
        Rejected: Several files do, or the file breaks a rule (`PolicyInvalid`).
    """
    return read_policy(find_policy_file(folder, model))
