"""Whatever is typed as a reason can be kept, printed and sent."""

from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.journal.chain import canonical_bytes
from surefoot.core.operator_reason import MAX_REASON_LENGTH, NO_REASON_TEXT, clean_reason

ANY = st.text(st.characters(codec=None, categories=None), max_size=3000)


@given(ANY)
def test_every_reason_becomes_one_that_every_record_can_hold(typed: str) -> None:
    """A reason is one printable line of at most LONGEST characters that JSON, UTF-8 and a header of HTTP can carry."""
    kept = clean_reason(typed)
    assert 0 < len(kept.text) <= MAX_REASON_LENGTH
    assert kept.text.isprintable()
    assert canonical_bytes({"reason": kept.text})
    assert kept.text.encode().decode() == kept.text
    assert clean_reason(kept.text).text == kept.text


@given(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=MAX_REASON_LENGTH))
def test_an_ordinary_reason_is_kept_as_it_is(typed: str) -> None:
    """A reason of ordinary characters is not touched, and nothing is said of it."""
    assert clean_reason(typed).text == typed
    assert clean_reason(typed).changes == ""


def test_what_was_done_to_a_reason_is_said() -> None:
    """An empty, a long and an unreadable reason each name what was changed."""
    assert clean_reason("  \n ").text == NO_REASON_TEXT
    assert "it was empty" in clean_reason(" ").changes
    assert "shortened from 3,000 to 500 characters" in clean_reason("x" * 3000).changes
    assert (
        clean_reason("caf\udce9") == clean_reason("caf\N{REPLACEMENT CHARACTER}")
        or "replaced" in clean_reason("caf\udce9").changes
    )
    assert clean_reason("caf\udce9").text == "caf\N{REPLACEMENT CHARACTER}"
