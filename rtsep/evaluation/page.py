"""One page that holds all it shows and asks nothing of any network."""

from __future__ import annotations

import base64
from html import escape


def page(title: str, body: str) -> str:
    """A whole HTML document.

    Args:
        title: heading, plain text.
        body: HTML below it.
    """
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def image(png: bytes, alt: str) -> str:
    """A picture, with its data inside. A narrow screen scrolls it, and does not make it too small to read.

    Args:
        png: its file.
        alt: what it shows, plain text.
    """
    data = base64.b64encode(png).decode("ascii")
    return f'<div class=wide><img alt="{escape(alt)}" src="data:image/png;base64,{data}"></div>'


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}
h2{font-size:1.15rem;margin-top:2rem}h3{font-size:1rem;margin-top:2rem}
table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;text-align:left;
border-bottom:1px solid #ddd}td.number{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}img{max-width:max(100%,42rem)}
.sounds{display:flex;flex-wrap:wrap;gap:.5rem 1rem}figure{margin:0}figcaption{font-size:.85rem}
pre{overflow-x:auto}
""".replace("\n", "")
