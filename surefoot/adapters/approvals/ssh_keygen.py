"""Run OpenSSH's `ssh-keygen` to sign statements, verify signatures and find the principals of a key."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from surefoot.core.approvals.approval_statement import APPROVAL_SIGNATURE_NAMESPACE
from surefoot.core.errors import ApprovalInvalid, Rejected

_PROGRAM = "ssh-keygen"
KEYGEN_MISSING_MESSAGE = "ssh-keygen is not installed, and approvals need it: install the package openssh-client"
_TIMEOUT_S = 20.0
"""Longest time of one verification [seconds]."""
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa")


def find_keygen() -> str:
    """Where `ssh-keygen` is; empty where it is not installed."""
    return shutil.which(_PROGRAM) or ""


def find_default_key() -> Path | None:
    """The key of this account that SSH would use first; None where there is none.

    SUREFOOT_SIGNING_KEY names another one.
    """
    if named := os.environ.get("SUREFOOT_SIGNING_KEY"):
        return Path(named)
    folder = Path.home() / ".ssh"
    return next((folder / name for name in _DEFAULT_KEYS if (folder / name).is_file()), None)


def sign_statement(statement: bytes, key: Path, namespace: str = APPROVAL_SIGNATURE_NAMESPACE) -> str:
    """Sign a statement; the terminal is asked for a passphrase where the key has one.

    Args:
        statement: The bytes to sign.
        key: A private key, or a public key whose private part an SSH agent holds.
        namespace: What the signature is for.

    Returns:
        The armoured signature.

    Raises:
        Rejected: `ssh-keygen` is missing, or does not sign with this key.
    """
    with tempfile.TemporaryDirectory(prefix="surefoot-") as folder:
        file = Path(folder) / "statement"
        file.write_bytes(statement)
        done = _run(["-Y", "sign", "-f", str(key), "-n", namespace, str(file)], None, timeout_s=None)
        signature = Path(f"{file}.sig")
        if done.returncode or not signature.is_file():
            raise Rejected(f"ssh-keygen does not sign with {key}: {_last_line(done)}")
        return signature.read_text(encoding="ascii")


def find_principals(allowed: Path, armour: str) -> tuple[str, ...]:
    """Principals whose keys include the one that made a signature; none where there is no such key.

    Raises:
        Rejected: `ssh-keygen` is missing, or the file cannot be read.
    """
    done = _with_signature(armour, lambda sig: ["-Y", "find-principals", "-f", str(allowed), "-s", sig], b"")
    lines = (line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line)) if done.returncode == 0 else ()


def verify_signature(
    allowed: Path,
    revoked: Path | None,
    person: str,
    armour: str,
    statement: bytes,
    namespace: str = APPROVAL_SIGNATURE_NAMESPACE,
) -> None:
    """Verify a signature by a key of one principal.

    Args:
        allowed: File of allowed signers.
        revoked: Key revocation list, or None.
        person: The principal.
        armour: The signature.
        statement: The bytes that were signed.
        namespace: What the signature must have been made for.

    Raises:
        ApprovalInvalid: It does not verify; says why in the words of `ssh-keygen`.
        Rejected: `ssh-keygen` is missing.
    """

    def words(signature: str) -> list[str]:
        more = ["-r", str(revoked)] if revoked is not None else []
        return ["-Y", "verify", "-f", str(allowed), "-I", person, "-n", namespace, "-s", signature, *more]

    done = _with_signature(armour, words, statement)
    if done.returncode:
        raise ApprovalInvalid(f"the signature does not verify: {_last_line(done)}", person)


def _with_signature(
    armour: str, words: Callable[[str], list[str]], body: bytes
) -> "subprocess.CompletedProcess[bytes]":
    with tempfile.NamedTemporaryFile("w", prefix="surefoot-", suffix=".sig", encoding="ascii") as file:
        file.write(armour)
        file.flush()
        return _run(words(file.name), body, timeout_s=_TIMEOUT_S)


def _run(words: Sequence[str], body: bytes | None, *, timeout_s: float | None) -> "subprocess.CompletedProcess[bytes]":
    program = find_keygen()
    if not program:
        raise Rejected(KEYGEN_MISSING_MESSAGE)
    try:
        return subprocess.run(  # noqa: S603 - fixed words and our own files
            [program, *words], input=body, capture_output=True, check=False, timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Rejected(f"{_PROGRAM} cannot be run: {error}") from error


def _last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What `ssh-keygen` said last."""
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return said[-1].strip() if said else f"exit code {done.returncode}"
