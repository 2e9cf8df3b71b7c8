"""Define a policy's settings for how requests are split and logged."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.core.domain import LogPolicy
from surefoot.core.traffic_split_json import decode_percent

_ALL = LogPolicy()


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
        if not isinstance(kept, dict) or kept.keys() != {"hash", "drop", "share"}:
            raise ValueError("kept is an object with exactly the keys ['drop', 'hash', 'share']")
        columns = [tuple(map(str, list_or_empty(kept[key]))) for key in ("hash", "drop")]
        return cls(unit, LogPolicy(columns[0], columns[1], decode_percent("kept.share", kept["share"])))

    def encode(self) -> dict[str, object]:
        """Give the rules as keys of an entry."""
        made: dict[str, object] = {"unit": self.unit}
        if self.kept != _ALL:
            kept = self.kept
            made["kept"] = {"hash": list(kept.hashed), "drop": list(kept.dropped), "share": kept.share}
        return made


def list_or_empty(value: object) -> list[object]:
    """A list, or none for anything else."""
    return value if isinstance(value, list) else []
