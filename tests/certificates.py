"""Make certificates and their keys, for tests of TLS."""

import ipaddress
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM files.

    Attributes:
        file: The certificate.
        key_file: Its key, with a password if one was asked for.
    """

    file: Path
    key_file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_certificate(
    folder: Path,
    name: str,
    *hosts: str,
    issuer: Certificate | None = None,
    days: tuple[int, int] = (-1, 30),
    authority: bool = False,
    signs: bool = False,
    password: bytes = b"",
) -> Certificate:
    """Write NAME.pem and NAME.key.

    Args:
        folder: Where.
        name: Its common name.
        hosts: Host names and addresses that it is for.
        issuer: What has signed it; itself without one.
        days: From when until when it is valid, from now on [days].
        authority: Whether it may sign others.
        signs: Whether it says that its key signs data.
        password: Of the key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.fromtimestamp(time.time(), UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if signs:
        usage = dict.fromkeys(_USAGES, False) | {"digital_signature": True}
        made = made.add_extension(x509.KeyUsage(**usage), critical=True)
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    certificate = made.sign(key if issuer is None else issuer.key, hashes.SHA256())
    lock: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    return Certificate(*files, certificate, key)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
