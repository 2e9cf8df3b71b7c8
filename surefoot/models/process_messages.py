"""Send and receive length-prefixed messages between a model's process and its parent."""

import socket
import struct
from collections.abc import Callable

from surefoot.models.environments import json_codec

_LENGTH = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 1 << 30
"""Longest message that is accepted [bytes]."""
_CHUNK = 1 << 20


class PeerClosed(Exception):
    """The other side has closed, or has sent something that is no message."""


class PeerSilent(PeerClosed):
    """The other side has sent nothing for longer than the time limit."""


def encode_message_header(length: int) -> bytes:
    """Give the header of a message of so many bytes."""
    return _LENGTH.pack(length)


def decode_complete_message(received: bytearray) -> bytes | None:
    """Give the received message, or None while part of it is missing.

    Raises:
        PeerClosed: What was received is no message.
    """
    if len(received) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(received)
    if length > _MAX_MESSAGE_BYTES:
        raise PeerClosed(f"a message of {length} bytes is none")
    if len(received) < _LENGTH.size + length:
        return None
    return bytes(memoryview(received)[_LENGTH.size : _LENGTH.size + length])


def send_message(end: socket.socket, message: object) -> None:
    """Send one message.

    Raises:
        PeerClosed: The other side has closed.
        TypeError: The message is not JSON.
    """
    send_bytes(end, json_codec.dumps(message))


def send_bytes(end: socket.socket, body: bytes) -> None:
    """Send one message that is bytes already.

    Raises:
        PeerClosed: The other side has closed.
    """
    try:
        end.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise PeerClosed(str(error)) from error


def receive_message(end: socket.socket, wait: Callable[[], None] = lambda: None) -> object:
    """Wait for one message of JSON; arguments and errors are those of `receive_bytes`."""
    try:
        return json_codec.loads(receive_bytes(end, wait))
    except json_codec.JSONDecodeError as error:
        raise PeerClosed(str(error)) from error


def receive_bytes(end: socket.socket, wait: Callable[[], None] = lambda: None) -> bytes:
    """Wait for the bytes of one message, however long it takes.

    Args:
        end: Our end.
        wait: Called before each part is read; may raise `PeerClosed` where the socket alone would not show it.

    Raises:
        PeerClosed: The other side has closed, in the middle of a message or before it.
    """
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, wait))
    if length > _MAX_MESSAGE_BYTES:
        raise PeerClosed(f"a message of {length} bytes is none")
    return _exactly(end, length, wait)


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
