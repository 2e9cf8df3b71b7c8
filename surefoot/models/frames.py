"""Messages between the gateway and the process of a model: a length and as many bytes of JSON."""

import socket
import struct
from collections.abc import Callable

import orjson

_LENGTH = struct.Struct("<I")
LARGEST = 1 << 30
"""Longest message that is believed [bytes]."""
_CHUNK = 1 << 20


class PeerClosed(Exception):
    """The other side has closed, or says what is no message."""


class PeerSilent(PeerClosed):
    """The other side says nothing for longer than anybody waits."""


def frame_header(length: int) -> bytes:
    """What comes before a message of so many bytes."""
    return _LENGTH.pack(length)


def complete_frame(heard: bytearray) -> bytes | None:
    """The message that has been heard, or None while part of it is missing.

    Raises:
        Gone: What was heard is no message.
    """
    if len(heard) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(heard)
    if length > LARGEST:
        raise PeerClosed(f"a message of {length} bytes is none")
    if len(heard) < _LENGTH.size + length:
        return None
    return bytes(memoryview(heard)[_LENGTH.size : _LENGTH.size + length])


def send(end: socket.socket, message: object) -> None:
    """Send one message.

    Raises:
        Gone: The other side has closed.
        TypeError: The message is not JSON.
    """
    send_bytes(end, orjson.dumps(message))


def send_bytes(end: socket.socket, body: bytes) -> None:
    """Send one message that is JSON already.

    Raises:
        Gone: The other side has closed.
    """
    try:
        end.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise PeerClosed(str(error)) from error


def receive(end: socket.socket, wait: Callable[[], None] = lambda: None) -> object:
    """Wait for one message, however long it takes.

    Args:
        end: Our end.
        wait: Called before each part is read; may raise `Gone` where the socket alone would not show it.

    Raises:
        Gone: The other side has closed, in the middle of a message or before it.
    """
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, wait))
    if length > LARGEST:
        raise PeerClosed(f"a message of {length} bytes is none")
    try:
        return orjson.loads(_exactly(end, length, wait))
    except orjson.JSONDecodeError as error:
        raise PeerClosed(str(error)) from error


def _exactly(end: socket.socket, n: int, wait: Callable[[], None]) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        wait()
        try:
            part = end.recv(min(n - len(parts), _CHUNK))
        except OSError as error:
            raise PeerClosed(str(error)) from error
        if not part:
            raise PeerClosed("it has closed")
        parts += part
    return bytes(parts)
