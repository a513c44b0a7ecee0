"""Check without a network that the links of the built site lead somewhere.

``python docs/check_links.py docs/_build/html`` prints each link to a file, or to a
place in one, that does not exist, and fails if there is any. Links to other hosts are
left to ``make -C docs linkcheck``.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links |= {attrs[name] for name in ("href", "src") if attrs.get(name)}
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}


def broken_links(root):
    """Pairs of a page and a link in it that leads nowhere."""
    paths = [
        p for p in sorted(root.rglob("*.html")) if root / "_static" not in p.parents
    ]
    pages = {path: Page(path) for path in paths}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            anchor = unquote(parts.fragment)
            has_anchor = target not in pages or anchor in pages[target].anchors
            if not target.exists() or (anchor and not has_anchor):
                yield path.relative_to(root), link


if __name__ == "__main__":
    found = list(broken_links(Path(sys.argv[1]).resolve()))
    for page, link in found:
        print(f"{page}: {link}")
    sys.exit(bool(found))
