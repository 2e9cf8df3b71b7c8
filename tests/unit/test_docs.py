"""What the documents point to exists."""

import re
from pathlib import Path

import pytest

from surefoot.core.policy.parse import examine_policy
from tests.fakes import POLICY

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
CITED = re.findall(r"`(\w[\w/]*\.py)::(test_\w+)", (ROOT / "docs/failures.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), sorted(set(CITED)))
def test_cited_test_exists(file: str, name: str) -> None:
    """Every test that docs/failures.md cites is where it says."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_failures_cite_many_tests() -> None:
    """The table of failures is read, not passed over."""
    assert len(CITED) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document leads to a file."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_modules_exist(document: Path) -> None:
    """A module that a document names by its path is there, so that a rename reaches the documents too."""
    rooms = "|".join(sorted(path.name for path in (ROOT / "surefoot").iterdir() if path.is_dir()))
    path = rf"`((?:surefoot|{rooms}|replay|feature_tables|flows|tasks)/[a-z_/]+\.py)`"
    named = set(re.findall(path, document.read_text(encoding="utf-8")))
    folders = (ROOT, ROOT / "surefoot", ROOT / "surefoot" / "adapters")
    assert {name for name in named if not any((folder / name).is_file() for folder in folders)} == set()


def test_readme_is_short() -> None:
    """The README can be read in one sitting: under 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_every_key_of_a_policy_is_in_the_table() -> None:
    """The table of the whole file in docs/policy.md names every key that the parser knows outside of gates."""
    odd = {"zz": 1}
    value: dict[str, object] = {
        **{key: item for key, item in POLICY.items() if key not in {"traffic", "data", "bake", "steps"}},
        "traffic": {"requests_per_minute": 1, **odd},
        "data": {"suite": "m", **odd},
        "on": odd,
        "log": odd,
        "scoring": odd,
        "serving": odd,
        "steps": [
            {"shadow": {"window": "1d", "gates": ["errors"], **odd}},
            {"shadow": {"source": "live", "share": 20, "for": "1h", "gates": ["errors"], **odd}},
            {"approve": {"by": "team", **odd}},
            {"weight": 5, "hold": {"for": "1h", "gates": ["errors"], **odd}},
        ],
        "bake": {"for": "1h", "gates": ["errors"], **odd},
        **odd,
    }
    told = examine_policy(value).broken
    known = {
        (*(part for part in violation.path[:-1] if isinstance(part, str) and part != "steps"), key)
        for violation in told
        if violation.path[-1] == "zz"
        for key in violation.rule.partition("known here: ")[2].split(", ")
    }
    assert len({path[0] for path in known}) >= 12
    table = (ROOT / "docs" / "policy.md").read_text("utf-8").partition("## The whole file")[2].partition("## Gates")[0]
    named = set(re.findall(r"`(\.?\w[\w.]*)`", table))
    for path in known:
        if path[-1] in {
            "traffic",
            "data",
            "on",
            "log",
            "scoring",
            "serving",
            "bake",
            "shadow",
            "hold",
            "fallback",
            "drill",
            "approve",
            "artifacts",
            "retention",
        }:
            continue  # a section; its keys stand by themselves
        assert {".".join(path), f".{path[-1]}"} & named, path
