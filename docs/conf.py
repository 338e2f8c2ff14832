"""The documentation as a static site: `make docs`. Sphinx reads the Markdown files that repository browsers show.

The source folder is the repository, so that pages may link to the README and to files of the code. The navigation is
made of the links of each index.md, under its headings: the index is the only list of pages.
"""

import re

from sphinx.application import Sphinx

project = "OrderFlow"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "tests/README.md"]
exclude_patterns = [".*", "build", "src"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # links to headings are checked, too
nitpicky = True

html_theme = "furo"
html_title = "OrderFlow"
html_extra_path = ["_redirect"]  # index.html of the site: the repository's root has no index
html_copy_source = False
html_show_copyright = False

_LINE = re.compile(r"^[-|] ?\[.*?\]\(([\w./-]+\.md)\)", re.MULTILINE)  # an entry of a list or table of pages


def add_navigation(_app: Sphinx, docname: str, content: list[str]) -> None:
    """Append to an index a hidden table of contents for each of its sections."""
    if not docname.endswith("/index"):
        return
    listed: set[str] = set()
    heading, *sections = re.split(r"^## ", content[0], flags=re.MULTILINE)
    for section in sections or [heading]:
        pages = [page for page in _LINE.findall(section) if page not in listed]
        listed.update(pages)
        caption = f":caption: {section.splitlines()[0]}\n" if sections else ""
        content[0] += "\n".join(["\n```{toctree}", f":hidden:\n{caption}", *pages, "```\n"])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
