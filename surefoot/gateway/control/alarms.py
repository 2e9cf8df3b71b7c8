"""Tells the journal that a candidate was cut, however long the journal cannot be reached."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine

import orjson

from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.threads import in_thread

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class Alarms:
    """Of one model in one worker; all its methods belong to the event loop."""

    def __init__(self, model: str, settings: GatewaySettings) -> None:
        """Nothing has happened yet."""
        self._model = model
        self._tell = settings.alarm
        self._note = settings.root / "alarms" / f"{model}.json"
        self._tasks: set[asyncio.Task[None]] = set()

    def raised(self, rollout: str, reason: str) -> None:
        """A candidate has been cut: say so until it is heard."""
        with contextlib.suppress(OSError):  # a worker that ends before that leaves the note to the next one
            self._note.parent.mkdir(exist_ok=True)
            self._note.write_bytes(orjson.dumps({"rollout": rollout, "reason": reason}))
        self.keep(self._report(rollout, reason))

    def remember(self) -> None:
        """Say what an earlier worker could not say any more."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = orjson.loads(self._note.read_bytes())
            self.keep(self._report(str(note["rollout"]), str(note["reason"])))

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Have something done beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, rollout: str, reason: str) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await in_thread(lambda: self._tell(self._model, rollout, reason))
                self._note.unlink(missing_ok=True)
            except Exception as error:  # noqa: BLE001 - last resort: whatever it is, the cut must not go unrecorded
                _log.error("%s: the cut is not journalled yet: %s", self._model, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2.0, _LONGEST_PAUSE_S)
            else:
                return
