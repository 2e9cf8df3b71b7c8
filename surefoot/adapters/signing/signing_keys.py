"""Read and check the public keys and certificates whose signatures a policy accepts."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from surefoot.adapters.config.policy_file import find_line
from surefoot.adapters.config.policy_folder import find_configs_folder
from surefoot.core.errors import Rejected
from surefoot.core.policy.policy_types import Policy

MISSING_SIGNING_LIBRARY_MESSAGE = (
    "signatures of models cannot be checked here (artifacts.signed_by): pip install 'surefoot[signing]'"
)
"""What is missing on this host, and how to install it."""
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Curves of the keys that OpenSSF model signing knows: P-256, P-384 and P-521."""
_MAX_FILE_BYTES = 1 << 20
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key or certificate whose signatures count.

    Attributes:
        name: Its file, as the policy writes it.
        path: Where the file is.
        digest: SHA-256 in hex: of a key as model-signing names it, of a certificate its fingerprint.
        is_certificate: Whether signers have certificates that lead to this one.
    """

    name: str
    path: Path
    digest: str
    is_certificate: bool

    def __str__(self) -> str:
        """Its file and the begin of its digest."""
        return f"{self.name} ({'certificate' if self.is_certificate else 'key'} sha256:{self.digest[:16]})"


def has_signing_library() -> bool:
    """Whether the libraries that check signatures are installed; model-signing does not ask for OpenSSL by itself."""
    return find_spec("model_signing") is not None and find_spec("OpenSSL") is not None


def missing_signing_library_notes(policy: Policy) -> list[str]:
    """What this host lacks for the signatures that a policy demands."""
    return (
        [MISSING_SIGNING_LIBRARY_MESSAGE]
        if policy.artifacts.signed_by is not None and not has_signing_library()
        else []
    )


def read_signing_keys(file: Path, names: Sequence[str]) -> tuple[SigningKey, ...]:
    """Read the keys that a policy names.

    Args:
        file: The policy file; their paths begin in its folder, and stay in the folder `configs`.
        names: Their files.

    Raises:
        Rejected: A file is missing or holds no key or certificate; the message names it.
    """
    return tuple(_read_key(file, name) for name in names)


def find_signing_key_problems(file: Path, policy: Policy) -> list[str]:
    """What is wrong with the keys that a policy names, with file and line.

    Args:
        file: The policy file.
        policy: What the file means.
    """
    return [f"{file}:{line}: artifacts.signed_by: {problem}" for line, problem in _problems(file, policy)]


def _problems(file: Path, policy: Policy) -> Iterator[tuple[int, str]]:
    for index, name in enumerate(policy.artifacts.signed_by or ()):
        try:
            _read_key(file, name)
        except Rejected as error:
            yield find_line(file, ("artifacts", "signed_by", index)), str(error)


def _read_key(policy: Path, name: str) -> SigningKey:
    path, configs = policy.parent / name, find_configs_folder(policy)
    if not path.resolve().is_relative_to(configs):
        raise Rejected(f"{name} is outside of {configs}: keep keys there, where they are reviewed with the policies")
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise Rejected(f"there is no file {path}: it must hold a public key or a certificate, as PEM") from error
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _parse(name, path, body)
    except ValueError as error:
        raise Rejected(f"{path} {error}") from error


def _parse(name: str, path: Path, body: bytes) -> SigningKey:
    """Find out what a file holds.

    Raises:
        ValueError: Says what it holds instead of one key or certificate, as a clause.
    """
    if b"PRIVATE KEY-----" in body:
        raise ValueError("holds a private key: only the public key belongs here, and this private key must be replaced")
    is_certificate = _CERTIFICATE_MARK in body
    if len(body) > _MAX_FILE_BYTES or body.count(b"-----BEGIN ") != 1:
        raise ValueError("must hold one public key or one certificate, as PEM")
    try:
        certificate = x509.load_pem_x509_certificate(body) if is_certificate else None
        key = certificate.public_key() if certificate is not None else load_pem_public_key(body)
    except Exception as error:  # what the library raises for bytes that are no key is not documented
        raise ValueError(f"holds no public key or certificate that can be read: {error}") from error
    if certificate is not None:
        fingerprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        return SigningKey(name, path, fingerprint, is_certificate=True)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ValueError("holds a key of another kind: model signing takes elliptic curve keys P-256, P-384 and P-521")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(name, path, hashlib.sha256(pem).hexdigest(), is_certificate=False)
