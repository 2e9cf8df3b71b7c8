"""Roles, access tokens and signed webhooks, as pure decisions, and the files that they are kept in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.access import delivery_store
from surefoot.adapters.access.access_log import ACCESS_LOG, record_access
from surefoot.adapters.access.delivery_store import DeliveryStore
from surefoot.adapters.access.roles_file import read_roles, roles_file_problems
from surefoot.adapters.access.token_file import TOKENS_FILE, TokenFile
from surefoot.core.access.access_tokens import authenticate
from surefoot.core.access.roles import RIGHTS, Action, Role, is_allowed
from surefoot.core.access.webhook_messages import (
    WEBHOOK_TIME_TOLERANCE_S,
    derive_webhook_secret,
    sign_webhook,
    verify_webhook,
)
from surefoot.core.errors import MessageInvalid, NotFound, PolicyInvalid, Rejected, TokenInvalid, Unavailable

NOW = 1_795_419_184.0
DAY = 86_400.0
ROLES = """\
groups: { payments: [fraud, chargeback] }
roles:
  "*": { admin: ada, viewer: [vera] }
  payments: { operator: [pia] }
  flights: { operator: [olga], approver: [anton, ada] }
"""


def roles(folder: Path, text: str = ROLES) -> Path:
    """A folder of policies with a file of roles."""
    (folder / "roles.yaml").write_text(text)
    return folder


def test_a_role_holds_for_its_model_its_group_or_every_model(tmp_path: Path) -> None:
    """A person has the roles of the model, of its groups, and of all models, and no others."""
    found = read_roles(roles(tmp_path))
    assert found is not None
    assert found.roles_of("pia", "fraud") == {Role.OPERATOR}
    assert found.roles_of("pia", "payments") == frozenset()  # a group's name is no model
    assert found.roles_of("pia", "flights") == frozenset()
    assert found.roles_of("ada", "flights") == {Role.ADMIN, Role.APPROVER}
    assert found.roles_of("olga", "*") == frozenset()
    assert found.roles_of("vera", "any model") == {Role.VIEWER}
    assert read_roles(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("roles: { flights: { operator: [olga] } }\n", 1, "names no person"),
        ('roles:\n  "*": { admin: [] }\n', 1, "names no person"),
        ('roles:\n  "*": { admin: ada }\n  flights: { boss: [olga] }\n', 3, "boss"),
        ('roles:\n  "*": { admin: ada }\n  "a/b": { viewer: [olga] }\n', 3, "no name of a model"),
        ('roles:\n  "*": { admin: ada }\n  "*": { admin: eve }\n', 3, "written twice"),
        ("roles:\n  *: { admin: ada }\n", 2, "not YAML"),
        ("", 1, "empty"),
    ],
)
def test_a_broken_file_of_roles_is_named_by_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    """Unknown roles, a file without an admin, and what is no YAML are each refused with file and line."""
    with pytest.raises(PolicyInvalid) as refused:
        read_roles(roles(tmp_path, text))
    assert refused.value.line == line
    assert says in str(refused.value)
    assert roles_file_problems(tmp_path)[0].startswith(f"{tmp_path / 'roles.yaml'}:")


def test_no_role_passes_a_gate_and_none_makes_up_its_own_evidence() -> None:
    """No action promotes past a gate; operators and approvers report no labels; reporters do nothing else."""
    assert not [action for action in Action if "gate" in action]
    assert not is_allowed({Role.OPERATOR, Role.APPROVER, Role.VIEWER}, Action.REPORT_LABELS)
    assert RIGHTS[Role.REPORTER] == {Action.REPORT_LABELS}
    assert not is_allowed({Role.OPERATOR}, Action.OVERRIDE_FREEZE)
    assert not is_allowed({Role.APPROVER}, Action.PROMOTE)
    assert RIGHTS[Role.ADMIN] == set(Action)


def test_a_token_is_kept_as_a_digest_and_ends(tmp_path: Path) -> None:
    """The file holds no secret and only its owner reads it; a token counts until it expires or is revoked."""
    tokens = TokenFile(tmp_path)
    secret, made = tokens.create("bot", Role.OPERATOR, ["flights"], NOW, NOW + DAY, "cli:ada")
    file = tmp_path / TOKENS_FILE
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    other = TokenFile(tmp_path)  # another process
    header = f"Bearer {secret}"
    assert authenticate(header, other.tokens(), NOW) == made
    assert made.roles_of("flights") == {Role.OPERATOR}
    assert made.roles_of("other") == made.roles_of("*") == frozenset()
    with pytest.raises(TokenInvalid, match="expired"):
        authenticate(header, other.tokens(), NOW + DAY)
    with pytest.raises(Rejected, match="in force"):
        tokens.create("bot", Role.VIEWER, ["*"], NOW, NOW + DAY, "cli:ada")
    tokens.revoke("bot", NOW + 1.0, "cli:ada")
    with pytest.raises(TokenInvalid, match="revoked"):
        authenticate(header, other.tokens(), NOW + 2.0)
    with pytest.raises(NotFound):
        tokens.revoke("bot", NOW + 3.0, "cli:ada")
    file.write_text("{}")
    with pytest.raises(Unavailable, match="no access token counts"):
        other.tokens()


BODY = json.dumps({"entity": "model_version_alias", "action": "created", "data": {"name": "m"}}).encode()
SECRET = derive_webhook_secret("installation")


@settings(max_examples=40)
@given(st.text(max_size=80), st.text(max_size=20), st.text(max_size=80), st.binary(max_size=80))
def test_no_webhook_that_was_not_signed_is_read(delivery: str, timestamp: str, signature: str, body: bytes) -> None:
    """Whatever the headers and the body are, an unsigned webhook is refused, and by nothing but that error."""
    with pytest.raises(MessageInvalid):
        verify_webhook(SECRET, delivery, timestamp, signature, body, NOW)


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_a_signed_body_of_any_kind_is_read_or_refused(body: bytes) -> None:
    """A body that is signed and is no event of MLflow is refused, and by nothing but that error."""
    signed = sign_webhook(SECRET, "delivery-1", str(int(NOW)), body)
    with pytest.raises(MessageInvalid):
        verify_webhook(SECRET, "delivery-1", str(int(NOW)), signed, body, NOW)


@pytest.mark.parametrize(
    ("late", "fresh"),
    [(0.0, True), (WEBHOOK_TIME_TOLERANCE_S, True), (-WEBHOOK_TIME_TOLERANCE_S, True), (301.0, False)],
)
def test_a_webhook_counts_for_five_minutes(late: float, fresh: bool) -> None:
    """A webhook of another time is refused, whichever clock is ahead."""
    signed = sign_webhook(SECRET, "delivery-1", str(int(NOW)), BODY)
    for now in {NOW + late, NOW - late}:
        if fresh:
            assert verify_webhook(SECRET, "delivery-1", str(int(NOW)), signed, BODY, now).model == "m"
            continue
        with pytest.raises(MessageInvalid, match="old"):
            verify_webhook(SECRET, "delivery-1", str(int(NOW)), signed, BODY, now)


def test_deliveries_are_kept_as_long_as_they_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is taken once, also after a restart; old ones go, and there are never more than a fixed number."""
    monkeypatch.setattr(delivery_store, "_MOST", 5)
    assert DeliveryStore(tmp_path).take("a", NOW, 600.0)
    assert not DeliveryStore(tmp_path).take("a", NOW + 599.0, 600.0)
    assert DeliveryStore(tmp_path).take("b", NOW + 601.0, 600.0)
    assert DeliveryStore(tmp_path).take("a", NOW + 601.0, 600.0)
    store = DeliveryStore(tmp_path)
    assert all(store.take(f"{count}", NOW + 602.0 + count, 600.0) for count in range(20))
    assert not store.take("19", NOW + 622.0, 600.0)
    assert store.take("a", NOW + 622.0, 600.0)  # its webhook is one of more than five since
    with pytest.raises(Unavailable):
        DeliveryStore(tmp_path / "none" / "deeper").take("a", NOW, 600.0)


def test_the_access_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers who are refused again and again fill no disk, and a folder that is gone stops nothing."""
    monkeypatch.setattr("surefoot.adapters.access.access_log._MAX_BYTES", 1000)
    for _ in range(100):
        record_access(tmp_path, NOW, "unknown", Action.ABORT, "m" * 10_000, "refused\nforged line")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4000
    assert all(json.loads(line)["actor"] == "unknown" for line in (tmp_path / ACCESS_LOG).read_text().splitlines())
    record_access(tmp_path / "none", NOW, "unknown", Action.ABORT, "m", "refused")


def test_an_expired_name_may_be_used_again(tmp_path: Path) -> None:
    """A new token may have the name of one that has ended, and only the new one counts."""
    tokens = TokenFile(tmp_path)
    old, made = tokens.create("bot", Role.OPERATOR, ["*"], NOW, NOW + DAY, "cli:ada")
    new, again = tokens.create("bot", Role.VIEWER, ["*"], NOW + 2 * DAY, NOW + 3 * DAY, "cli:ada")
    assert again == replace(made, role=Role.VIEWER, digest=again.digest, created=again.created, expires=again.expires)
    with pytest.raises(TokenInvalid):
        authenticate(f"Bearer {old}", tokens.tokens(), NOW + 2 * DAY)
    assert authenticate(f"bearer {new}", tokens.tokens(), NOW + 2 * DAY).role is Role.VIEWER
