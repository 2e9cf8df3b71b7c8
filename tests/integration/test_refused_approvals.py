"""Every forged, stale, replayed or malformed approval is refused in one line, journalled, and changes nothing."""

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from surefoot.core.approvals.approval_statement import APPROVE, ApprovalStatement, SignedText
from surefoot.core.approvals.signed_text import MAX_SIGNED_TEXT_BYTES
from surefoot.core.approvals.version_claims import VersionClaims
from surefoot.core.domain import Stage
from surefoot.core.errors import ApprovalInvalid
from surefoot.core.journal.chain import canonical_bytes, check_chain
from surefoot.core.journal.ledger import fold_entries
from surefoot.rollout import approval_view, drive_rollout, record_signed_decision
from tests.approvers import ApproverFolder, approver_folder
from tests.fakes import APPROVED, Scenario
from tests.scripted import at, events, scenario, started

Forge = Callable[[Scenario, ApproverFolder], bytes]
WAITS = at(Stage.AWAITING_APPROVAL, 0)


def valid(env: Scenario, nonce: str = "a nonce") -> ApprovalStatement:
    """A statement that would count if Ann or Ben signed it."""
    return approval_view(env.ports().ledger("m")).statement(APPROVE, nonce, env.clock.now())


def changed(**fields: object) -> Forge:
    """A statement with other fields, rightly signed by Ann."""

    def forge(env: Scenario, folder: ApproverFolder) -> bytes:
        return folder.text(replace(valid(env), **fields), "ann")  # type: ignore[arg-type]

    return forge


def signed_by(key: str, *, prepare: Callable[[ApproverFolder], None] = lambda _folder: None) -> Forge:
    """The right statement, signed with some key after the files were changed."""

    def forge(env: Scenario, folder: ApproverFolder) -> bytes:
        folder.make_key(key)
        prepare(folder)
        return folder.text(valid(env), key)

    return forge


def edited(change: Callable[[bytes], bytes]) -> Forge:
    """A good text, edited after it was signed."""
    return lambda env, folder: change(folder.text(valid(env), "ann"))


def written(body: Callable[[ApprovalStatement], bytes]) -> Forge:
    """A statement that is written in another way, and rightly signed so."""

    def forge(env: Scenario, folder: ApproverFolder) -> bytes:
        line = body(valid(env))
        return line + b"\n" + folder.sign(line, "ann").encode()

    return forge


def blob(change: Callable[[bytes], bytes]) -> Forge:
    """A good text whose binary signature was edited."""

    def forge(env: Scenario, folder: ApproverFolder) -> bytes:
        line, _, armour = folder.text(valid(env), "ann").partition(b"\n")
        inner = base64.b64encode(change(base64.b64decode(b"".join(armour.strip().split(b"\n")[1:-1]))))
        rows = [inner[place : place + 70] for place in range(0, len(inner), 70)]
        begin, end = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
        return b"\n".join([line, begin, *rows, end, b""])

    return forge


def other_digest(body: bytes) -> bytes:
    """The signature says that it is over a SHA-1 digest."""
    return body.replace(b"\x00\x00\x00\x06sha512", b"\x00\x00\x00\x04sha1", 1)


def fields(statement: ApprovalStatement, **more: object) -> dict[str, object]:
    """Fields of a statement as they are signed."""
    return {"kind": "surefoot approval 1", **asdict(statement), **more}


def replayed(env: Scenario, folder: ApproverFolder) -> bytes:
    """A text that has counted already."""
    text = folder.text(valid(env), "ann")
    record_signed_decision(env.ports(), "m", text)
    return text


def other_statement(env: Scenario, folder: ApproverFolder) -> bytes:
    """The signature of another statement."""
    armour = folder.sign(valid(env, "another nonce").signed_bytes, "ann")
    return SignedText(valid(env), armour).text.encode()


def by_author(env: Scenario, folder: ApproverFolder) -> bytes:
    """The author signs with his own key; MLflow has another name for him."""
    folder.groups(
        "groups: {releasers: [ann@example.com, ben@example.com]}\npeople: {ben@example.com: {mlflow: bsmith}}\n"
    )
    return folder.text(valid(env), "ben")


def expired_key(folder: ApproverFolder) -> None:
    """A key of Ann that is not valid any more."""
    folder.person("ann@example.com", "old", 'valid-before="20200101"')


def two_names(folder: ApproverFolder) -> None:
    """The key of Ann is one of Cyd as well."""
    folder.person("cyd@example.com", "ann")


def of_everybody(folder: ApproverFolder) -> None:
    """A key of a pattern."""
    folder.person("*@example.com", "eve")


def other_purpose(folder: ApproverFolder) -> None:
    """A key that may sign commits only."""
    folder.person("cyd@example.com", "cyd", 'namespaces="git"')


def no_member(folder: ApproverFolder) -> None:
    """A person of no group."""
    folder.person("dan@example.com", "dan")


NESTED = b'{"kind":' + b"[" * 5000 + b"]" * 5000 + b"}"
CASES: dict[str, tuple[Forge, str]] = {
    "wrong namespace": (
        lambda env, folder: SignedText(valid(env), folder.sign(valid(env).signed_bytes, "ann", "git")).text.encode(),
        "namespace 'git'",
    ),
    "key of no person": (signed_by("eve"), "is not in allowed_signers"),
    "key of everybody": (signed_by("eve", prepare=of_everybody), "is not that of one person"),
    "one key of two people": (signed_by("ann", prepare=two_names), "is not that of one person"),
    "revoked key": (signed_by("ann", prepare=lambda folder: folder.revoke("ann")), "does not verify"),
    "key beyond its time": (signed_by("old", prepare=expired_key), "not valid now"),
    "key for another purpose": (signed_by("cyd", prepare=other_purpose), "does not verify"),
    "person outside of the group": (signed_by("dan", prepare=no_member), "is not in group 'releasers'"),
    "author of the version": (by_author, "is the author of version 2"),
    "other model": (changed(model="n"), "about model n"),
    "other rollout": (changed(rollout="0123456789ab"), "about rollout 0123456789ab"),
    "other version": (changed(version="3"), "about version 3"),
    "other bytes": (changed(artifact="sha256:" + "3" * 64), "with other bytes"),
    "other policy": (changed(policy="sha256:" + "0" * 64), "about another policy"),
    "other step": (changed(step=1), "about approve step 2"),
    "other evidence": (changed(evidence="sha256:" + "0" * 64), "about other evidence"),
    "evidence of an entry to come": (changed(head=10_000), "at which this rollout was not open"),
    "evidence of before the rollout": (changed(head=1), "at which this rollout was not open"),
    "evidence of a negative entry": (changed(head=-3), "at which this rollout was not open"),
    "expired": (changed(expires=999_999), "has expired"),
    "never expires": (changed(expires=4_000_000_000), "longer than the policy's"),
    "replayed": (replayed, "was used before"),
    "signature of another statement": (other_statement, "does not verify"),
    "edited after it was signed": (
        edited(lambda text: text.replace(b'"reason":""', b'"reason":"x"')),
        "does not verify",
    ),
    "cut in the signature": (edited(lambda text: text[:-80]), "cut off"),
    "cut in the statement": (edited(lambda text: text[:40]), "has no signature"),
    "bytes after the end": (edited(lambda text: text + b"more"), "follows the end"),
    "two signatures": (edited(lambda text: text + text.partition(b"\n")[2]), "follows the end"),
    "bytes in the signature": (blob(lambda body: body + b"x"), "bytes after its end"),
    "signature without its last bytes": (blob(lambda body: body[:-3]), "cut off"),
    "signature of another version": (
        blob(lambda body: body.replace(b"\x00\x00\x00\x01", b"\x00\x00\x00\x02", 1)),
        "not known",
    ),
    "other digest algorithm": (blob(other_digest), "digest 'sha1'"),
    "one bit is another": (blob(lambda body: body[:-1] + bytes([body[-1] ^ 1])), "does not verify"),
    "no base64": (edited(lambda text: text.replace(b"U1NIU0lH", b"U1NI!!!!", 1)), "not base64"),
    "PGP signature": (edited(lambda text: text.replace(b"SSH SIGNATURE", b"PGP SIGNATURE")), "has no signature"),
    "huge": (edited(lambda text: text + b"\n" * MAX_SIGNED_TEXT_BYTES), "more than 16,384 bytes"),
    "empty": (lambda _env, _folder: b"", "has no signature"),
    "binary": (lambda _env, _folder: b"\xff\xfe\x00\x01" * 20, "not UTF-8"),
    "statement alone": (lambda env, _folder: valid(env).signed_bytes, "has no signature"),
    "no JSON": (written(lambda _s: b"I approve"), "not JSON"),
    "deeply nested": (written(lambda _s: NESTED), "the statement"),
    "blanks in the statement": (written(lambda s: json.dumps(fields(s)).encode()), "not written as canonical JSON"),
    "a key twice": (
        written(lambda s: s.signed_bytes.replace(b'"model":"m"', b'"model":"m","model":"m"')),
        "not written as canonical JSON",
    ),
    "more fields": (written(lambda s: canonical_bytes(fields(s, quorum=0))), "not the fields"),
    "fewer fields": (written(lambda _s: b'{"kind":"surefoot approval 1"}'), "not the fields"),
    "other kind": (written(lambda s: canonical_bytes(fields(s, kind="surefoot denial 1"))), "not the fields"),
    "text for a number": (written(lambda s: canonical_bytes(fields(s, head="12"))), "field head"),
    "true for a number": (written(lambda s: canonical_bytes(fields(s, step=False))), "field step"),
    "neither yes nor no": (changed(decision="maybe"), "neither approves nor denies"),
    "long reason": (changed(reason="x" * 501), "too long"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_changes_nothing(name: str, tmp_path: Path) -> None:
    """It is refused in one line and journalled; the candidate waits on, and good approvals count after it."""
    forge, said = CASES[name]
    folder = approver_folder(tmp_path)
    steps = [*APPROVED["steps"]]
    steps[1] = {"approve": {"by": "releasers", "quorum": 2, "expires": "4h"}}
    env = scenario({**APPROVED, "steps": steps})
    env.approvers = folder.approvers()
    env.claims = VersionClaims(("bsmith",))
    started(env, WAITS)
    folder.person("fay@example.com", "fay")
    body = forge(env, folder)
    before = len(env.journal.entries)
    with pytest.raises(ApprovalInvalid) as refused:
        record_signed_decision(env.ports(), "m", body)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    (entry,) = env.journal.entries[before:]
    assert entry.kind == "ApprovalRejected"
    ledger = fold_entries("m", env.journal.entries)
    assert entry.data["rollout"] == ledger.open
    assert said in str(entry.data["reason"])
    assert WAITS(ledger)
    moment = env.clock.time
    drive_rollout(env.ports(), "m", until=lambda _: env.clock.time > moment + 1800.0)
    assert WAITS(env.ports().ledger("m"))
    assert all(split.candidate is None for split in env.traffic.changes)
    (folder.configs / "revoked_keys").unlink(missing_ok=True)
    (folder.configs / "allowed_signers").unlink()
    for person in ("gil", "hal"):
        folder.person(f"{person}@example.com", person)
    folder.groups("groups: {releasers: [gil@example.com, hal@example.com]}\n")
    for person in ("gil", "hal"):
        record_signed_decision(env.ports(), "m", folder.text(valid(env, person), person))
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0))
    assert len(events(env, "ApprovalRejected")) == 1
    check_chain(env.journal.entries)


def test_an_approval_of_the_first_step_is_none_of_the_second(tmp_path: Path) -> None:
    """A statement that was good at one step is refused at the next one, and after the end."""
    folder = approver_folder(tmp_path)
    env = scenario(APPROVED)
    env.approvers = folder.approvers()
    started(env, WAITS)
    first, unused = folder.text(valid(env), "ann"), folder.text(valid(env, "unused"), "ben")
    record_signed_decision(env.ports(), "m", first)
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0))
    with pytest.raises(ApprovalInvalid, match="waits for no approval: it is Ramping"):
        record_signed_decision(env.ports(), "m", unused)
    drive_rollout(env.ports(), "m", until=at(Stage.AWAITING_APPROVAL, 1))
    for text in (first, unused):
        with pytest.raises(ApprovalInvalid, match="about approve step 1, and the rollout waits at 2"):
            record_signed_decision(env.ports(), "m", text)
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    with pytest.raises(ApprovalInvalid, match="none is open"):
        record_signed_decision(env.ports(), "m", unused)
    assert [one["rollout"] == "" for one in events(env, "ApprovalRejected")] == [False, False, False, True]


def test_a_text_that_was_pasted_into_a_page_counts(tmp_path: Path) -> None:
    """Ends of lines of Windows, and blanks around the text, change nothing."""
    folder = approver_folder(tmp_path)
    env = scenario(APPROVED)
    env.approvers = folder.approvers()
    started(env, WAITS)
    text = folder.text(valid(env), "ann")
    record_signed_decision(env.ports(), "m", b"\r\n  " + text.replace(b"\n", b"\r\n") + b" \r\n\r\n")
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0))


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_keys_count(tmp_path: Path, kind: str) -> None:
    """Keys of ECDSA and RSA sign as well as those of Ed25519."""
    folder = approver_folder(tmp_path)
    folder.make_key("cyd", kind)
    folder.person("cyd@example.com", "cyd")
    env = scenario(APPROVED)
    env.approvers = folder.approvers()
    started(env, WAITS)
    record_signed_decision(env.ports(), "m", folder.text(valid(env), "cyd"))
    drive_rollout(env.ports(), "m", until=at(Stage.RAMPING, 0))
