"""Show the progress of replaying logged requests as a Prefect artifact."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

if TYPE_CHECKING:
    from uuid import UUID

_LONG_S = 5.0
"""Shortest evaluation that is shown [seconds]."""
_UPDATE_S = 3.0
"""Shortest time between two updates [seconds]."""


def make_artifact_key(*parts: object) -> str:
    """A key of an artifact: Prefect takes no other characters in it, and the name of a model may have more."""
    return re.sub("[^a-z0-9]+", "-", "-".join(map(str, parts)).lower()).strip("-")


class ProgressArtifact:
    """Shows how many of the requests of a replay both versions have been asked about, and how many a second."""

    def __init__(self, model: str, rollout: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is shown yet.

        Args:
            model: Registered model.
            rollout: Id of its rollout.
            clock: Tells the time since any moment [seconds].
        """
        self._key = make_artifact_key("progress", model, rollout)
        self._what = f"requests to both versions of {model}"
        self._clock = clock
        self._began, self._told = 0.0, 0.0
        self._artifact: UUID | None = None
        self._failed = False

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is, if it takes long and was not shown just now; never raises.

        Args:
            done: Requests done [count]; 0 begins a pass.
            total: Requests to do [count].
        """
        now = self._clock()
        if done == 0:
            self._began = self._told = now
        takes = now - self._began
        over = done >= total
        if self._failed or takes < _LONG_S or (now - self._told < _UPDATE_S and not over):
            return
        self._told = now
        said = f"{done:,} of {total:,} {self._what}, {done / takes:,.0f} a second"
        try:
            if self._artifact is None:
                made = create_progress_artifact(progress=100.0 * done / total, key=self._key, description=said)
                self._artifact = cast("UUID", made)  # a coroutine only within an event loop
            else:
                update_progress_artifact(self._artifact, progress=100.0 * done / total, description=said)
        except Exception as error:  # noqa: BLE001 - what Prefect shows is a view, whatever is wrong with it
            self._failed = True  # a server that hangs must not hold up each batch
            get_run_logger().warning("the progress of this evaluation is not shown: %s", error)
