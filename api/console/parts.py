# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the console's pages have in common: the way between them, the line of keys, and changing what is shown."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Final, Protocol

from nicegui import ui
from nicegui.element import Element

from api.console.texts import Words

ALERTS_PAGE: Final = "/"
CAMERAS_PAGE: Final = "/cameras"
_TABS: Final = ((ALERTS_PAGE, "tab.alerts"), (CAMERAS_PAGE, "tab.cameras"))


class Shown(Protocol):
    """An element of the page that shows HTML."""

    @property
    def content(self) -> str:
        """What it shows."""
        ...

    def set_content(self, content: str) -> object:
        """Show something else."""
        ...


@contextmanager
def page_frame(words: Words) -> Iterator[Element]:
    """Yield the root of a page of the console, with the console's styles and script, its language and its words for ages."""
    ui.add_head_html('<link rel="stylesheet" href="/console/assets/console.css">')
    ui.add_body_html('<script defer src="/console/assets/console.js"></script>')
    with ui.element("div").classes("gw") as root:
        root.props["data-language"] = words.language.value
        root.props["data-times"] = json.dumps(words.group("time"), ensure_ascii=False)
        yield root


def tabs_html(here: str, pending: int, words: Words) -> str:
    """Return the way between the pages; the one to the alerts says how many wait for a review."""
    links = []
    for path, text in _TABS:
        count = f" <b>{pending}</b>" if path == ALERTS_PAGE and pending else ""
        current = ' aria-current="page"' if path == here else ""
        links.append(f'<a href="{path}"{current}>{escape(words(text))}{count}</a>')
    return f'<nav class="gw-tabs">{"".join(links)}</nav>'


def keys_html(keys: Sequence[tuple[Sequence[str], str]], words: Words) -> str:
    """Return the line of keys: pairs of their names and the key of their text."""
    return "".join(
        f"<span>{''.join(f'<kbd>{name}</kbd>' for name in names)} {words(text)}</span>"
        for names, text in keys
    )


def set_html(element: Shown, content: str) -> None:
    """Show `content`; an unchanged picture is not loaded again."""
    if element.content != content:
        element.set_content(content)
