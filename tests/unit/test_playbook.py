"""What people have to do is read from the journal: steps follow the state, and what is done is known."""

import pytest

from surefoot.core.domain import Stage
from surefoot.core.incidents.incident_events import IncidentClosed, IncidentNoted, IncidentTriaged, NoteKind
from surefoot.core.incidents.playbook import find_open_incident, list_playbook_steps
from surefoot.core.journal.events import DriftFound
from surefoot.core.journal.watch_events import IncidentOpened
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.recovery.playbook import Playbook
from surefoot.core.policy.violations import Violation
from surefoot.core.triage.triage import Cause
from surefoot.rollout import close_incident, open_due_incidents
from tests.fakes import POLICY
from tests.unit.test_incidents import TWO, Told

ROLES = {"roles": {"on_call": ["+1 555 0100"], "owner": ["ada@example.org"]}}
CALLS = {"escalate": [{"after": "15m", "to": "on_call"}, {"after": "1h", "to": "owner"}]}
EMPTY = Playbook.model_validate({})


def names(told: Told, playbook: Playbook = EMPTY) -> list[str]:
    """Names of the steps."""
    return [one.name for one in list_playbook_steps(told.ports.ledger("m"), playbook)]


def test_without_an_incident_nothing_is_to_be_done() -> None:
    """A model without an open incident has no steps; a closed one leaves none."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    assert names(told) == []
    (name,) = open_due_incidents(told.ports, "m")
    assert names(told)[0] == "cause"
    close_incident(told.ports, "m", IncidentClosed(name, "feed", "mended"))
    assert names(told) == []


def test_the_steps_follow_the_state() -> None:
    """Before a rollback a person decides; afterwards drift, correction, messages and the end are left."""
    told = Told()
    told.promote(100.0)
    told.at(1000.0, IncidentOpened("abc", "r1", TWO, "base rate", "the base rate has doubled"))
    assert names(told) == ["decide", "cause", "tell-users", "tell-support", "tell-management", "close"]
    told.roll_back(1100.0)
    told.at(1200.0, DriftFound("r2", "alias champion", "1", "it is 2", "champion", "1"))
    assert names(told) == [
        "drift-alias-champion", "cause", "correct", "tell-users", "tell-support", "tell-management", "close",
    ]  # fmt: skip


def test_who_is_called_and_when_comes_from_the_policy() -> None:
    """Escalations are steps with the people of their role and a time that counts from the opening."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    told.scenario.clock.time = 200.0
    open_due_incidents(told.ports, "m")
    playbook = parse_policy({**POLICY, "playbook": {**ROLES, **CALLS}}).playbook
    calls = [one for one in list_playbook_steps(told.ports.ledger("m"), playbook) if one.role]
    assert [(one.role, one.due) for one in calls] == [("on_call", 200.0 + 900.0), ("owner", 200.0 + 3600.0)]
    assert "+1 555 0100" in calls[0].text


def test_what_is_done_is_known_by_whom() -> None:
    """A recorded step and an audience that was told are done; the cause that was found is to be confirmed."""
    told = Told()
    told.promote(100.0, Stage.ROLLED_BACK)
    (name,) = open_due_incidents(told.ports, "m")
    told.at(300.0, IncidentNoted(name, NoteKind.STEP, "done", "correct"))
    told.at(310.0, IncidentNoted(name, NoteKind.MESSAGE, "answers may be wrong", "users"))
    told.at(320.0, IncidentTriaged(name, Cause.FEATURE, "pressure", "with the values of before it is well"))
    steps = {one.name: one for one in list_playbook_steps(told.ports.ledger("m"), EMPTY)}
    assert {step for step, one in steps.items() if one.done_by} == {"correct", "tell-users"}
    assert "one faulty feature (pressure)" in steps["cause"].text
    assert find_open_incident(told.ports.ledger("m")) is not None


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"escalate": [{"after": "15m", "to": "on_call"}]}, "not in roles: none"),
        ({**ROLES, "escalate": [{"after": "1h", "to": "owner"}, {"after": "5m", "to": "owner"}]}, "must not be before"),
        ({**ROLES, "escalate": {"after": "1h"}}, "expected a list of escalations"),
        ({"rolls": {}}, "rolls"),
    ],
)
def test_a_wrong_playbook_is_refused(section: object, said: str) -> None:
    """An unknown role, an earlier call after a later one, and unknown keys are refused by name."""
    with pytest.raises(Violation, match=said):
        parse_policy({**POLICY, "playbook": section})
