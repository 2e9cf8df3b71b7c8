"""Find the flavours and pickle files in a model version, and refuse paths outside its folder."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from surefoot.core.errors import Rejected
from surefoot.core.policy.governance.artifact_trust import ArtifactContents

_DESCRIPTION = "MLmodel"
_NO_PATHS = frozenset({"uri", "config", "model_config"})
"""Keys of what is no path into the artifact: the address that a file was copied from, and settings of the author."""
_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".pt", ".pth"})
"""Files that load pickles, also where their bytes are packed."""
_PICKLE_PROTOCOLS = range(2, 6)
_PICKLE_MARK = 0x80


def read_artifact_contents(folder: Path) -> ArtifactContents:
    """Flavours and pickles of a version.

    Args:
        folder: Its files, of which the digest is checked.

    Raises:
        Rejected: Its description cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    pickles = tuple(path.relative_to(folder).as_posix() for path in files if _is_pickle(path))
    return ArtifactContents(tuple(sorted(_flavors(folder))), pickles)


def refuse_outside_paths(folder: Path) -> None:
    """Refuse a version whose description names a file outside of its own folder, before anything of it is loaded.

    The digest covers the files of the folder alone: what else a flavour is told to load was never looked at.

    Raises:
        Rejected: It names such a file, or its description cannot be read.
    """
    for key, text in _texts(_flavors(folder)):
        path = PurePosixPath(text.replace("\\", "/"))
        if ".." in path.parts or path.is_absolute():
            raise Rejected(
                f"the model cannot be loaded: its file {_DESCRIPTION} names '{text[:80]}' as {key}, which lies outside"
                " of the model"
            )


def _flavors(folder: Path) -> dict[str, object]:
    try:
        text = (folder / _DESCRIPTION).read_text(encoding="utf-8")
        found = yaml.safe_load(text)  # noqa: TID251 - as MLflow reads it, or another file might be looked at than is loaded
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = str(error).splitlines()[0]
        raise Rejected(f"the model cannot be loaded: its file {_DESCRIPTION} cannot be read: {said}") from error
    flavors = found.get("flavors") if isinstance(found, dict) else None
    return dict(flavors) if isinstance(flavors, dict) else {}


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a description, with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NO_PATHS:
                yield from _texts(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)


def _is_pickle(path: Path) -> bool:
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        begin = file.read(2)
    return len(begin) == 2 and begin[0] == _PICKLE_MARK and begin[1] in _PICKLE_PROTOCOLS  # noqa: PLR2004 - two bytes
