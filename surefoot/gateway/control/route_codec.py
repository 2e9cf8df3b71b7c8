"""Routes as they cross the wire, and the route file, which survives a restart: who answers which share."""

import contextlib
import fcntl
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from surefoot.core.domain import LogPolicy, Split, Version

_PRINTABLE = re.compile(r"[\x20-\x7e]{0,200}")  # what may stand in a response header
_NUMBER = re.compile(r"[0-9A-Za-z._-]{1,64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL = re.compile(r"[^./:\\\x00-\x1f\x7f][^/:\\\x00-\x1f\x7f]*")
_LONGEST_NAME = 200  # bytes; a file name holds 255
_KEYS = {"generation", "rollout", "salt", "weight", "champion", "candidate"}
UNBATCHABLE = "alone"
"""Key of an entry that is not written."""
_BESIDE = {"warm", "cut", "unit", "kept"}
_VERSION_KEYS = {"number", "digest", "data_digest"}
_HUNDRED = 100
_ALL = LogPolicy()


def is_model_name(name: str) -> bool:
    """Whether a registered model of this name can have a file and a directory of its own."""
    return _MODEL.fullmatch(name) is not None and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME


def encode_split(split: Split) -> dict[str, object]:
    """Give a split as the JSON object of the route file."""
    made: dict[str, object] = {
        "generation": split.generation,
        "rollout": split.rollout,
        "salt": split.salt,
        "weight": split.weight,
        "champion": encode_version(split.champion),
        "candidate": None if split.candidate is None else encode_version(split.candidate),
    }
    return {**made, "mirror": split.mirror} if split.mirror else made


def encode_version(version: Version) -> dict[str, object]:
    """Give a version as the JSON object of the route file."""
    return {"number": version.number, "digest": version.digest, "data_digest": version.data_digest}


def decode_split(value: object) -> Split:
    """Read a split, strictly.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict):
        raise ValueError("a route is a JSON object")  # noqa: TRY004 - one kind of error for one kind of mistake
    value = {"mirror": 0.0, **value}
    if strange := value.keys() ^ {*_KEYS, "mirror"}:
        raise ValueError(f"a route has exactly the keys {sorted(_KEYS)}; look at {sorted(strange)}")
    generation = value["generation"]
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise ValueError("generation is a whole number, at least 0")
    weight, mirror = (_percent(key, value[key]) for key in ("weight", "mirror"))
    candidate = None if value["candidate"] is None else decode_version("candidate", value["candidate"])
    if candidate is None and weight > 0:
        raise ValueError("a weight above 0 needs a candidate")
    if mirror > 0 and (candidate is None or weight > 0):
        raise ValueError("a mirror above 0 needs a candidate that answers nobody")
    return Split(
        champion=decode_version("champion", value["champion"]),
        candidate=candidate,
        weight=weight,
        salt=_text("salt", value["salt"], _PRINTABLE),
        rollout=_text("rollout", value["rollout"], _PRINTABLE),
        generation=generation,
        mirror=mirror,
    )


def _percent(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{key} is a number of percent")
    if not 0 <= value <= _HUNDRED:
        raise ValueError(f"{key} is {value}, not from 0 to 100 percent")
    return float(value)


def decode_version(key: str, value: object) -> Version:
    """Read a version, strictly.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict) or value.keys() != _VERSION_KEYS:
        raise ValueError(f"{key} is an object with exactly the keys {sorted(_VERSION_KEYS)}")
    return Version(
        number=_text(f"{key}.number", value["number"], _NUMBER),
        digest=_text(f"{key}.digest", value["digest"], _DIGEST),
        data_digest=_text(f"{key}.data_digest", value["data_digest"], _PRINTABLE),
    )


def _text(key: str, value: object, shape: re.Pattern[str]) -> str:
    if not isinstance(value, str) or shape.fullmatch(value) is None:
        raise ValueError(f"{key} is a text of the form {shape.pattern}")
    return value


@contextlib.contextmanager
def write_lock(root: Path) -> Iterator[None]:
    """Be the only one of all workers that writes route files."""
    descriptor = os.open(root / "routes.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_content(entry: Mapping[str, object]) -> bytes:
    """The route file of an entry of the board."""
    split = entry["route"]
    beside = {key: value for key, value in entry.items() if key not in {"route", UNBATCHABLE}}
    return orjson.dumps({**(split if isinstance(split, Mapping) else {}), **beside}, option=orjson.OPT_INDENT_2)


def is_saved(root: Path, model: str, entry: Mapping[str, object]) -> bool:
    """Whether the route file is that of an entry."""
    with contextlib.suppress(OSError):
        return (root / "routes" / f"{model}.json").read_bytes() == file_content(entry)
    return False


def save_route(root: Path, model: str, entry: Mapping[str, object]) -> None:
    """Write the route so that a crash leaves the old file or the new one, never half of one; call it in `writing`.

    Raises:
        OSError: The disk refuses; the old file stands.
    """
    folder = root / "routes"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{model}.tmp"
    with contextlib.ExitStack() as undo:
        undo.callback(draft.unlink, missing_ok=True)
        with draft.open("wb") as file:
            file.write(file_content(entry))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / f"{model}.json")
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        undo.callback(os.close, directory)
        os.fsync(directory)


def read_routes(root: Path) -> dict[str, dict[str, object]]:
    """Read every route file.

    Returns:
        By model, its entry as the board has it; {"broken": sentence} where the file cannot be used.
    """
    found: dict[str, dict[str, object]] = {}
    for file in sorted((root / "routes").glob("*.json")):
        if not is_model_name(file.stem):
            continue
        try:
            found[file.stem] = _entry(orjson.loads(file.read_bytes()))
        except (OSError, ValueError) as error:  # orjson's error is a ValueError
            found[file.stem] = {"broken": f"the route file cannot be used: {error}"}
    return found


def _entry(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a route is a JSON object")  # noqa: TRY004 - one kind of error for one kind of mistake
    beside = {key: value[key] for key in _BESIDE & value.keys()}
    warm = [encode_version(decode_version("warm", one)) for one in as_list(beside.get("warm"))]
    RequestRules.of(beside)
    return {
        "route": encode_split(decode_split({key: value[key] for key in value.keys() - _BESIDE})),
        **beside,
        "warm": warm,
    }


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What a policy says of requests. It stays as it was when a rollout began, for all workers and over restarts.

    Attributes:
        unit: Column that sticks to one arm; None splits by request.
        kept: What of the features stays in the log.
    """

    unit: str | None = None
    kept: LogPolicy = _ALL

    @classmethod
    def of(cls, entry: Mapping[str, object]) -> "RequestRules":
        """Read those of an entry.

        Raises:
            ValueError: They are not of the form that `told` gives.
        """
        unit, kept = entry.get("unit"), entry.get("kept")
        if unit is not None and not isinstance(unit, str):
            raise ValueError("unit is the name of a column, or null")
        if kept is None:
            return cls(unit)
        if not isinstance(kept, dict) or kept.keys() != {"hash", "drop", "share"}:
            raise ValueError("kept is an object with exactly the keys ['drop', 'hash', 'share']")
        columns = [tuple(map(str, as_list(kept[key]))) for key in ("hash", "drop")]
        return cls(unit, LogPolicy(columns[0], columns[1], _percent("kept.share", kept["share"])))

    def told(self) -> dict[str, object]:
        """They as a part of an entry."""
        made: dict[str, object] = {"unit": self.unit}
        if self.kept != _ALL:
            kept = self.kept
            made["kept"] = {"hash": list(kept.hashed), "drop": list(kept.dropped), "share": kept.share}
        return made


def as_list(value: object) -> list[object]:
    """A list, or none for anything else."""
    return value if isinstance(value, list) else []
