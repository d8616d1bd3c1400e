"""A hook of MkDocs: links to the repository's files, which the site does not hold.

On disk ``../vqad/models/dsr.py`` leads to the file. On the site it leads to the module's page of
the API reference. A link to another file of the repository becomes its name.
"""

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[\w./-]+)\)")


def on_page_markdown(markdown: str, page: Any, files: Any, **kwargs: Any) -> str:
    """Called by MkDocs with the text of each page."""
    del kwargs
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(found: re.Match) -> str:
        text, link = found.groups()
        target = posixpath.normpath(posixpath.join("docs", folder, link))
        if target.startswith("docs/"):
            return found[0]
        module = target.removesuffix(".py").removesuffix("/__init__")
        for uri in (f"api/{module}.md", f"api/{module}/index.md"):
            if files.get_file_from_path(uri):
                # Text that is a qualified name leads to that name.
                name = text.strip("`")
                anchor = f"#{name}" if re.fullmatch(r"vqad\.[\w.]+", name) else ""
                return f"[{text}]({posixpath.relpath(uri, folder or '.')}{anchor})"
        return text if posixpath.basename(target) in text else f"{text} (`{target}`)"

    return _LINK.sub(replaced, markdown)
