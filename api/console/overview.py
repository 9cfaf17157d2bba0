# SPDX-License-Identifier: AGPL-3.0-or-later
"""The head line (the proof of sight) and the list of alerts, as HTML. Pure: a snapshot in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from api.console.icons import kind_icon
from api.console.moments import left, since
from api.console.parts import ALERTS_PAGE, tabs_html
from api.console.texts import Words
from api.console.timeline import unmatched_html
from api.watching import Coverage
from events.alerts import CASE_OVER, Alert, CaseState, Decision
from events.journal import Row
from gridwatch.core.camera import CameraStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen now.

    Attributes:
        troubled: some of the cameras that do not see, worst first.
        unmatched: the newest answers of a case system that belong to no alert, newest first.
        store_answers: whether the last read of the store succeeded.
    """

    coverage: Coverage
    troubled: tuple[CameraStatus, ...]
    run_mode: str
    now: datetime
    store_answers: bool
    unmatched: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The alerts shown: those that wait for an operator first, the most severe on top; each part newest first."""

    pending: tuple[Alert, ...]
    decided: tuple[Alert, ...]
    more: bool
    more_pending: bool

    def in_order(self) -> tuple[Alert, ...]:
        """Return all, as they stand in the list."""
        return self.pending + self.decided


def not_live_html(words: Words) -> str:
    """Return what says that changes are asked for, not heard of: they show later."""
    return f'<span class="gw-chip gw-bad gw-not-live">{escape(words("sight.not_live"))}</span>'


def head_html(sight: Sight, pending: int, words: Words, *, here: str = ALERTS_PAGE) -> str:
    """Return the head line of the page `here`: what is seen, what is not, and how fresh it is."""
    mode = words.of("mode", sight.run_mode) if sight.run_mode != "actual" else ""
    away = (
        "" if sight.store_answers else f'<span class="gw-chip gw-bad">{escape(words("sight.store"))}</span>'
    )
    return (
        f'<div class="gw-brand"><b>{escape(words("product"))}</b><span>{escape(words("subtitle"))}</span>'
        + (f'<em class="gw-mode">{escape(mode)}</em>' if mode else "")
        + f'</div>{tabs_html(here, pending, words)}<div class="gw-sight" data-now="{sight.now.isoformat()}" data-pending="{pending}">{away}{_proof(sight, words)}</div>'
        + '<button class="gw-lang" data-do="language" aria-keyshortcuts="L">'
        + f"{escape(words('language'))} <kbd>L</kbd></button>"
    )


def _proof(sight: Sight, words: Words) -> str:
    coverage = sight.coverage
    if coverage.seeing == 0:
        first = f'<span class="gw-chip gw-bad">{escape(words("sight.none"))}</span>'
    else:
        text = words("sight.seeing", seeing=coverage.seeing, cameras=coverage.cameras)
        first = f'<span class="gw-chip gw-good">{escape(text)}</span>'
    parts = [first]
    if coverage.blind:
        parts.append(
            f'<span class="gw-chip gw-bad">{escape(words("sight.blind", blind=coverage.blind))}</span>'
        )
    other = coverage.cameras - coverage.seeing - coverage.blind
    if other:
        parts.append(f'<span class="gw-chip gw-warn">{escape(words("sight.other", other=other))}</span>')
    parts.append(f'<span class="gw-chip">{escape(_oldest(coverage, words))}</span>')
    parts.append(f'<span class="gw-chip gw-bad gw-stale">{escape(words("sight.stale"))}</span>')
    return "".join(parts)


def _oldest(coverage: Coverage, words: Words) -> str:
    if coverage.oldest_look_s is None:
        return words("sight.no_look")
    return words("sight.oldest", age=f"{coverage.oldest_look_s:.1f}")


def troubled_html(sight: Sight, words: Words) -> str:
    """Return the cameras that do not see, with the reason and since when; and answers that nobody here asked for."""
    cameras = "".join(
        f'<div class="gw-trouble gw-is-{status.state.value}"><b>{escape(status.name or status.camera_id)}</b>'
        f"<span>{escape(words.of('state', status.state.value))}{_reason(status, words)}</span>"
        f"{since(status.since, sight.now, words)}</div>"
        for status in sight.troubled
    )
    return cameras + unmatched_html(sight.unmatched, sight.now, words)


def _reason(status: CameraStatus, words: Words) -> str:
    return f" · {escape(words.phrase(status.reason))}" if status.reason else ""


def list_html(listing: Listing, selected: str | None, sight: Sight, words: Words) -> str:
    """Return the list, never empty without the proof beside it."""
    if not listing.in_order():
        return _empty_html(sight, words)
    count = f"{len(listing.pending)}{'+' if listing.more_pending else ''}"
    parts = [f'<h2 class="gw-part gw-first">{escape(words("list.pending", count=count))}</h2>']
    if not listing.pending:
        none = words("list.none_pending" if sight.store_answers else "list.unknown")
        parts.append(f'<p class="gw-none">{escape(none)}</p>')
    parts.append(_rows(listing.pending, selected, sight.now, words))
    if listing.decided:
        parts.append(f'<h2 class="gw-part">{escape(words("list.decided"))}</h2>')
        parts.append(_rows(listing.decided, selected, sight.now, words))
    if listing.more or listing.more_pending:
        parts.append(f'<button class="gw-more" data-do="more">{escape(words("list.more"))}</button>')
    return "".join(parts)


def _empty_html(sight: Sight, words: Words) -> str:
    proof = f'<div class="gw-sight">{_proof(sight, words)}</div>'
    if not sight.store_answers:  # nothing was read: neither that there are no alerts nor why is known
        return f'<div class="gw-empty gw-bad"><h2>{escape(words("list.unknown"))}</h2>{proof}</div>'
    sees = sight.coverage.seeing > 0
    meaning = words("list.empty_proof" if sees else "list.empty_blind")
    mood = "gw-good" if sees else "gw-bad"
    return (
        f'<div class="gw-empty {mood}"><h2>{escape(words("list.empty"))}</h2>'
        f"{proof}<p>{escape(meaning)}</p></div>"
    )


def _rows(alerts: Sequence[Alert], selected: str | None, now: datetime, words: Words) -> str:
    return "".join(_row(alert, now, words, chosen=alert.id == selected) for alert in alerts)


def _row(alert: Alert, now: datetime, words: Words, *, chosen: bool) -> str:
    classes = f"gw-row gw-s{alert.severity} gw-{alert.decision.value} gw-{alert.activity.value}"
    grid = alert.grid_name or words("detail.no_grid")
    return (
        f'<div class="{classes}{" gw-chosen" if chosen else ""}" role="option" aria-selected="{str(chosen).lower()}" '
        f'data-do="select" data-arg="{escape(alert.id)}">{kind_icon(alert.kind)}'
        f'<div class="gw-row-text"><div class="gw-row-title"><b>{escape(words.pick(alert.title))}</b>'
        f"{since(alert.opened_at, now, words)}</div>"
        f'<div class="gw-row-place">{escape(alert.camera_name or alert.camera_id)} · {escape(grid)}</div>'
        f'<div class="gw-row-state"><span class="gw-level">{escape(words.of("severity", str(alert.severity)))}</span>'
        f"{_row_chips(alert, words)}{_row_due(alert, now, words)}</div></div></div>"
    )


def _row_due(alert: Alert, now: datetime, words: Words) -> str:
    due = alert.due.get("review")
    return left(due, now, words) if due is not None and alert.decision is Decision.PENDING else ""


def _row_chips(alert: Alert, words: Words) -> str:
    """Return what matters in a row: where it waits, whether it goes on; where it is decided, what became of it."""
    if alert.decision is Decision.PENDING:
        return _handling(alert, words, "conflict") + _chips([("activity", alert.activity.value)], words)
    case = [] if alert.case is CaseState.NONE else [("case", alert.case.value)]
    chips = [("decision", alert.decision.value), *case, ("activity", alert.activity.value)]
    return _handling(alert, words, "conflict") + _chips(chips, words)


def state_chips(alert: Alert, words: Words) -> str:
    """Return the three fields, each as a chip; the case only once there is one."""
    case = [] if alert.case is CaseState.NONE else [("case", alert.case.value)]
    chips = [("activity", alert.activity.value), ("decision", alert.decision.value), *case]
    return _chips(chips, words) + _handling(alert, words, "conflict", "merged", "unsigned", "missing")


def _handling(alert: Alert, words: Words, *shown: str) -> str:
    """Return as chips what somebody must see of the case beside its state."""
    handling = alert.handling
    if handling is None:
        return ""
    told = {
        "conflict": handling.conflict is not None,
        "merged": handling.merged_into is not None,
        "unsigned": handling.unsigned and alert.case not in CASE_OVER,
        "missing": handling.missing,
    }
    return "".join(
        f'<span class="gw-tag gw-tag-handling-{word}">'
        f"{escape(words(f'handling.{word}', count=len(handling.unsigned)))}</span>"
        for word in shown
        if told[word]
    )


def _chips(chips: Sequence[tuple[str, str]], words: Words) -> str:
    return "".join(
        f'<span class="gw-tag gw-tag-{group}-{word}">{escape(words.of(group, word))}</span>'
        for group, word in chips
    )
