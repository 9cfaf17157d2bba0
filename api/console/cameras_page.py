# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras' page: what fails, which cameras see, and one of them. Decides nothing; blocking work goes to a thread."""

import asyncio
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Final, Literal

import structlog
from nicegui import background_tasks, context, run, ui
from nicegui.events import GenericEventArguments, KeyEventArguments

from api.access import Right
from api.console import cameras_view, overview
from api.console.cameras_snapshot import CamerasSnapshot, CamerasSnapshotReader
from api.console.cameras_view import Accepting
from api.console.login import who_html
from api.console.parts import ALERTS_PAGE, CAMERAS_PAGE, keys_html, page_frame, set_html
from api.console.texts import Words
from api.errors import Forbidden, NoOtherView, NotAdmitted, UnknownCamera
from api.guard import LOGIN
from api.operations import Operations
from api.services import Services
from api.watching import SeenCamera, is_away
from events.errors import StoreError
from gridwatch.core.redact import redact

_ROWS: Final = 100
_MOST_ROWS: Final = 2_000
_EVERY_S: Final = 2.0
_RETRY_S: Final = 2.0
_CLICK: Final = """(event) => {
  const target = event.target.closest('[data-do]');
  if (target !== null) emit({act: target.dataset.do, arg: target.dataset.arg || ''});
}"""
_ACTS: Final = MappingProxyType(
    {
        "j": "next",
        "ArrowDown": "next",
        "k": "previous",
        "ArrowUp": "previous",
        "n": "troubled",
        "f": "filter",
        "a": "accept",
        "y": "accepted",
        "Escape": "cancel",
        "v": "alerts",
        "l": "language",
    }
)
_KEYS: Final = (
    (("J", "K"), "keys.move"),
    (("N",), "keys.troubled"),
    (("F",), "keys.filter"),
    (("A",), "keys.accept"),
    (("V",), "keys.alerts"),
    (("L",), "keys.language"),
)


class CamerasPage:
    """One browser's page of cameras. Lives on the event loop; lives as long as its client."""

    def __init__(self, operations: Operations, services: Services, words: Words) -> None:
        self._operations, self._words = operations, words
        self._reader = CamerasSnapshotReader(operations, services)
        self._limit, self._only_troubled = _ROWS, False
        self._chosen_id: str | None = None
        self._asked_id: str | None = None  # whose view is asked about
        self._may_accept = operations.caller.may(Right.DECIDE)
        self._snapshot: CamerasSnapshot | None = None
        self._closed = self._following = False
        self._busy = asyncio.Lock()

    async def build(self) -> None:
        """Build the page with what is known now; the browser connects after it."""
        with page_frame(self._words) as self._root:
            with ui.element("header").classes("gw-head"):
                self._head = ui.html().classes("gw-head-line")
                caller = self._operations.caller
                if caller.session is not None:
                    ui.html(who_html(caller.name, self._words.language, reads=False))
            with ui.element("main").classes("gw-main"):
                with ui.element("nav").classes("gw-side"):
                    self._filter = ui.html().classes("gw-filter")
                    self._list = ui.html().classes("gw-list").props('role="listbox"')
                self._detail = ui.html(tag="section").classes("gw-detail")
            keys = [key for key in _KEYS if self._may_accept or key[1] != "keys.accept"]
            ui.html(keys_html(keys, self._words), tag="footer").classes("gw-keys")
        self._root.on("click", self._clicked, js_handler=_CLICK)
        ui.keyboard(self._pressed, ignore=["input", "select", "textarea"], repeating=False)
        await self.refresh()
        client = context.client
        client.on_delete(self.close)
        client.on_connect(self._connected)

    def close(self) -> None:
        """Stop reading: the browser is gone."""
        self._closed = True

    async def refresh(self) -> None:
        """Read anew and show it; overlapping calls are put one after the other."""
        async with self._busy:
            asked = self._chosen_id
            snapshot = await run.io_bound(self._read, asked)
            if snapshot is None or self._closed or self._chosen_id != asked:
                return  # gone, or moved on meanwhile: that move's own refresh is waiting
            self._snapshot = snapshot
            self._show(snapshot)

    def _read(self, chosen_id: str | None) -> CamerasSnapshot:
        return self._reader.read(chosen_id, self._limit, only_troubled=self._only_troubled)

    def _show(self, snapshot: CamerasSnapshot) -> None:
        words = self._words
        head = overview.head_html(snapshot.sight, snapshot.pending or 0, words, here=CAMERAS_PAGE)
        set_html(self._head, head)
        text = words("cameras.all" if self._only_troubled else "cameras.only")
        set_html(self._filter, f'<button class="gw-lang" data-do="filter">{text} <kbd>F</kbd></button>')
        set_html(self._list, cameras_view.list_html(snapshot, self._shown_id(), words))
        set_html(self._detail, cameras_view.chosen_html(snapshot, words, self._accepting()))

    def _accepting(self) -> Accepting:
        if not self._may_accept:
            return Accepting.NOT_ALLOWED
        asked = self._asked_id is not None and self._asked_id == self._shown_id()
        return Accepting.ASKED if asked else Accepting.OFFERED

    def _shown_id(self) -> str | None:
        return self._snapshot.chosen_key if self._snapshot else None

    def _connected(self) -> None:
        if not self._following:
            self._following = True
            background_tasks.create(self._follow(), name="console follows the cameras")

    async def _follow(self) -> None:
        while not self._closed:
            try:
                await asyncio.sleep(_EVERY_S)
                await self.refresh()
            except NotAdmitted:
                self._leave()
            except Exception as error:  # noqa: BLE001  the task's top loop: the page must not stand still unnoticed
                structlog.get_logger("api").warning("console_step_failed", error=redact(repr(error)))
                await asyncio.sleep(_RETRY_S)

    def _leave(self) -> None:
        """Go where a token is typed: the session is over, or its token has ended."""
        self.close()
        with self._root:
            ui.navigate.to(LOGIN)

    # what the operator does

    async def _clicked(self, event: GenericEventArguments) -> None:
        act, arg = (str(event.args.get(name, "")) for name in ("act", "arg"))
        if act == "select":
            await self._choose(arg)
        else:
            await self._act(act)

    async def _pressed(self, event: KeyEventArguments) -> None:
        modifiers = event.modifiers
        if not event.action.keydown or modifiers.ctrl or modifiers.alt or modifiers.meta:
            return
        key = event.key.name if len(event.key.name) > 1 else event.key.name.lower()
        await self._act(_ACTS.get(key, ""))

    async def _act(self, act: str) -> None:
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "next": lambda: self._move(1),
            "previous": lambda: self._move(-1),
            "troubled": self._next_troubled,
            "filter": self._switch_filter,
            "more": self._show_more,
            "accept": self._ask,
            "accepted": self._accept,
            "cancel": self._cancel,
            "alerts": lambda: self._go(ALERTS_PAGE),
            "language": lambda: self._go(f"{CAMERAS_PAGE}?lang={self._words.language.other.value}"),
        }
        if act in steps:
            await steps[act]()

    async def _choose(self, key: str) -> None:
        self._chosen_id, self._asked_id = key, None
        try:
            await self.refresh()
        except NotAdmitted:
            self._leave()
            return
        ui.run_javascript("gridwatchScroll()")

    async def _move(self, step: int) -> None:
        keys = self._snapshot.keys() if self._snapshot else []
        if not keys:
            return
        shown = self._shown_id()
        at = keys.index(shown) + step if shown in keys else 0
        await self._choose(keys[min(max(at, 0), len(keys) - 1)])

    async def _next_troubled(self) -> None:
        keys = self._snapshot.troubled() if self._snapshot else []
        if keys:
            shown = self._shown_id()
            at = keys.index(shown) + 1 if shown in keys else 0
            await self._choose(keys[at % len(keys)])

    async def _switch_filter(self) -> None:
        self._only_troubled = not self._only_troubled
        await self.refresh()

    async def _ask(self) -> None:
        shown = self._snapshot.chosen if self._snapshot else None
        if self._may_accept and isinstance(shown, SeenCamera) and is_away(shown.status):
            self._asked_id = shown.status.camera_id
            await self.refresh()

    async def _cancel(self) -> None:
        self._asked_id = None
        await self.refresh()

    async def _accept(self) -> None:
        """Accept the view that was asked about, and say what became of it."""
        camera_id, self._asked_id = self._asked_id, None
        if camera_id is None or camera_id != self._shown_id():
            return
        try:
            await run.io_bound(lambda: self._operations.accept_view(camera_id))
        except NotAdmitted:
            self._leave()
            return
        except (Forbidden, UnknownCamera, NoOtherView, StoreError) as error:
            refusals = {Forbidden: "view.refused", UnknownCamera: "view.gone", NoOtherView: "view.no_other"}
            self._tell(self._words(refusals.get(type(error), "refused.store")), "negative")
        else:
            self._tell(self._words("view.accepted"), "positive")
        await self.refresh()

    def _tell(self, text: str, mood: Literal["positive", "negative"]) -> None:
        with self._root:
            ui.notify(text, type=mood, position="top", timeout=4_000 if mood == "positive" else 9_000)

    async def _show_more(self) -> None:
        self._limit = min(self._limit * 2, _MOST_ROWS)
        await self.refresh()

    async def _go(self, path: str) -> None:
        ui.navigate.to(path)
