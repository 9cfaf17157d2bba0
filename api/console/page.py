# SPDX-License-Identifier: AGPL-3.0-or-later
"""One operator's page: what is shown, the keys, and the decisions. Blocking work always goes to a thread."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from nicegui import background_tasks, context, run, ui
from nicegui.events import GenericEventArguments, KeyEventArguments

from api.access import Right
from api.console import detail, overview, timeline
from api.console.detail import Asking
from api.console.login import login_text, who_html
from api.console.moments import clock_time
from api.console.overview import Listing, Sight
from api.console.parts import CAMERAS_PAGE, keys_html, page_frame, set_html
from api.console.snapshot import Snapshot, SnapshotReader
from api.console.texts import Language, Words
from api.errors import Forbidden, ListenerOverflow, NotAdmitted, TooManyListeners
from api.feed import JournalFeed, Listener
from api.guard import LOGIN
from api.operations import Operations
from api.services import Services
from events.alerts import Alert, Decision, DismissReason
from events.errors import (
    DecisionConflict,
    EventsError,
    IllegalDecision,
    StoreError,
    UnknownIncident,
    UnknownRevision,
)
from gridwatch.core.redact import redact

ASSETS: Final = Path(__file__).parent / "assets"
_PAGE_ROWS: Final = 50
_MOST_ROWS: Final = 400
_NOTE_S: Final = 3.0
_NOTE: Final = "return (document.querySelector('.gw-note') || {}).value || ''"
_SIGHT_S: Final = 2.0
_GATHER_S: Final = 0.15
_RETRY_S: Final = 2.0
_WAIT_S: Final = 30.0
_CLICK: Final = """(event) => {
  const target = event.target.closest('[data-do]');
  if (target === null) return;
  if (target.tagName === 'A') event.preventDefault();
  const note = document.querySelector('.gw-note');
  emit({act: target.dataset.do, arg: target.dataset.arg || '', note: note === null ? '' : note.value});
}"""


class ConsolePage:
    """One browser's page. Lives on the event loop; lives as long as its client."""

    def __init__(self, operations: Operations, feed: JournalFeed, services: Services, words: Words) -> None:
        self._operations, self._feed, self._clock, self._words = operations, feed, services.clock, words
        self._reader = SnapshotReader(operations, services)
        self._limit = _PAGE_ROWS
        self._chosen_id: str | None = None
        self._asking: Asking | None = None
        self._may_decide = operations.caller.may(Right.DECIDE)
        self._closed = self._following = False
        self._listener: Listener | None = None
        self._snapshot: Snapshot | None = None
        self._busy = asyncio.Lock()

    async def build(self) -> None:
        """Build the page with what is known now; the browser connects after it."""
        with page_frame(self._words) as self._root:
            with ui.element("header").classes("gw-head"):
                self._head = ui.html().classes("gw-head-line")
                self._not_live = ui.html().classes("gw-head-line")
                self._say_who()
            with ui.element("main").classes("gw-main"):
                with ui.element("nav").classes("gw-side"):
                    self._troubled = ui.html().classes("gw-troubled")
                    self._list = ui.html().classes("gw-list").props('role="listbox"')
                with ui.element("section").classes("gw-detail"):
                    self._title = ui.html().classes("gw-detail-head")
                    self._panel = ui.html()
                    with ui.element("div").classes("gw-columns"):
                        with ui.element("div").classes("gw-column"):
                            self._picture = ui.html()
                            self._timeline = ui.html()
                        self._facts = ui.html().classes("gw-column gw-facts")
            ui.html(_keys_html(self._words, decides=self._may_decide), tag="footer").classes("gw-keys")
        self._root.on("click", self._clicked, js_handler=_CLICK)
        ui.keyboard(self._pressed, ignore=["input", "select", "textarea"], repeating=False)
        await self.refresh()
        client = context.client
        client.on_delete(self.close)
        client.on_connect(self._connected)

    def _say_who(self) -> None:
        caller = self._operations.caller
        if not self._may_decide:
            self._root.classes("gw-reads")
        if caller.session is not None:
            ui.html(who_html(caller.name, self._words.language, reads=not self._may_decide))

    def close(self) -> None:
        """Stop listening: the browser is gone."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()

    async def refresh(self, changed: Collection[str] | None = None) -> None:
        """Read the lists again and show them; overlapping calls are put one after the other.

        Args:
            changed: the incidents with new rows; the timeline is read again only if the shown one is among them.
                None reads everything.
        """
        async with self._busy:
            asked = self._chosen_id
            snapshot = await run.io_bound(self._reader.read, asked, self._limit, self._snapshot, changed)
            if snapshot is None or self._closed or self._chosen_id != asked:
                return  # gone, or the operator moved on meanwhile: that move's own refresh is waiting
            self._snapshot = snapshot
            self._chosen_id = snapshot.chosen.id if snapshot.chosen else None
            self._show(snapshot)

    def _connected(self) -> None:
        if not self._following:
            self._following = True
            background_tasks.create(self._forever(self._follow), name="console follows the journal")
            background_tasks.create(self._forever(self._watch_sight), name="console watches the sight")

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self._closed:
            try:
                await step()
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

    async def _follow(self) -> None:
        try:
            self._listener = self._feed.listen()
        except (StoreError, TooManyListeners):
            set_html(self._not_live, overview.not_live_html(self._words))
            await self.refresh()
            await asyncio.sleep(_RETRY_S)
            return
        set_html(self._not_live, "")
        try:
            await self._listen(self._listener)
        except ListenerOverflow:
            await self.refresh()
        finally:
            self._feed.leave(self._listener)

    async def _listen(self, listener: Listener) -> None:
        await self.refresh()  # what happened between the page's build and now
        while not self._closed and (rows := await listener.take(_WAIT_S)) is not None:
            if rows:
                await asyncio.sleep(_GATHER_S)  # one refresh for changes that come together
                await self.refresh({row.incident_id for row in rows})
        self._closed = True

    async def _watch_sight(self) -> None:
        await asyncio.sleep(_SIGHT_S)
        if self._snapshot is not None and not self._closed:
            await self._refresh_sight(self._snapshot)

    async def _refresh_sight(self, snapshot: Snapshot) -> None:
        if not snapshot.sight.store_answers:
            await self.refresh()
            return
        sight = await run.io_bound(self._reader.sight)
        if sight is not None and not self._closed:
            self._show_sight(sight, snapshot.listing)

    # showing

    def _show(self, snapshot: Snapshot) -> None:
        words, now, chosen = self._words, snapshot.sight.now, snapshot.chosen
        self._show_sight(snapshot.sight, snapshot.listing)
        set_html(self._list, overview.list_html(snapshot.listing, self._chosen_id, snapshot.sight, words))
        set_html(self._title, detail.title_html(chosen, now, words))
        set_html(self._picture, detail.picture_html(chosen, now, words))
        set_html(self._facts, detail.facts_html(chosen, now, words))
        set_html(self._timeline, timeline.timeline_html(snapshot.rows, now, words, older=snapshot.older))
        set_html(self._panel, detail.panel_html(self._asking, words))

    def _show_sight(self, sight: Sight, listing: Listing) -> None:
        set_html(self._head, overview.head_html(sight, len(listing.pending), self._words))
        set_html(self._troubled, overview.troubled_html(sight, self._words))
        if not listing.in_order():
            set_html(self._list, overview.list_html(listing, None, sight, self._words))

    # what the operator does

    async def _clicked(self, event: GenericEventArguments) -> None:
        act, arg, note = (str(event.args.get(name, "")) for name in ("act", "arg", "note"))
        if act == "select":
            await self._choose(arg)
        elif act == "reason":
            await self._dismiss(arg, note)
        elif act == "confirm":
            await self._confirm(note)
        else:
            await self._act(act)

    async def _pressed(self, event: KeyEventArguments) -> None:
        modifiers = event.modifiers
        if not event.action.keydown or modifiers.ctrl or modifiers.alt or modifiers.meta:
            return
        key = event.key.name if len(event.key.name) > 1 else event.key.name.lower()
        reason = detail.reason_of_key(key) if self._asking is Asking.DISMISS else None
        if reason is not None:
            await self._dismiss(reason.value, await self._note())
        elif key == "c":
            await self._confirm(await self._note())
        elif key in _ACTS:
            await self._act(_ACTS[key])

    async def _note(self) -> str:
        """Return what stands in the note's field."""
        if self._asking is None:
            return ""
        with self._root:
            return str(await ui.run_javascript(_NOTE, timeout=_NOTE_S))

    async def _act(self, act: str) -> None:
        step = self._steps().get(act)
        if step is not None:
            await step()

    def _steps(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "next": lambda: self._move(1),
            "previous": lambda: self._move(-1),
            "pending": self._next_pending,
            "dismiss": self._ask_why,
            "cancel": lambda: self._ask(None),
            **{name: partial(self._open, name) for name in ("clip", "main-still", "main-clip")},
            "cameras": self._open_cameras,
            "language": self._switch_language,
            "more": self._show_more,
        }

    async def _choose(self, alert_id: str) -> None:
        self._chosen_id, self._asking = alert_id, None
        await self.refresh()
        ui.run_javascript("gridwatchScroll()")

    async def _move(self, step: int) -> None:
        shown = self._snapshot.listing.in_order() if self._snapshot else ()
        ids = [alert.id for alert in shown]
        if not ids:
            return
        at = ids.index(self._chosen_id) + step if self._chosen_id in ids else 0
        await self._choose(ids[min(max(at, 0), len(ids) - 1)])

    async def _next_pending(self) -> None:
        ids = [alert.id for alert in self._snapshot.listing.pending] if self._snapshot else []
        if not ids:
            return
        at = ids.index(self._chosen_id) + 1 if self._chosen_id in ids else 0
        await self._choose(ids[at % len(ids)])

    async def _ask_why(self) -> None:
        if not self._may_decide:
            self._tell(login_text("refused.role", self._words.language), "negative")
            return
        chosen = self._chosen()
        if chosen is not None and chosen.decision is not Decision.DISMISSED:
            await self._ask(Asking.DISMISS)

    async def _ask(self, asking: Asking | None) -> None:
        self._asking = asking
        set_html(self._panel, detail.panel_html(asking, self._words))

    def _chosen(self) -> Alert | None:
        """Return the alert that is shown; None while another one is being loaded: nobody decides unseen."""
        shown = self._snapshot.chosen if self._snapshot else None
        return shown if shown is not None and shown.id == self._chosen_id else None

    async def _open(self, evidence: str) -> None:
        chosen = self._chosen()
        if chosen is not None and (url := detail.evidence_urls(chosen).get(evidence)) is not None:
            ui.navigate.to(url, new_tab=True)

    async def _open_cameras(self) -> None:
        ui.navigate.to(CAMERAS_PAGE)

    async def _switch_language(self) -> None:
        other: Language = self._words.language.other
        ui.navigate.to(f"/?lang={other.value}")

    async def _show_more(self) -> None:
        self._limit = min(self._limit * 2, _MOST_ROWS)
        await self.refresh()

    async def _confirm(self, note: str) -> None:
        chosen = self._chosen()
        if chosen is None or chosen.decision is Decision.CONFIRMED:
            return
        if chosen.decision is Decision.DISMISSED and not note.strip():  # a changed decision needs its reason
            await self._ask(Asking.CHANGE)
            return
        await self._decide(
            "done.confirmed",
            lambda: self._operations.confirm(chosen.id, seen_revision=chosen.revision, note=note.strip()),
        )

    async def _dismiss(self, reason: str, note: str) -> None:
        chosen = self._chosen()
        if chosen is None or reason not in set(DismissReason):
            return
        await self._decide(
            "done.dismissed",
            lambda: self._operations.dismiss(
                chosen.id,
                seen_revision=chosen.revision,
                reason=DismissReason(reason),
                note=note.strip(),
            ),
        )

    async def _decide(self, done: str, decide: Callable[[], Alert]) -> None:
        """Record a decision on what the operator saw, and say what became of it."""
        try:
            await run.io_bound(decide)
        except NotAdmitted:
            self._leave()
            return
        except Forbidden:
            self._tell(login_text("refused.role", self._words.language), "negative")
        except EventsError as error:
            self._tell(self._refusal(error), "negative")
        else:
            self._asking = None
            self._tell(self._words(done), "positive")
        await self.refresh()

    def _refusal(self, error: EventsError) -> str:
        words = self._words
        if isinstance(error, DecisionConflict):
            at = clock_time(error.at, self._clock.now())
            return words(
                "refused.conflict", by=error.by, at=at, decision=words.of("decision", error.decision)
            )
        if isinstance(error, IllegalDecision):
            return words("refused.illegal", why=str(error))
        if isinstance(error, UnknownRevision):
            return words("refused.unseen")
        return words("refused.gone" if isinstance(error, UnknownIncident) else "refused.store")

    def _tell(self, text: str, mood: str) -> None:
        with self._root:
            ui.notify(text, type=mood, position="top", timeout=4_000 if mood == "positive" else 9_000)  # type: ignore[arg-type]


_ACTS: Final = {
    "j": "next",
    "ArrowDown": "next",
    "k": "previous",
    "ArrowUp": "previous",
    "n": "pending",
    "d": "dismiss",
    "Escape": "cancel",
    "o": "clip",
    "b": "main-still",
    "p": "main-clip",
    "v": "cameras",
    "l": "language",
}


def _keys_html(words: Words, *, decides: bool) -> str:
    deciding = ((("C",), "keys.confirm"), (("D",), "keys.dismiss")) if decides else ()
    keys = (
        (("J", "K"), "keys.move"),
        (("N",), "keys.pending"),
        *deciding,
        (("O",), "keys.clip"),
        (("V",), "keys.cameras"),
        (("L",), "keys.language"),
    )
    return keys_html(keys, words)
