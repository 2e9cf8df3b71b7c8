"""The line on a version's page, for any text of its owner."""

import string

from hypothesis import given
from hypothesis import strategies as st

from surefoot.adapters.mlflow.runs.version_pages import (
    MAX_DESCRIPTION_LENGTH,
    OUTCOME_LINE_PREFIX,
    description_with_card,
    description_with_outcome,
)
from surefoot.core.served_versions.version_status import VersionStatus

OWNERS = st.text(max_size=300).filter(
    lambda text: not any(line.startswith(OUTCOME_LINE_PREFIX) for line in text.split("\n"))
)
REASONS = st.text(max_size=700)
LINKS = st.sampled_from(["", "http://127.0.0.1:5000/#/experiments/1/runs/2"])


def standing(outcome: str, reason: str) -> VersionStatus:
    """Where a version stands."""
    return VersionStatus("4", outcome, reason, "ab12", 1_700_000_000.0, 1_700_000_000.0, over=True)


@given(OWNERS, REASONS, REASONS, LINKS)
def test_the_owners_text_stays_and_the_line_is_replaced(text: str, first: str, second: str, link: str) -> None:
    """Whatever the owner wrote stays as it is; of two outcomes only the later one is there, in one line."""
    once = description_with_outcome(text, standing("Ramping", first), link)
    twice = description_with_outcome(once, standing("RolledBack", second), link)
    assert twice == description_with_outcome(text, standing("RolledBack", second), link)
    assert twice.startswith(text)
    assert [line.startswith(OUTCOME_LINE_PREFIX) for line in twice[len(text) :].split("\n") if line] == [True]
    assert description_with_outcome(twice, standing("RolledBack", second), link) == twice


@given(OWNERS, OWNERS, REASONS)
def test_what_the_owner_writes_around_the_line_stays(before: str, after: str, reason: str) -> None:
    """Text that the owner has written before and after the line stays when the line changes."""
    ours = description_with_outcome("", standing("Ramping", "x"), "")
    line = description_with_outcome("", standing("RolledBack", reason), "")
    assert (
        description_with_outcome(f"{before}\n{ours}\n{after}", standing("RolledBack", reason), "")
        == f"{before}\n{line}\n{after}"
    )


@given(st.integers(0, MAX_DESCRIPTION_LENGTH + 200), REASONS, LINKS)
def test_no_page_grows_beyond_what_mlflow_holds(length: int, reason: str, link: str) -> None:
    """A description is at most as long as MLflow's column; where there is no room for a line, it stays as it is."""
    text = (string.ascii_letters * 101)[:length]
    written = description_with_outcome(text, standing("RolledBack", reason), link)
    assert written == text or len(written) <= MAX_DESCRIPTION_LENGTH
    assert length > MAX_DESCRIPTION_LENGTH - 100 or OUTCOME_LINE_PREFIX in written


CARDS = st.text(min_size=1, max_size=400).filter(lambda text: not text.isspace())


@given(OWNERS, OWNERS, CARDS, CARDS, REASONS)
def test_a_card_is_one_block_that_is_replaced(before: str, after: str, first: str, second: str, reason: str) -> None:
    """Of two cards only the later one is there; what the owner wrote around it, and the outcome, stay as they are."""
    started = description_with_outcome(before, standing("Promoted", reason), "")
    once = description_with_card(started, first) + after
    twice = description_with_card(once, second)
    assert twice == description_with_card(started, second) + after
    assert description_with_card(twice, second) == twice
    assert twice.startswith(started)
    assert description_with_card(once, "") == once


@given(st.integers(0, MAX_DESCRIPTION_LENGTH + 200), CARDS)
def test_a_card_that_has_no_room_is_left_out(length: int, card: str) -> None:
    """A description is at most as long as MLflow's column."""
    text = (string.ascii_letters * 101)[:length]
    written = description_with_card(text, card)
    assert written == text or len(written) <= MAX_DESCRIPTION_LENGTH


def test_a_block_that_a_person_has_cut_is_theirs() -> None:
    """What is left of a block without its end stays, and a new block stands behind it."""
    once = description_with_card("ours", "card one")
    cut = once.partition("card one")[0] + "my words"
    assert description_with_card(cut, "card two").count("card two") == 1
    assert "my words" in description_with_card(cut, "card two")
    assert description_with_card(description_with_card(cut, "card two"), "card three").count("card") == 1
