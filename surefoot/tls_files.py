"""Check TLS certificate files, and build the SSL contexts of servers and clients from them."""

import functools
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from surefoot.core.errors import Rejected

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate that an installation serves with, and what its own clients verify it against.

    Attributes:
        certificate: PEM file of the certificate, with its intermediate ones after it.
        key: PEM file of its private key, without a password.
        ca: PEM file of the authorities that clients trust; empty: those of this host, and the certificate itself where
            it is self-signed.
        name: Host name or IP address that the certificate must be for; empty: the first one that it names.
    """

    certificate: str
    key: str
    ca: str = ""
    name: str = ""


class _NamedContext(ssl.SSLContext):
    """Verifies one name, at whatever address of this host the server is reached."""

    verified_name = ""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Connect as the library does, but verify our name."""
        return super().wrap_socket(sock, *arguments, **{**options, "server_hostname": self.verified_name})


class _Renewal:
    """Gives new connections the certificate that is in the files now, so that a renewal needs no restart."""

    def __init__(self, files: TlsFiles, context: ssl.SSLContext) -> None:
        self._files, self._context = files, context
        self._loaded = self._refused = _fingerprint(files)

    def __call__(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """Choose the context of a connection that begins; files that cannot be read change nothing."""
        found = _fingerprint(self._files)
        if found not in (self._loaded, self._refused):
            try:
                self._context, self._loaded = _load_server_context(self._files), found
            except Rejected as error:
                self._refused = found
                _log.warning("the TLS certificate stays as it was: %s", error)
        connection.context = self._context


def make_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server; connections that begin after the files were replaced get the new certificate.

    Raises:
        Rejected: A file cannot be read, is no PEM, or the key is not that of the certificate.
    """
    context = _load_server_context(files)
    context.sni_callback = _Renewal(files, context)
    return context


def make_client_context(files: TlsFiles | None) -> ssl.SSLContext | bool:
    """Make the context with which clients of this installation verify its servers, once in a process.

    Returns:
        The context; True, as HTTP clients have it by default, where the servers have no TLS.

    Raises:
        Rejected: A file cannot be read, or is no PEM.
    """
    return True if files is None else _client_context((files, _fingerprint(files)))


def check_tls_files(files: TlsFiles) -> str:
    """Check the files as a connection does: a server and a client with them shake hands in memory.

    Returns:
        One line that names the certificate, and until when it is valid.

    Raises:
        Rejected: A file cannot be read, the key does not fit, or a client would refuse the certificate: it has expired,
            is for another name, or comes from an authority that is not trusted.
    """
    server, client = make_server_context(files), _client_context((files, _fingerprint(files)))
    refused = _handshake(server, client)
    if refused:
        raise Rejected(
            f"tls-certificate {files.certificate} is refused by clients ({refused}): renew it, have it issued for"
            f" {client.verified_name}, or name its authority with --tls-ca"
        )
    return f"TLS: {files.certificate} is for {client.verified_name}"


@functools.lru_cache(maxsize=4)
def _client_context(known: tuple[TlsFiles, tuple[int, ...]]) -> _NamedContext:
    files, _ = known
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verified_name = files.name or _first_name(files.certificate)
    if not files.ca:
        context.load_default_certs()
    trusted, setting = (files.ca, "tls-ca") if files.ca else (files.certificate, "tls-certificate")
    try:
        # A certificate that another one has signed is no authority, so loading it trusts only a self-signed one.
        context.load_verify_locations(trusted)
    except OSError as error:
        raise _unreadable(setting, trusted, error) from error
    return context


def _load_server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for setting, file in (("tls-certificate", files.certificate), ("tls-key", files.key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise _unreadable(setting, file, error) from error
    try:
        context.load_cert_chain(files.certificate, files.key, _ask_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Rejected(f"tls-key {files.key} is not the key of tls-certificate {files.certificate}") from error
        raise Rejected(
            f"tls-certificate {files.certificate} with tls-key {files.key} cannot be read"
            f" ({error.reason or error}): give PEM files"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _ask_no_password() -> NoReturn:
    raise Rejected("tls-key has a password, and servers start unattended: give a PEM file without one")


def _unreadable(setting: str, file: str, error: OSError) -> Rejected:
    why = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return Rejected(f"{setting} {file} cannot be read: {why}")


def _fingerprint(files: TlsFiles) -> tuple[int, ...]:
    """Changes when a file is replaced; a file that is not there counts as 0."""
    made = []
    for file in (files.certificate, files.key, files.ca):
        try:
            found = os.stat(file) if file else None  # noqa: PTH116 - at each connection
        except OSError:
            found = None
        made += [0, 0] if found is None else [found.st_mtime_ns, found.st_ino]
    return tuple(made)


def _first_name(certificate: str) -> str:
    """The first host name or address that a certificate is for.

    Raises:
        Rejected: It cannot be read, or names none.
    """
    from cryptography import x509  # noqa: PLC0415 - most commands need it not

    try:
        leaf = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as error:
        raise _unreadable("tls-certificate", certificate, error) from error
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Rejected(f"tls-certificate {certificate} names no host, or is no PEM certificate: {error}") from error
    hosts = [str(found) for kind in (x509.DNSName, x509.IPAddress) for found in names.get_values_for_type(kind)]
    if not hosts:
        raise Rejected(f"tls-certificate {certificate} names no host: have it issued for one")
    return hosts[0].replace("*", "any", 1)


def _handshake(server: ssl.SSLContext, client: _NamedContext) -> str:
    """Connect two contexts in memory; why the client refuses the server, or nothing."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=client.verified_name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    pending = list(ends)
    while pending:
        for end in tuple(pending):
            try:
                end.do_handshake()
                pending.remove(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError as error:
                return error.reason or str(error)
    return ""
