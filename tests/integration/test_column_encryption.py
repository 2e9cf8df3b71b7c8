"""Encrypted columns are nowhere on the disk in plain text, and verdicts are as without encryption."""

import base64
import json
import logging
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surefoot.adapters.evidence.prediction_log_evidence import PredictionLogEvidence
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.adapters.replay.replay_window import ReplayWindow
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.domain import LogPolicy, Outcome
from surefoot.core.judging.evidence import MissingEvidence, PairedSums
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.gateway.log.redaction import build_log_redactor
from surefoot.wiring.policy_column_checks import find_encrypted_expectations
from tests.fakes import POLICY
from tests.integration.gateway_harness import listening
from tests.integration.gateway_process import Models
from tests.unit.test_replay import ASKED, V1, V2, Model, label, record, write

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKERS = (b"MARKER-7f3a", b"0.1234567")


def new_key() -> str:
    """A key, as `openssl rand -base64 32` makes it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def found_on_disk(folder: Path) -> list[str]:
    """Files that hold a marker."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(marker in path.read_bytes() for marker in MARKERS)]


def test_no_file_of_a_gateway_holds_a_value_of_an_encrypted_column(tmp_path: Path, models: Models) -> None:
    """Segments, parts and route files hold no value, before and after a restart; callers see no change."""
    keys = tmp_path / "keys"
    keys.write_text(new_key(), encoding="utf-8")
    home = tmp_path / "home"
    kept = {"flights": LogPolicy(encrypted=("x", "note"), key_file=str(keys))}
    for policies in (kept, {}):  # the restarted gateway has the rules from its route file
        with listening(home, models, kept=policies) as gateway:
            if policies:
                gateway.shift(50)
            for unit in range(20):
                assert gateway.ask(unit=f"u{unit}", x=0.1234567, note="MARKER-7f3a").status_code == 200
            assert gateway.ask(unit="odd", x="MARKER-7f3a", note="n").status_code == 400
            features = [one["features"] for one in gateway.records() if one["features"] is not None]
            assert {min(one) for one in features if isinstance(one, dict)} == {"note"}
        assert found_on_disk(home) == []
    shutil.copytree(home / "log", tmp_path / "log")  # where this process has no segment open
    assert compact_log(tmp_path / "log", "flights").rows >= 40
    assert found_on_disk(tmp_path / "log") == []


class Values:
    """Requests whose secret column decides the answer, with labels, logged plainly or encrypted."""

    def __init__(self, root: Path, keys: Path | None) -> None:
        self.root = root
        root.mkdir()
        policy = LogPolicy() if keys is None else LogPolicy(encrypted=("secret",), key_file=str(keys))
        self.redactor = build_log_redactor("m", policy, "s", None, root)

    def log(self, begin: int, end: int, segment: int = 1) -> None:
        """Log some requests, an hour apart."""
        rows = []
        for i in range(begin, end):
            features: Mapping[str, object] = {"i": i, "secret": (i % 10) / 10.0 + 0.01234567, "text": "é"}
            if self.redactor is not None:
                assert self.redactor.omission_reason(f"q{i}", tuple(features)) == ""
                features = self.redactor.redact_row(features)
            rows.append(record(i, 3600.0 * (i + 1), features=features))
        write(self.root, "predictions", rows)
        write(self.root, "labels", [label(i, i % 3 == 0, 3600.0 * (i + 1) + 50.0) for i in range(begin, end)])
        for kind in ("predictions", "labels"):
            (self.root / "m" / f"{kind}-1-1.jsonl").rename(self.root / "m" / f"{kind}-1-{segment}0.jsonl")

    def gather(self) -> PairedSums | MissingEvidence:
        """The evidence of a loss gate, from both versions."""
        loaded = {
            V1.digest: Model(lambda row: float(str(row["secret"]))),
            V2.digest: Model(lambda row: 1.0 - float(str(row["secret"]))),
        }
        log = PredictionLog(self.root)
        replay = OfflineReplay(log, lambda _model, version: loaded[version.digest])
        found = PredictionLogEvidence(log, replay, lambda *_: MissingEvidence(Outcome.ERROR, "not asked")).gather(ASKED)
        replay.close()
        assert isinstance(found, PairedSums | MissingEvidence)
        return found


def test_evidence_is_the_same_with_and_without_encryption(tmp_path: Path) -> None:
    """The sums of a loss are equal to the last bit, from segments and from compacted parts."""
    keys = tmp_path / "keys"
    keys.write_text(new_key(), encoding="utf-8")
    plain, hidden = Values(tmp_path / "plain", None), Values(tmp_path / "hidden", keys)
    for logged in (plain, hidden):
        logged.log(0, 100)
    expected = plain.gather()
    assert isinstance(expected, PairedSums)
    assert hidden.gather() == expected
    for logged in (plain, hidden):
        compact_log(logged.root, "m")
    assert plain.gather() == expected
    assert hidden.gather() == expected
    assert "0.01234567" not in str([path.read_bytes() for path in hidden.root.rglob("*") if path.is_file()])
    (row, *_) = PredictionLog(hidden.root).read_requests("m", 0.0, 1e9)
    assert row.features == {"i": 0, "text": "é"}


def test_keys_rotate_and_each_old_value_needs_its_own(tmp_path: Path) -> None:
    """The first key encrypts and all decrypt; without the key of some values the gate says ERROR and why."""
    keys, old, new = tmp_path / "keys", new_key(), new_key()
    keys.write_text(old, encoding="utf-8")
    hidden = Values(tmp_path / "hidden", keys)
    hidden.log(0, 50, 1)
    keys.unlink()
    keys.write_text(f"{new}\n{old}\n", encoding="utf-8")
    hidden.log(50, 100, 2)
    whole = hidden.gather()
    assert isinstance(whole, PairedSums)
    for held, why in (
        (new, "none of the keys has encrypted it"),
        (old, "none of the keys has encrypted it"),
        ("", f"key file {keys} holds no key"),
        ("secret", f"key file {keys} holds what is no key: give 32 bytes in Base64"),
    ):
        keys.write_text(held, encoding="utf-8")
        missing = hidden.gather()
        assert isinstance(missing, MissingEvidence)
        assert missing.outcome is Outcome.ERROR
        assert "'secret' of m" in missing.reason
        assert why in missing.reason
    keys.unlink()
    gone = hidden.gather()
    assert isinstance(gone, MissingEvidence)
    assert f"key file {keys} cannot be read: No such file" in gone.reason
    keys.write_text(f"{old} {new}", encoding="utf-8")
    assert hidden.gather() == whole


def test_a_value_opens_only_in_its_column(tmp_path: Path) -> None:
    """A value that was copied into another encrypted column, or changed, is an error and no number."""
    keys = tmp_path / "keys"
    keys.write_text(new_key(), encoding="utf-8")
    hidden = Values(tmp_path / "hidden", keys)
    both = LogPolicy(encrypted=("secret", "other"), key_file=str(keys))
    redactor = build_log_redactor("m", both, "s", None, hidden.root)
    assert redactor is not None
    moved = redactor.redact_row({"other": 0.5})["other"]
    write(hidden.root, "predictions", [record(0, 1.0, features={"secret": moved})])
    found = hidden.gather()
    assert isinstance(found, MissingEvidence)
    assert "it was changed, or stood at another place" in found.reason


def test_without_a_key_nothing_is_logged_in_plain_text(
    tmp_path: Path, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers are answered, records have no features and say why, and logging goes on when the key file comes."""
    keys = tmp_path / "keys"
    kept = {"flights": LogPolicy(encrypted=("note",), key_file=str(keys))}
    with caplog.at_level(logging.CRITICAL), listening(tmp_path / "home", models, kept=kept) as gateway:
        gateway.shift(0, None)
        for _ in range(3):
            assert gateway.ask(note="MARKER-7f3a").status_code == 200
        assert [one["left_out"] for one in gateway.records()] == [{"features": "no key"}] * 3
        keys.write_text(new_key(), encoding="utf-8")
        assert gateway.ask(note="MARKER-7f3a").status_code == 200
        last = gateway.records()[-1]["features"]
    assert isinstance(last, dict)
    assert str(last["note"]).startswith("enc1:")
    assert found_on_disk(tmp_path / "home") == []
    said = [one.getMessage() for one in caplog.records if "NOT LOGGED" in one.getMessage()]
    assert len(said) == 1
    assert f"key file {keys} cannot be read" in said[0]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"log": {"encrypt": ["a"]}}, "key_variable"),
        ({"log": {"encrypt": ["a"], "key_variable": "K", "key_file": "/k"}}, "one of the two"),
        ({"log": {"encrypt": ["a"], "key_file": "k"}}, "absolute path"),
        ({"log": {"key_variable": "K"}}, "encrypt"),
        ({"log": {"encrypt": ["a"], "hash": ["a"], "key_variable": "K"}}, "hashed or dropped as well"),
        ({"unit": "a", "log": {"encrypt": ["a"], "key_variable": "K"}}, "is the unit"),
        (
            {"drill": {"every": "30d", "expires": "60d"}, "log": {"encrypt": ["a"], "key_variable": "K"}},
            "'drill' reads logged requests",
        ),
    ],
)
def test_what_encryption_does_not_cover_is_refused(changed: dict[str, object], says: str) -> None:
    """A policy that would write an encrypted column elsewhere, or cannot have its keys, is refused by rule."""
    with pytest.raises(Violation) as caught:
        parse_policy({**POLICY, **changed})
    assert says in f"{caught.value} {caught.value.path}"


def test_a_suite_and_a_slice_of_an_encrypted_column_are_refused(tmp_path: Path) -> None:
    """Results of expectations and slices name values, so neither may be of an encrypted column."""
    log = {"encrypt": ["a"], "key_variable": "K"}
    gates = {"errors": {"metric": "error_rate", "margin": "1pp", "by": ["a"]}}
    with pytest.raises(Violation, match="makes slices of 'a', whose values a verdict names"):
        parse_policy({**POLICY, "gates": gates, "log": log})
    policy = parse_policy({**POLICY, "log": log})
    suite = tmp_path / "suite.json"
    suite.write_text(
        json.dumps({"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}]})
    )
    assert len(find_encrypted_expectations(policy, suite)) == 1


def test_corrections_read_a_copy_of_the_log_with_the_keys_of_the_log(tmp_path: Path) -> None:
    """A copy of logged rows in another folder is decrypted by the decryptor that it is given, and else stays sealed."""
    keys = tmp_path / "keys"
    keys.write_text(new_key(), encoding="utf-8")
    hidden = Values(tmp_path / "hidden", keys)
    hidden.log(0, 3)
    shutil.copytree(hidden.root, tmp_path / "copy", ignore=shutil.ignore_patterns("encryption.json"))
    seen = []
    for decryptor in (build_column_decryptor(hidden.root, "m"), None):
        window = ReplayWindow(PredictionLog(tmp_path / "copy"), "m", 0.0, 1e9, decryptor=decryptor)
        seen.append([str(one.features["secret"])[:5] for one in window.latest_requests(3)])
        window.close()
    assert seen == [["0.012", "0.112", "0.212"], ["enc1:"] * 3]
