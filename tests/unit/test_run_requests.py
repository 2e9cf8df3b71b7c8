"""Requests for flow runs: their text, their proofs, and the store of those that were used."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.states import Completed, Failed

from surefoot.adapters.access.used_requests import USED_REQUESTS_FILE, UsedRequests
from surefoot.core.access.roles import Action
from surefoot.core.access.run_requests import (
    RunOrder,
    RunRequest,
    find_request_problem,
    is_run_proof,
    make_request,
    make_run_proof,
    read_run_proof,
)
from surefoot.core.errors import Rejected, RequestInvalid, Unavailable
from tasks.states import find_refused_state, make_refused_state

SECRET = "of the installation"  # noqa: S105 - of a test
ORDER = RunOrder("promote", "m", "2", reason="better")
TEXTS = st.text(max_size=12)
ORDERS = st.builds(
    RunOrder, st.sampled_from(["promote", "rollback"]), TEXTS, TEXTS, TEXTS, st.booleans(), st.just("better")
)


def request(order: RunOrder = ORDER) -> RunRequest:
    """A request that counts until time 100."""
    return make_request(order, SECRET, "n" * 32, 100)


def test_force_asks_for_the_right_to_release_as_well() -> None:
    """A run asks for the rights that the command of the same name asks for."""
    assert ORDER.actions == (Action.PROMOTE,)
    assert replace(ORDER, force=True).actions == (Action.PROMOTE, Action.RELEASE)
    assert RunOrder("rollback", "m").actions == (Action.ROLLBACK,)


@given(ORDERS, ORDERS)
def test_a_request_fits_its_own_order_alone(one: RunOrder, other: RunOrder) -> None:
    """It is one for a run exactly where flow, model, version, mode and force are the same, and until it expires."""
    assert (find_request_problem(request(one), other, SECRET, 50.0) == "") is (one == other)
    assert "\n" not in find_request_problem(request(one), other, SECRET, 50.0)
    assert find_request_problem(request(one), one, SECRET, 100.0)
    assert find_request_problem(request(one), one, "another secret", 50.0)


@given(ORDERS)
def test_a_proof_is_read_as_it_was_made(order: RunOrder) -> None:
    """A proof gives back its request, and only with the secret of its installation."""
    text = make_run_proof(request(order), SECRET)
    assert is_run_proof(text)
    assert read_run_proof(text, SECRET) == request(order)
    with pytest.raises(RequestInvalid):
        read_run_proof(text, "another secret")


@given(st.integers(0, 500), st.characters(codec="utf-8"))
def test_no_edited_proof_is_read(place: int, sign: str) -> None:
    """Whatever sign of a proof is replaced, it is refused, or says the same as before."""
    text = make_run_proof(request(), SECRET)
    place %= len(text)
    edited = text[:place] + sign + text[place + 1 :]
    try:
        assert read_run_proof(edited, SECRET) == request()
    except Rejected:
        assert edited != text


def test_a_used_request_is_remembered_until_long_after_its_end(tmp_path: Path) -> None:
    """Another run, or one without an id, never has it; a new store on the same folder knows it too."""
    assert UsedRequests(tmp_path).claim("n", "run/0", 0.0, 100.0)
    assert UsedRequests(tmp_path).claim("n", "run/0", 1.0, 100.0)
    assert not UsedRequests(tmp_path).claim("n", "run/1", 1.0, 100.0)
    assert not UsedRequests(tmp_path).claim("n", "", 1.0, 100.0)
    assert UsedRequests(tmp_path).claim("other", "", 200.0, 300.0)
    assert not UsedRequests(tmp_path).claim("n", "run/1", 200.0, 100.0)
    assert not UsedRequests(tmp_path).claim("other", "", 200.0, 300.0)


def test_a_store_that_cannot_be_written_lets_nothing_begin(tmp_path: Path) -> None:
    """It is told as an error that is tried again, and with the file."""
    (tmp_path / USED_REQUESTS_FILE).write_text("no database, and long enough to be seen as none" * 40)
    with pytest.raises(Unavailable, match=USED_REQUESTS_FILE) as caught:
        UsedRequests(tmp_path).claim("n", "run/0", 0.0, 100.0)
    assert caught.value.retryable


def test_a_refused_task_makes_its_flow_red() -> None:
    """A flow takes name and message of the task that refused; any other state of a task is none of a refusal."""
    state = find_refused_state(make_refused_state(RequestInvalid("say who asks")))
    assert state is not None
    assert (state.type.value, state.name, state.message) == ("FAILED", "RequestRefused", "say who asks")
    assert isinstance(state.result(), Exception)  # and nothing is raised
    assert find_refused_state(Completed()) is None
    assert find_refused_state(Failed(name="Aborted")) is None
