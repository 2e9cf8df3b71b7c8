"""Define a policy's settings for how requests are split and logged."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.core.domain import LogPolicy
from surefoot.core.traffic_split_json import decode_percent

_ALL = LogPolicy()
_UNENCRYPTED = {"encrypt": [], "key_variable": "", "key_file": ""}


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """A policy's settings for requests; they stay as they were when a rollout began, for all workers and over restarts.

    Attributes:
        unit: Column that sticks to one arm; None splits by request.
        kept: What of the features stays in the log.
    """

    unit: str | None = None
    kept: LogPolicy = _ALL

    @classmethod
    def decode(cls, entry: Mapping[str, object]) -> "RequestPolicy":
        """Read the rules of an entry.

        Raises:
            ValueError: They are not of the form that `encode` gives.
        """
        unit, kept = entry.get("unit"), entry.get("kept")
        if unit is not None and not isinstance(unit, str):
            raise ValueError("unit is the name of a column, or null")
        if kept is None:
            return cls(unit)
        if isinstance(kept, dict) and "encrypt" not in kept:  # as earlier releases, and policies without it, have it
            kept = {**kept, **_UNENCRYPTED}
        if not isinstance(kept, dict) or kept.keys() != {"hash", "drop", "share", *_UNENCRYPTED}:
            raise ValueError(
                "kept is an object with exactly the keys ['drop', 'hash', 'share'], and those of encrypted columns"
            )
        hashed, dropped, encrypted = (tuple(map(str, list_or_empty(kept[key]))) for key in ("hash", "drop", "encrypt"))
        share, keys = decode_percent("kept.share", kept["share"]), (str(kept["key_variable"]), str(kept["key_file"]))
        return cls(unit, LogPolicy(hashed, dropped, share, encrypted, *keys))

    def encode(self) -> dict[str, object]:
        """Give the rules as keys of an entry."""
        made: dict[str, object] = {"unit": self.unit}
        if self.kept != _ALL:
            kept = self.kept
            told: dict[str, object] = {"hash": list(kept.hashed), "drop": list(kept.dropped), "share": kept.share}
            if kept.encrypted:
                keys = {"key_variable": kept.key_variable, "key_file": kept.key_file}
                told |= {"encrypt": list(kept.encrypted), **keys}
            made["kept"] = told
        return made


def list_or_empty(value: object) -> list[object]:
    """A list, or none for anything else."""
    return value if isinstance(value, list) else []
