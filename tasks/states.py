"""Map the outcomes of rollouts and tasks, and refused requests, to Prefect states."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prefect import allow_failure
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from surefoot.core.domain import TERMINAL_STAGES, RolloutKind
from surefoot.core.errors import SurefootError
from surefoot.core.rollback.stepped_rollback import waits_for_person
from surefoot.core.served_versions.version_status import current_outcome, is_failed_end

if TYPE_CHECKING:
    from surefoot.core.journal.ledger import Ledger

SKIPPED_STATE_NAME = "Skipped"
"""Name of the state of a task that had nothing to do."""
_REFUSED_STATE_NAME = "RequestRefused"
"""Name of the state of a task or flow that was not permitted to begin anything."""
MAX_MESSAGE_LENGTH = 2000
"""Longest message of a state [characters]."""
_TERMINAL_STATE_NAMES = frozenset(str(terminal_stage) for terminal_stage in TERMINAL_STAGES)


class RejectedState(State[Any]):
    """A FAILED state that is an answer and no error: what the task or flow returned can be read.

    Of any other FAILED state that a flow returns Prefect logs a traceback, and the process of the run exits with 1.
    """

    def result(self, *_: object, **__: object) -> Any:
        """What was returned; nothing is raised."""
        read: Any = super().result  # Prefect's types do not tell of `_sync`: the engine asks within an event loop, too
        return read(raise_on_failure=False, _sync=True)


def make_refused_state(error: SurefootError) -> State[Any]:
    """The state of a task that has begun nothing, since it is not known who asks for it, or the person may not.

    Args:
        error: Says why, and what to do.
    """
    return Failed(cls=RejectedState, name=_REFUSED_STATE_NAME, message=str(error)[:MAX_MESSAGE_LENGTH])


def find_refused_state(state: State[Any]) -> State[Any] | None:
    """The last state of a flow whose request was refused in a task; None where it was not."""
    if state.name != _REFUSED_STATE_NAME:
        return None
    return Failed(cls=RejectedState, name=_REFUSED_STATE_NAME, message=state.message)


def rollout_state(ledger: "Ledger", rollout: str, data: object = None, kind: RolloutKind | None = None) -> State[Any]:
    """The state that says where a rollout stands: FAILED when it was turned away, with the reason as the message.

    A stepped rollback that waits for a person is FAILED as well, and named Held.

    Args:
        ledger: What the journal says.
        rollout: Id of the rollout.
        data: What the task or flow returns.
        kind: What the run is for, when that is another kind than the rollout's: a rollback that takes an
            open promotion back is green when that has been done.
    """
    found = ledger.rollouts[rollout]
    stage, reason = current_outcome(ledger, found)
    said = reason[:MAX_MESSAGE_LENGTH]
    if waits_for_person(found):
        return Failed(cls=RejectedState, name="Held", message=said, data=data)
    if is_failed_end(found.opened.kind, stage) and kind in {None, found.opened.kind}:
        return Failed(cls=RejectedState, name=stage.value, message=said, data=data)
    return Completed(name=stage.value, message=said, data=data)


def read_task_result(state: State[Any]) -> Any:
    """What a task has returned, also when the rollout ended in it; raises what stopped the task otherwise."""
    return state.result(raise_on_failure=state.name not in _TERMINAL_STATE_NAMES)


def run_task_after(task: Callable[..., Any], *arguments: object, after: State[Any]) -> State[Any]:
    """Run a task after another one, whatever that one ended as; raises what stopped the task.

    Args:
        task: The task.
        arguments: Its arguments.
        after: State of the task before.
    """
    state: State[Any] = task(*arguments, return_state=True, wait_for=[allow_failure(after)])
    read_task_result(state)
    return state


def combine_states(states: Sequence[State[Any]]) -> State[Any] | list[State[Any]]:
    """The state of a flow that looked at several models: named for a terminal stage when nothing else was wrong."""
    ended = [state for state in states if state.is_failed()]
    if ended and all(state.name in _TERMINAL_STATE_NAMES for state in ended):
        return Failed(
            cls=RejectedState,
            name=ended[0].name,
            message="; ".join(state.message or "" for state in ended)[:MAX_MESSAGE_LENGTH],
        )
    return list(states)
