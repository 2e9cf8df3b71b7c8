"""Read one chosen setting from each model's policy file."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.policy_folder import find_policy_file, policy_files_by_model
from surefoot.core.errors import FallbackInvalid, NotFound, PolicyInvalid, Rejected
from surefoot.core.policy.policy_types import Policy

_T = TypeVar("_T")


class SettingByModel(Mapping[str, _T]):
    """One setting of each model's policy file, read again when the file changes; invalid policies are absent.

    The gateway asks when a rollout begins and keeps to that, for an edit must not send the units of an open rollout
    somewhere else.
    """

    def __init__(self, folder: Path, choose: Callable[[Policy], _T]) -> None:
        """Read nothing yet.

        Args:
            folder: Where policies are.
            choose: Takes what is needed from one.
        """
        self._folder = folder
        self._choose = choose
        self._known: dict[str, tuple[Path, int, tuple[_T, ...]]] = {}

    def __getitem__(self, model: str) -> _T:
        """What was chosen; KeyError without a valid policy."""
        try:
            path = find_policy_file(self._folder, model)
            written = path.stat().st_mtime_ns
        except (OSError, Rejected):
            raise KeyError(model) from None
        if model not in self._known or self._known[model][:2] != (path, written):
            try:
                found: tuple[_T, ...] = (self._choose(read_policy(path)[1]),)
            except (PolicyInvalid, FallbackInvalid, NotFound):
                found = ()
            self._known[model] = path, written, found
        for value in self._known[model][2]:
            return value
        raise KeyError(model)

    def __iter__(self) -> Iterator[str]:
        """Models that have a policy."""
        return iter(self._models())

    def __len__(self) -> int:
        """How many."""
        return len(self._models())

    def _models(self) -> list[str]:
        """Models whose policy can be read."""
        return [model for model in policy_files_by_model(self._folder) if model in self]
