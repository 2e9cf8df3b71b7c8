"""`surefoot release` against a real journal, with MLflow and Prefect down."""

import pytest

from surefoot.core.journal.events import decode_event
from surefoot.core.journal.served_version_events import VersionReleased
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER


def test_a_person_lifts_the_quarantine_by_one_command(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """The journal says who and why; without a reason, and for a version that is not quarantined, nothing happens."""
    emergency.ramp()
    assert emergency.command("rollback", MODEL) == 0
    assert [one.version.number for one in emergency.ports.ledger(MODEL).quarantined.values()] == [BETTER]
    assert f"'surefoot exposure {MODEL}' lists what version {BETTER} answered" in capfd.readouterr().out
    assert emergency.command("release", MODEL, BETTER) == 2
    assert "--reason" in capfd.readouterr().err
    assert emergency.command("release", MODEL, "99", "--reason", "why not") == 2
    assert f"quarantined versions: {BETTER} (RolledBack)" in capfd.readouterr().err
    assert emergency.command("release", MODEL, BETTER, "--reason", "the feed was at fault") == 0
    said = capfd.readouterr().out
    assert f"the quarantine of version {BETTER} was lifted: the feed was at fault" in said
    assert f"version {BETTER} of {MODEL} may be promoted again" in said
    entry = emergency.journal.read(MODEL)[-1]
    assert entry.actor.startswith("cli:")
    assert isinstance(decode_event(entry.kind, entry.data), VersionReleased)
    assert not emergency.ports.ledger(MODEL).quarantined
    assert emergency.command("release", MODEL, BETTER, "--reason", "again") == 2
