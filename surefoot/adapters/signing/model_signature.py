"""Verify that a trusted key has signed exactly the files of a model version."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from surefoot.adapters.mlflow.artifacts import FILE_ADDED_BY_DOWNLOAD, list_artifact_files
from surefoot.adapters.signing.signature_statement import SignatureStatement, read_statement, shorten_to_one_line
from surefoot.adapters.signing.signing_keys import MISSING_SIGNING_LIBRARY_MESSAGE, SigningKey, has_signing_library
from surefoot.core.errors import Unavailable
from surefoot.core.policy.governance.artifact_trust import SignatureCheck

_SIGNATURE_FILE = "model.sig"
"""File beside `MLmodel` that holds the signature of all other files; the name that model-signing gives it."""
_NOT_SIGNED = frozenset({_SIGNATURE_FILE, FILE_ADDED_BY_DOWNLOAD})
"""Files at the top of an artifact that no signature covers."""
_SHOWN_FILES = 3
_HOW = "'python -m model_signing sign key' makes one (docs/how-to/signatures.md)"


def check_signature(folder: Path, keys: Sequence[SigningKey]) -> SignatureCheck:
    """Check whether one of these keys has signed exactly the files of a version.

    Args:
        folder: Its files, of which the digest is checked.
        keys: Whose signatures count.

    Raises:
        ArtifactTampered: It holds a symbolic link or something else that is not a regular file.
        Unavailable: The library is not installed.
    """
    files = dict(list_artifact_files(folder))
    if _SIGNATURE_FILE not in files:
        return SignatureCheck(problem=f"it is not signed: there is no {_SIGNATURE_FILE} beside its MLmodel; {_HOW}")
    if not has_signing_library():
        raise Unavailable(MISSING_SIGNING_LIBRARY_MESSAGE)
    try:
        statement = read_statement(files[_SIGNATURE_FILE])
    except ValueError as error:
        problem = f"its {_SIGNATURE_FILE} is no signature of OpenSSF model signing: {error}; {_HOW}"
        return SignatureCheck(problem=problem)
    fitting = [key for key in keys if statement.may_be_by(key.digest, is_certificate=key.is_certificate)]
    said = ""
    for key in fitting:
        try:
            _verify(folder, key)
        except ValueError as error:
            said = str(error)
            continue
        return SignatureCheck(signer=f"{key}{statement.certified}")
    return SignatureCheck(problem=_problem(statement, files, keys, fitting, said))


def _verify(folder: Path, key: SigningKey) -> None:
    """Have the library verify signature and files.

    Raises:
        ValueError: They do not fit; says why, in one line.
    """
    from model_signing import hashing, verifying  # noqa: PLC0415 - costs a second, and is an extra

    class EveryFile(hashing.Config):
        """Hash every file: a signature cannot say that some of them do not count."""

        def add_ignored_paths(self, **_paths: object) -> None:
            """Ignore nothing that a signature asks to ignore."""

    every_file = EveryFile()  # type: ignore[no-untyped-call] # the library does not annotate it
    every_file.set_ignored_paths(paths=sorted(_NOT_SIGNED), ignore_git_paths=False)
    config = verifying.Config().set_hashing_config(every_file)
    if key.is_certificate:
        config.use_certificate_verifier(certificate_chain=[key.path])
    else:
        config.use_elliptic_key_verifier(public_key=key.path)
    try:
        config.verify(folder, folder / _SIGNATURE_FILE)
    except Exception as error:  # a forged file leads the library to errors of any kind
        raise ValueError(shorten_to_one_line(str(error)) or type(error).__name__) from error


def _problem(
    statement: SignatureStatement,
    files: dict[str, Path],
    keys: Sequence[SigningKey],
    fitting: Sequence[SigningKey],
    said: str,
) -> str:
    """Why no key has signed these files: as a clause that names what is wrong first."""
    taken = ", ".join(map(str, keys))
    if not fitting:
        return f"it is signed by another {statement.signer} than those of artifacts.signed_by: {taken}"
    present = {name: path for name, path in files.items() if name not in _NOT_SIGNED}
    changed = [
        name
        for name, path in sorted(present.items())
        if name in statement.digests and _digest(path) != statement.digests[name]
    ]
    extra = sorted(present.keys() - statement.digests.keys())
    missing = sorted(statement.digests.keys() - present.keys())
    if missing == [FILE_ADDED_BY_DOWNLOAD]:
        added = f"{FILE_ADDED_BY_DOWNLOAD} was signed, a file that MLflow adds to a download"
        return f"{added}: sign without it (--ignore-paths)"
    found = {"changed": changed, "not signed": extra, "missing": missing}
    problems = [f"{what}: {_named(names)}" for what, names in found.items() if names]
    if problems:
        return f"its files are not those that were signed: {'; '.join(problems)}"
    return f"the signature in its {_SIGNATURE_FILE} is not by {taken}, or was changed: {said}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return shorten_to_one_line(", ".join(names[:_SHOWN_FILES])) + more


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
