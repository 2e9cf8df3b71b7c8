"""Convert routes to and from JSON, strictly: splits, versions, and the rules of a policy for requests."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.core.domain import LogPolicy, Split, Version

_PRINTABLE = re.compile(r"[\x20-\x7e]{0,200}")  # what may stand in a response header
_NUMBER = re.compile(r"[0-9A-Za-z._-]{1,64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL = re.compile(r"[^./:\\\x00-\x1f\x7f][^/:\\\x00-\x1f\x7f]*")
_LONGEST_NAME = 200  # bytes; a file name holds 255
_KEYS = {"generation", "rollout", "salt", "weight", "champion", "candidate"}
UNBATCHABLE = "alone"
"""Key of an entry: why versions are asked one request at a time, by digest. It is not written to the route file."""
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
        raise ValueError("a mirror above 0 needs a candidate that answers no caller")
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
    def decode(cls, entry: Mapping[str, object]) -> "RequestRules":
        """Read the rules of an entry.

        Raises:
            ValueError: They are not of the form that `encode` gives.
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

    def encode(self) -> dict[str, object]:
        """Give the rules as keys of an entry."""
        made: dict[str, object] = {"unit": self.unit}
        if self.kept != _ALL:
            kept = self.kept
            made["kept"] = {"hash": list(kept.hashed), "drop": list(kept.dropped), "share": kept.share}
        return made


def as_list(value: object) -> list[object]:
    """A list, or none for anything else."""
    return value if isinstance(value, list) else []
