"""The documentation as a site, in a browser."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.sweeps import in_turns

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it: a warning is an error."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs"), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    "name",
    in_turns(
        ["index.html", "tutorial.html", "how-to/own-model.html", "reference/commands.html"],
        lambda name: name in {"index.html", "reference/commands.html"},
    ),
)
def test_a_page_reads_well_without_another_host(site: Path, page: Page, name: str, width: int) -> None:
    """A page asks no other host for anything, says nothing on the console, and is not wider than the screen."""
    asked: list[str] = []
    said: list[str] = []
    page.set_viewport_size({"width": width, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / name).as_uri(), wait_until="load")
    assert [url for url in asked if not url.startswith("file:")] == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1


def test_every_page_is_in_the_menu(site: Path, page: Page) -> None:
    """From the first page each document is reached by the menu."""
    page.goto((site / "index.html").as_uri(), wait_until="load")
    found = page.evaluate("[...document.querySelectorAll('.sidebar-tree a')].map(one => one.getAttribute('href'))")
    wanted = {str(file.relative_to(site)) for file in site.rglob("*.html")} - {
        "genindex.html",
        "search.html",
        "index.html",
    }
    assert {name for name in wanted if not name.startswith("adr/0")} <= set(found)
