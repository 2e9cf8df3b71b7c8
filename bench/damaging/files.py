"""Damage one file in one of several ways, and restore files from a snapshot."""

import random
from collections.abc import Sequence
from pathlib import Path

DAMAGE_KINDS = ("bit flipped", "cut", "swapped", "older file", "longer", "removed")


def damage_file(target: Path, others: Sequence[Path], older: bytes, draw: random.Random) -> str:
    """Damage a file in one way, and say in which.

    Args:
        target: The file.
        others: Files that it may be swapped with.
        older: What an earlier version of it held.
        draw: Chooses the way, and the place.
    """
    body = target.read_bytes()
    target.chmod(0o644)
    way = draw.choice(DAMAGE_KINDS)
    different = [other for other in others if other != target and other.read_bytes() != body]
    if way == "swapped" and different:
        other = draw.choice(different)
        other.chmod(0o644)
        target.write_bytes(other.read_bytes())
        other.write_bytes(body)
    elif way == "older file" and older != body:
        target.write_bytes(older)
    elif way == "cut" and body:
        target.write_bytes(body[: draw.randrange(len(body))])
    elif way == "longer":
        target.write_bytes(body + b"\0")
    elif way == "removed":
        target.unlink()
    else:
        way, place = "bit flipped", draw.randrange(max(len(body), 1))
        target.write_bytes(
            body[:place] + bytes([(body or b"\0")[place] ^ (1 << draw.randrange(8))]) + body[place + 1 :]
        )
    return way


class Snapshot:
    """The files below some folders, to put them back as they were."""

    def __init__(self, *folders: Path) -> None:
        """Read them all."""
        self._folders = folders
        self._whole = self._read()

    def _read(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for folder in self._folders for path in folder.rglob("*") if path.is_file()}

    def is_as_before(self) -> bool:
        """Whether every file has the bytes that it had."""
        return self._read() == self._whole

    def put_back(self) -> None:
        """Make every file what it was, and remove what was not there."""
        now = self._read()
        for path in now.keys() - self._whole.keys():
            path.unlink()
        for path, body in self._whole.items():
            if now.get(path) != body:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(body)
