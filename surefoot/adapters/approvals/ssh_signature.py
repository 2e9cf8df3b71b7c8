"""Parse the binary form of an SSH signature, without verifying it."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from surefoot.core.errors import ApprovalInvalid

_MAGIC = b"SSHSIG"
_LENGTH_BYTES = 4
_HASHES = frozenset({"sha256", "sha512"})
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


@dataclass(frozen=True, slots=True)
class SshSignature:
    """The parts of an SSH signature.

    Attributes:
        key: The public key, as SSH encodes it.
        namespace: What it was made for.
        hash_name: Digest of the message that was signed.
        algorithm: Algorithm of the signature, for example "ssh-ed25519".
    """

    key: bytes
    namespace: str
    hash_name: str
    algorithm: str

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the key as `ssh-keygen -l` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"


def parse_signature(armour: str) -> SshSignature:
    """Take an armoured signature apart; every byte of it must be accounted for.

    Raises:
        ApprovalInvalid: It is cut, has bytes too many, or is of another version.

    Source: OpenSSH, PROTOCOL.sshsig.
    """
    lines = armour.strip().split("\n")
    try:
        body = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApprovalInvalid("the signature is damaged: it is not base64") from error
    if lines[0] != _BEGIN or lines[-1] != _END or not body.startswith(_MAGIC):
        raise ApprovalInvalid("the signature is no SSH signature")
    version, rest = body[len(_MAGIC) :][:_LENGTH_BYTES], body[len(_MAGIC) + _LENGTH_BYTES :]
    if version != (1).to_bytes(_LENGTH_BYTES, "big"):
        raise ApprovalInvalid("the signature is of a version that is not known")
    key, rest = _take(rest)
    namespace, rest = _take(rest)
    _, rest = _take(rest)
    hash_name, rest = _take(rest)
    signature, rest = _take(rest)
    if rest:
        raise ApprovalInvalid("the signature has bytes after its end")
    algorithm, _ = _take(signature)
    found = SshSignature(key, _text(namespace), _text(hash_name), _text(algorithm))
    if found.hash_name not in _HASHES:
        raise ApprovalInvalid(f"the signature uses the digest '{found.hash_name[:40]}', which is not allowed")
    return found


def _take(body: bytes) -> tuple[bytes, bytes]:
    """The first string of a sequence of strings, and the rest."""
    size = int.from_bytes(body[:_LENGTH_BYTES], "big")
    end = _LENGTH_BYTES + size
    if len(body) < end or len(body) < _LENGTH_BYTES:
        raise ApprovalInvalid("the signature is cut off")
    return body[_LENGTH_BYTES:end], body[end:]


def _text(body: bytes) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as error:
        raise ApprovalInvalid("the signature is damaged: a name in it is not ASCII") from error
