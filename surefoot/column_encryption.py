"""Provide encryption of prediction log columns, and their decryption in memory for replays.

A value is sealed with AES-GCM, its model and its column as associated data, so that it opens nowhere else. Beside the
log stands a file that names the columns and where their keys are, which holds no key.
"""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from surefoot.core.errors import EvidenceUnavailable, Rejected
from surefoot.core.naming.model_names import model_file_name

_PREFIX = "enc1:"
"""What an encrypted value begins with; what follows is Base64 of key id, nonce and ciphertext."""
_SIDE_FILE = "encryption.json"
_KEY_BYTES, _ID_BYTES, _NONCE_BYTES = 32, 4, 12


@dataclass(frozen=True, slots=True)
class KeyLocation:
    """Where the keys of encrypted columns are: an environment variable or a file, one of the two.

    Attributes:
        variable: Name of the variable.
        file: Path of the file.
    """

    variable: str = ""
    file: str = ""

    def __str__(self) -> str:
        """How messages name it."""
        return f"environment variable {self.variable}" if self.variable else f"key file {self.file}"

    def fingerprint(self) -> object:
        """Changes when the keys may have changed."""
        if self.variable:
            return os.environ.get(self.variable)
        with suppress(OSError):
            found = os.stat(self.file)  # noqa: PTH116 - at each request
            return found.st_mtime_ns, found.st_ino
        return None

    def read(self) -> "_Keyring":
        """Read the keys.

        Raises:
            Rejected: There are none, or one is no key.
        """
        if self.variable:
            text = os.environ.get(self.variable, "")
        else:
            try:
                text = Path(self.file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise Rejected(f"{self} cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}") from None
        if not text.split():
            raise Rejected(f"{self} holds no key")
        try:
            return _Keyring([base64.b64decode(key.translate(_STANDARD), validate=True) for key in text.split()])
        except (ValueError, binascii.Error):
            raise Rejected(
                f"{self} holds what is no key: give 32 bytes in Base64, as 'openssl rand -base64 32' does"
            ) from None


_STANDARD = str.maketrans("-_", "+/")


class _Keyring:
    """Several keys: the first encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take keys of 32 bytes.

        Raises:
            ValueError: One has another length.
        """
        if any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError("a key has 32 bytes")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    def encrypt(self, value: object, place: bytes) -> str:
        """Encrypt a JSON value for a place.

        Raises:
            JSONEncodeError: It is nested too deeply to be written.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, orjson.dumps(value), place)
        return _PREFIX + base64.b64encode(self._first + nonce + sealed).decode()

    def decrypt(self, text: str, place: bytes) -> object:
        """Decrypt a value of a place.

        Raises:
            ValueError: No key opens it, or it was changed or moved.
        """
        sealed = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        cipher = self._ciphers.get(sealed[:_ID_BYTES])
        if cipher is None:
            raise ValueError("none of the keys has encrypted it")
        start = _ID_BYTES + _NONCE_BYTES
        try:
            return orjson.loads(cipher.decrypt(sealed[_ID_BYTES:start], sealed[start:], place))
        except InvalidTag:
            raise ValueError("it was changed, or stood at another place") from None


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"surefoot column key " + key).digest()[:_ID_BYTES]


def _place(model: str, column: str) -> bytes:
    return f"{model}\0{column}".encode("utf-8", "surrogatepass")


class ColumnEncryptor:
    """Encrypts the columns of one model's rows before they are logged.

    Attributes:
        problem: Why nothing can be encrypted now; empty when it can.
    """

    def __init__(self, model: str, columns: Collection[str], keys: KeyLocation, log: Path) -> None:
        """Name the columns beside the log, and read the keys.

        Args:
            model: Registered model.
            columns: Columns.
            keys: Where the keys are.
            log: Folder of all prediction logs.
        """
        self._model, self._columns, self._keys, self._log = model, tuple(columns), keys, log
        self._places = {column: _place(model, column) for column in columns}
        self._read: object = self
        self._keyring: _Keyring | None = None
        self.problem = ""
        self.refresh()

    def refresh(self) -> str:
        """Read the keys again where they have changed; why nothing can be encrypted, or nothing."""
        found = self._keys.fingerprint()
        if found != self._read:
            self._read, self._keyring, self.problem = found, None, ""
            try:
                self._keyring = self._keys.read()
                _name_columns(self._log / model_file_name(self._model), self._columns, self._keys)
            except (Rejected, OSError) as error:
                self._keyring, self.problem = None, str(error)
        return self.problem

    def encrypt(self, column: str, value: object) -> object:
        """Encrypt one value; one that no record can hold stays as it is, and its row is not written."""
        if self._keyring is None:
            raise EvidenceUnavailable(self.problem)
        try:
            return self._keyring.encrypt(value, self._places[column])
        except orjson.JSONEncodeError:
            return value


class ColumnDecryptor:
    """Decrypts the columns of one model's logged rows, in memory."""

    def __init__(self, model: str, columns: Collection[str], places: Sequence[KeyLocation]) -> None:
        """Read no key yet.

        Args:
            model: Registered model.
            columns: Columns that are or were encrypted.
            places: Where keys are.
        """
        self.columns = frozenset(columns)
        self._model, self._places = model, places
        self._keyrings: list[_Keyring] | None = None

    def decrypt_text(self, text: str | None) -> str | None:
        """Decrypt the JSON of one row.

        Raises:
            EvidenceUnavailable: There is no key for a value.
        """
        if text is None or _PREFIX not in text:
            return text
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return orjson.dumps(self.decrypt_row(row)).decode() if isinstance(row, dict) else text

    def decrypt_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Decrypt one row; raises what `decrypt_text` raises."""
        return {
            name: self._open(name, value)
            if name in self.columns and isinstance(value, str) and value.startswith(_PREFIX)
            else value
            for name, value in row.items()
        }

    def _open(self, column: str, text: str) -> object:
        why = ""
        for keyring in self._read_keys(column):
            try:
                return keyring.decrypt(text, _place(self._model, column))
            except ValueError as error:
                why = str(error)
        named = ", ".join(map(str, self._places))
        raise EvidenceUnavailable(f"a value of column '{column}' of {self._model} cannot be decrypted: {why} ({named})")

    def _read_keys(self, column: str) -> Sequence[_Keyring]:
        """All keys that can be read; several threads may come here at once."""
        if self._keyrings is None:
            found, problems = [], []
            for place in self._places:
                try:
                    found.append(place.read())
                except Rejected as error:
                    problems.append(str(error))
            if not found:
                raise EvidenceUnavailable(f"column '{column}' of {self._model} is encrypted, and {'; '.join(problems)}")
            self._keyrings = found
        return self._keyrings


def build_column_decryptor(log: Path, model: str) -> ColumnDecryptor | None:
    """Make the decryptor of a model's log; None where no column was ever encrypted.

    Args:
        log: Folder of all prediction logs.
        model: Registered model.

    Raises:
        EvidenceUnavailable: The file that names the columns cannot be read.
    """
    file = log / model_file_name(model) / _SIDE_FILE
    try:
        told = _read_side_file(file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceUnavailable(f"{file} cannot be read ({error}): it names the encrypted columns") from error
    return None if told is None else ColumnDecryptor(model, *told)


def _read_side_file(file: Path) -> tuple[tuple[str, ...], tuple[KeyLocation, ...]] | None:
    try:
        told = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return tuple(told["columns"]), tuple(KeyLocation(one["variable"], one["file"]) for one in told["keys"])


def _name_columns(folder: Path, columns: Sequence[str], keys: KeyLocation) -> None:
    """Add columns and a place of keys to the file beside the log; what was named before stays.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _SIDE_FILE
    try:
        before = _read_side_file(file) or ((), ())
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{file} is broken: {error}") from error
    named = tuple(dict.fromkeys((*before[0], *columns))), tuple(dict.fromkeys((keys, *before[1])))
    if named == before:
        return
    fresh = folder / f".{_SIDE_FILE}-{secrets.token_hex(4)}"
    places = [{"variable": one.variable, "file": one.file} for one in named[1]]
    fresh.write_bytes(orjson.dumps({"columns": named[0], "keys": places}))
    fresh.replace(file)
