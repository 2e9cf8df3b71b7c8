"""Build the documentation as a site with Sphinx: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import generate

project = "Surefoot"
author = "The Surefoot authors"
copyright = author
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Surefoot"
html_show_sphinx = False
html_show_copyright = False
nitpicky = True
generate.write_pages()
