"""Store access-token digests in a file of the state folder."""

import contextlib
import fcntl
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from surefoot.core.access.access_tokens import TOKEN_PREFIX, AccessToken, hash_access_token
from surefoot.core.access.roles import Role
from surefoot.core.errors import NotFound, Rejected, Unavailable

TOKENS_FILE = "tokens.json"
"""Name of the file in the state folder."""


class TokenFile:
    """The access tokens of an installation; a token that is revoked counts nowhere from then on."""

    def __init__(self, home: Path) -> None:
        """Read nothing yet.

        Args:
            home: Folder of all state.
        """
        self._path = home / TOKENS_FILE
        self._read: tuple[object, Mapping[str, AccessToken]] = (None, {})

    def tokens(self) -> Mapping[str, AccessToken]:
        """All tokens by digest; the file is read again when it has changed.

        Raises:
            Unavailable: It cannot be read.
        """
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read[0] != mark:
                plain = json.loads(self._path.read_text(encoding="utf-8"))
                self._read = mark, {one["digest"]: _token(one) for one in plain["tokens"]}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"{self._path} cannot be read ({error}): no access token counts until it can") from error
        return self._read[1]

    def create(
        self, name: str, role: Role, models: Sequence[str], now: float, expires: float, created_by: str
    ) -> tuple[str, AccessToken]:
        """Make a token; what is returned first is the only copy of its secret.

        Args:
            name: Names it in the journal.
            role: What it may do.
            models: Models for which it holds.
            now: Time of the host [Unix seconds].
            expires: When it ends [Unix seconds].
            created_by: Who makes it.

        Raises:
            Rejected: Another token of that name is in force.
            Unavailable: The file cannot be read or written.
        """
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        made = AccessToken(name, role, hash_access_token(secret), now, created_by, expires, tuple(models))
        with self._locked():
            known = self.tokens().values()
            if any(one.name == name and one.state(now) == "in force" for one in known):
                raise Rejected(f"token {name} is in force: 'surefoot token revoke {name}' first, or take another name")
            self._write([*known, made])
        return secret, made

    def revoke(self, name: str, now: float, revoked_by: str) -> None:
        """End a token at once.

        Raises:
            NotFound: No token of that name is in force.
            Unavailable: The file cannot be read or written.
        """
        with self._locked():
            known = list(self.tokens().values())
            if not any(one.name == name and one.state(now) == "in force" for one in known):
                raise NotFound(f"no token {name} is in force: 'surefoot token list' shows all")
            self._write(
                [
                    replace(one, revoked=now, revoked_by=revoked_by)
                    if one.name == name and one.state(now) == "in force"
                    else one
                    for one in known
                ]
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of writers."""
        try:
            with self._path.with_suffix(".lock").open("wb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error

    def _write(self, tokens: Sequence[AccessToken]) -> None:
        """Replace the file; only its owner may read it."""
        fresh = self._path.with_name(f".{self._path.name}-{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps({"tokens": [asdict(one) for one in tokens]}, indent=2), encoding="utf-8")
        fresh.replace(self._path)


def _token(plain: Mapping[str, object]) -> AccessToken:
    """A token from its JSON.

    Raises:
        ValueError: Its role is none.
        TypeError: A field is missing, or not known.
    """
    models = plain.get("models")
    if not isinstance(models, list):
        raise TypeError("a token without models")
    more = {key: value for key, value in plain.items() if key not in {"role", "models"}}
    return AccessToken(role=Role(str(plain.get("role"))), models=tuple(map(str, models)), **more)  # type: ignore[arg-type]
