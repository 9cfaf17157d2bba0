# SPDX-License-Identifier: AGPL-3.0-or-later
"""A page that stands alone: its frame, its looks and its tables. Knows nothing of what it shows."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5b6875;--line:#d9e0e6;--back:#fff;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa7b3;--line:#33404c;--back:#12181f;--card:#1a222b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0 auto;max-width:1080px;padding:24px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}h3{font-size:15px;margin:20px 0 6px}
p{margin:4px 0 10px}.soft{color:var(--soft)}.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:8px 0}
th,td{padding:5px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:16px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px}
.chart{width:100%;height:auto;font:12px system-ui,sans-serif}.chart text{fill:var(--soft)}.chart .head{fill:var(--ink);font-weight:600}
.chart .mid{text-anchor:middle}.chart .end{text-anchor:end}.chart .grid{stroke:var(--line)}.chart .mark{stroke:var(--back);stroke-width:2}
.legend{list-style:none;margin:4px 0 0;padding:0 0 0 44px;display:flex;flex-wrap:wrap;gap:4px 16px}
.legend i{display:inline-block;width:14px;height:4px;margin:0 6px 3px 0;border-radius:2px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:12px}
figure{margin:0}figure img{width:100%;border-radius:6px;display:block}figcaption{font-size:12px;color:var(--soft);overflow-wrap:anywhere}
"""


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """Return a whole page; `parts` are HTML, the rest is text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>{"".join(parts)}</body></html>\n'
    )


def section(title: str, *parts: str) -> str:
    """Return a heading and what stands under it."""
    return f"<h2>{escape(title)}</h2>{''.join(parts)}"


def text(words: str) -> str:
    """Return a paragraph of an explanation."""
    return f'<p class="soft">{escape(words)}</p>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts; the first column names the row."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figures(pictures: Iterable[tuple[str, str]]) -> str:
    """Return a gallery of (file, caption)."""
    items = "".join(
        f'<figure><img src="{escape(file)}" alt="{escape(caption)}" loading="lazy"><figcaption>{escape(caption)}</figcaption></figure>'
        for file, caption in pictures
    )
    return f'<div class="gallery">{items}</div>'
