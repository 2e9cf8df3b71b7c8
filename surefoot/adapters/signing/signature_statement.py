"""Read the signer and the signed files that a signature file names, without verifying them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

_MAX_FILE_BYTES = 16 << 20
_PREDICATE = "https://model_signing/signature/v1.0"
_METHOD = ("files", "sha256")
"""How the command line of model-signing lists a model: each file with its SHA-256."""
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class SignatureStatement:
    """What a signature file says. Nothing of it is proved: it explains why a signature does not verify.

    Attributes:
        hint: SHA-256 of the signer's public key, in hex; empty where the signer has a certificate.
        subject: Whom the signer's certificate names; empty where there is a key alone.
        digests: SHA-256 of each signed file, by its path.
    """

    hint: str
    subject: str
    digests: Mapping[str, str]

    @property
    def signer(self) -> str:
        """Key or certificate of the signer, in words."""
        return f"key (sha256:{self.hint[:16]})" if self.hint else f"certificate ({self.subject})"

    @property
    def certified(self) -> str:
        """Whom the certificate names, to go after the name of what it leads to; empty where there is a key alone."""
        return f", certificate of {self.subject}" if self.subject else ""

    def may_be_by(self, digest: str, *, is_certificate: bool) -> bool:
        """Whether it says that it was made with this key, or with a certificate, where this is one."""
        return not self.hint if is_certificate else self.hint == digest


def read_statement(path: Path) -> SignatureStatement:
    """Read a signature file.

    Raises:
        ValueError: It is none, or not of a kind that is taken; says why, in one line.
    """
    with path.open("rb") as file:
        body = file.read(_MAX_FILE_BYTES + 1)
    if len(body) > _MAX_FILE_BYTES:
        raise ValueError(f"it has more than {_MAX_FILE_BYTES >> 20} MB")
    try:
        bundle = json.loads(body)
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True))
        kind, predicate = statement["predicateType"], statement["predicate"]
        method = (predicate["serialization"]["method"], predicate["serialization"]["hash_type"])
        digests = {str(one["name"]): str(one["digest"]) for one in predicate["resources"]}
        hint, subject = _signer(bundle["verificationMaterial"])
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(shorten_to_one_line(str(error))) from error
    if kind != _PREDICATE or method != _METHOD:
        raise ValueError("it lists files in another way than the command line of model-signing 1")
    return SignatureStatement(hint, subject, digests)


def _signer(material: Mapping[str, Any]) -> tuple[str, str]:
    if "x509CertificateChain" in material:
        first = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(first))
        return "", shorten_to_one_line(certificate.subject.rfc4514_string()) or "no name"
    hint = material["publicKey"]["hint"]
    if not isinstance(hint, str) or not hint:
        raise ValueError("it does not say which key has signed: sign again with model-signing 1.1 or later")
    return shorten_to_one_line(hint), ""


def shorten_to_one_line(text: str) -> str:
    """A text of another hand as one line of bounded length."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:_LONGEST_TEXT]
