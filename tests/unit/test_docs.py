"""What the documents point to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CITED = re.findall(r"`(\w[\w/]*\.py)::(test_\w+)", (ROOT / "docs/failures.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), sorted(set(CITED)))
def test_cited_test_exists(file: str, name: str) -> None:
    """Every test that docs/failures.md cites is where it says."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_failures_cite_many_tests() -> None:
    """The table of failures is read, not passed over."""
    assert len(CITED) > 20


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name
)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document leads to a file."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            assert (document.parent / link).exists(), link


def test_readme_is_short() -> None:
    """The README can be read in one sitting: under 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
