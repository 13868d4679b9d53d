"""How Sphinx builds the documentation site: `make docs`. The sources are the Markdown files where they lie."""

from __future__ import annotations

from mtdense import __version__

project = "mtdense"
author = "The mtdense authors"
copyright = "The mtdense authors, MIT licence"  # noqa: A001
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]

# The source folder is the repository: links between pages are the same here and where the repository is browsed.
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "src/mtdense/models/*/README.md"]
exclude_patterns = ["build", "runs", ".venv", "venv"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Docstrings mark code by single backticks.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "mixed"
nitpicky = False

html_theme = "furo"
html_title = f"mtdense {__version__}"
html_show_sphinx = False
html_copy_source = False
templates_path: list[str] = []
pygments_style = "default"
pygments_dark_style = "monokai"
