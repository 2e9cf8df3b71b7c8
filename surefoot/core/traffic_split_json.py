"""Convert traffic splits and model versions to JSON or back."""

import math
import re

from surefoot.core.canonical_text import canonical_text
from surefoot.core.domain import Split, Version

TRAFFIC_SPLIT_KEYS = frozenset({"generation", "rollout", "salt", "weight", "champion", "candidate"})
"""Keys that every split has."""
TRAFFIC_SPLIT_OPTIONS = ("mirror", "units")
"""Keys that a split has where they say something, so that an earlier release can read all other splits."""
_PRINTABLE = re.compile(r"[\x20-\x7e]{0,200}")  # what may stand in a response header
_NUMBER = re.compile(r"[0-9A-Za-z._-]{1,64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION_KEYS = {"number", "digest", "data_digest"}
_HUNDRED = 100


def encode_traffic_split(split: Split) -> dict[str, object]:
    """Give a split as a JSON object."""
    made: dict[str, object] = {
        "generation": split.generation,
        "rollout": split.rollout,
        "salt": split.salt,
        "weight": split.weight,
        "champion": encode_version(split.champion),
        "candidate": None if split.candidate is None else encode_version(split.candidate),
    }
    options = {"mirror": split.mirror, "units": list(split.units)}
    return {**made, **{key: value for key, value in options.items() if value}}


def encode_version(version: Version) -> dict[str, object]:
    """Give a version as a JSON object."""
    return {"number": version.number, "digest": version.digest, "data_digest": version.data_digest}


def decode_traffic_split(value: object) -> Split:
    """Read a split, strictly.

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
    if not isinstance(value, dict):
        raise ValueError("a route is a JSON object")  # noqa: TRY004 - one kind of error for one kind of mistake
    value = {"mirror": 0.0, "units": [], **value}
    if strange := value.keys() ^ {*TRAFFIC_SPLIT_KEYS, *TRAFFIC_SPLIT_OPTIONS}:
        raise ValueError(f"a route has exactly the keys {sorted(TRAFFIC_SPLIT_KEYS)}; look at {sorted(strange)}")
    generation = value["generation"]
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise ValueError("generation is a whole number, at least 0")
    weight, mirror = (decode_percent(key, value[key]) for key in ("weight", "mirror"))
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
        units=_units(value["units"]),
    )


def _units(value: object) -> tuple[str, ...]:
    """Read the units that are assigned to the candidate whatever their hash.

    Raises:
        ValueError: It is no list of canonical texts, each once.
    """
    if not isinstance(value, list) or any(not isinstance(one, str) or canonical_text(one) != one for one in value):
        raise ValueError("units are a list of canonical texts")
    if len(set(value)) < len(value):
        raise ValueError("units names a unit twice")
    return tuple(value)


def decode_percent(key: str, value: object) -> float:
    """Read a share [percent, 0 to 100].

    Raises:
        ValueError: Says in one sentence what is wrong.
    """
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
