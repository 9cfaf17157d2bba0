# SPDX-License-Identifier: AGPL-3.0-or-later
"""One alert as HTML: head and decisions, picture with boxes, facts, deadlines. Pure text, all escaped."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from html import escape
from typing import Final

from api.console.moments import clock_time, left
from api.console.overview import state_chips
from api.console.texts import Words
from events.alerts import CASE_OVER, Alert, CaseState, Decision, DismissReason
from gridwatch.core.finding import Box, Fact
from gridwatch.core.zone import Kind

_CALL_119_SEVERITY: Final = 2
_LABELLED_BOXES: Final = 8
_WHOLE_FROM: Final = 1_000
_DEADLINES: Final = ("review", "sign", "handle", "verify")
_WAY: Final = (CaseState.SIGNED, CaseState.HANDLED, CaseState.VERIFIED, CaseState.CLOSED)
_STEPS: Final = {"sign": CaseState.SIGNED, "handle": CaseState.HANDLED, "verify": CaseState.VERIFIED}
_REASONS: Final = tuple(DismissReason)


def needs_119(alert: Alert) -> bool:
    """Tell whether the call to 119 is shown: fire and smoke of level 1 or 2, at once, until somebody dismissed it."""
    urgent = alert.kind in {Kind.FIRE, Kind.SMOKE} and alert.severity <= _CALL_119_SEVERITY
    return urgent and alert.decision is not Decision.DISMISSED


def title_html(alert: Alert | None, now: datetime, words: Words) -> str:
    """Return the alert's head: what, where, the three fields, the call to 119, and the two decisions."""
    if alert is None:
        return f'<div class="gw-nothing">{escape(words("detail.none"))}</div>'
    return (
        f'<div class="gw-title gw-s{alert.severity}"><div><h1>{escape(words.pick(alert.title))}'
        f'<span class="gw-level">{escape(words.of("severity", str(alert.severity)))}</span>{state_chips(alert, words)}</h1>'
        f"<p>{escape(words.pick(alert.text))}</p>{_decided(alert, now, words)}</div>"
        f'<div class="gw-actions">{_actions(alert, words)}</div></div>{_call_119(alert, words)}{_conflict(alert, words)}'
    )


def _decided(alert: Alert, now: datetime, words: Words) -> str:
    decided = alert.decided
    if decided is None:
        return ""
    text = words(
        "detail.decided",
        by=decided.by,
        at=clock_time(decided.at, now),
        decision=words.of("decision", decided.decision.value),
    )
    rest = [words.of("reason", decided.reason)] if decided.reason else []
    rest += [decided.note] if decided.note else []
    return f'<p class="gw-decided">{escape(" · ".join([text, *rest]))}</p>'


def _actions(alert: Alert, words: Words) -> str:
    buttons = []
    if alert.decision is not Decision.CONFIRMED:
        buttons.append(_button("confirm", "C", words("do.confirm")))
    if alert.decision is not Decision.DISMISSED:
        buttons.append(_button("dismiss", "D", words("do.dismiss")))
    return "".join(buttons)


def _button(do: str, key: str, text: str, arg: str = "") -> str:
    return (
        f'<button class="gw-do gw-do-{do}" data-do="{do}" data-arg="{escape(arg)}" aria-keyshortcuts="{key}">'
        f"{escape(text)} <kbd>{key}</kbd></button>"
    )


def _call_119(alert: Alert, words: Words) -> str:
    if not needs_119(alert):
        return ""
    return (
        f'<div class="gw-119" role="alert"><b>{escape(words("call119"))}</b>'
        f"<span>{escape(words('call119.why'))}</span></div>"
    )


def _conflict(alert: Alert, words: Words) -> str:
    """Return the warning that the case system holds one of our messages with other content: nobody but people can tell why."""
    message = alert.handling.conflict if alert.handling else None
    if message is None:
        return ""
    return (
        f'<div class="gw-conflict" role="alert"><b>{escape(words("conflict"))}</b>'
        f"<span>{escape(words('conflict.why', message=message))}</span></div>"
    )


class Asking(StrEnum):
    """What the page asks before it records a decision."""

    DISMISS = "dismiss"  # why
    CHANGE = "change"  # why what was dismissed is confirmed after all


def panel_html(asking: Asking | None, words: Words) -> str:
    """Return the panel that asks; nothing where nothing is asked."""
    if asking is None:
        return ""
    group = asking.value
    if asking is Asking.DISMISS:
        buttons = "".join(
            _button("reason", str(number), words.of("reason", reason.value), reason.value)
            for number, reason in enumerate(_REASONS, start=1)
        )
    else:
        buttons = _button("confirm", "C", words("do.confirm"))
    return (
        f'<div class="gw-panel" role="dialog"><b>{escape(words.of(group, "title"))}</b>'
        f'<div class="gw-reasons">{buttons}</div>'
        f'<input class="gw-note" maxlength="500" placeholder="{escape(words.of(group, "note"))}">'
        f'<div class="gw-hint">{escape(words.of(group, "hint"))}{_button("cancel", "Esc", words("do.cancel"))}</div></div>'
    )


def reason_of_key(key: str) -> DismissReason | None:
    """Return the reason that a digit stands for."""
    return _REASONS[int(key) - 1] if key in {str(n + 1) for n in range(len(_REASONS))} else None


def picture_html(alert: Alert | None, now: datetime, words: Words) -> str:
    """Return the still with its boxes drawn over it, and the way to the clip."""
    if alert is None:
        return ""
    if alert.still is None:
        return f'<div class="gw-no-still">{escape(words("detail.no_still"))}</div>{_clip(alert, words)}{_main_stream(alert, words)}'
    still = alert.still
    labelled = len(alert.boxes) <= _LABELLED_BOXES
    boxes = "".join(_box(box, _label(box, words) if labelled else "") for box in alert.boxes)
    caption = f"{words('detail.captured')} {clock_time(still.captured_at, now)}"
    return (
        f'<div class="gw-picture" style="aspect-ratio:{still.width}/{still.height}">'
        f'<img src="/api/v1/alerts/{escape(alert.id)}/still?v={escape(still.sha256[:12])}" alt="{escape(words.pick(alert.title))}">'
        f'{boxes}</div><div class="gw-caption"><span>{escape(caption)}</span>{_clip(alert, words)}</div>'
        f"{_main_stream(alert, words)}"
    )


def _label(box: Box, words: Words) -> str:
    return f"<span>{escape(words.of('label', box.label))} {box.confidence:.2f}</span>"


def _box(box: Box, label: str) -> str:
    left_pc, top_pc = box.x0 * 100, box.y0 * 100
    width_pc, height_pc = (box.x1 - box.x0) * 100, (box.y1 - box.y0) * 100
    return (
        f'<div class="gw-box" style="left:{left_pc:.2f}%;top:{top_pc:.2f}%;width:{width_pc:.2f}%;height:{height_pc:.2f}%">'
        f"{label}</div>"
    )


def evidence_urls(alert: Alert) -> dict[str, str]:
    """Return where there is more to be looked at than the picture: clip, main-still, main-clip, those that there are."""
    main, place = alert.detail, f"/api/v1/alerts/{alert.id}"
    found = {
        "clip": (alert.clip.state == "ready", f"{place}/clip"),
        "main-still": (main is not None and main.still is not None, f"{place}/still?detail=true"),
        "main-clip": (main is not None and main.clip_sha256 is not None, f"{place}/clip?detail=true"),
    }
    return {name: url for name, (there, url) in found.items() if there}


def _clip(alert: Alert, words: Words) -> str:
    text = words.of("clip", alert.clip.state)
    if alert.clip.state != "ready":
        return f'<span class="gw-clip">{escape(text)}</span>'
    if alert.clip.pre_roll_s is not None and alert.clip.pre_roll_s < 0:
        text = words.of("clip", "late")
    return _link(alert, "clip", f"▶ {text}", "O")


def _link(alert: Alert, evidence: str, text: str, key: str) -> str:
    return (
        f'<a class="gw-clip gw-clip-ready" href="{escape(evidence_urls(alert)[evidence])}" data-do="{evidence}">'
        f"{escape(text)} <kbd>{key}</kbd></a>"
    )


def _main_stream(alert: Alert, words: Words) -> str:
    """Return the way to what the camera's main stream shows, where a smaller one is looked at."""
    main = alert.detail
    if main is None:
        return ""
    links = []
    if main.still is not None:
        text = f"⤢ {words('detail.main_still')} {main.still.width} × {main.still.height}"
        links.append(_link(alert, "main-still", text, "B"))
    if main.clip_sha256 is not None:
        links.append(_link(alert, "main-clip", f"▶ {words('detail.main_clip')}", "P"))
    return (
        f'<div class="gw-caption gw-main-stream"><span>{escape(words("detail.main"))}</span>'
        f"<span>{''.join(links)}</span></div>"
    )


def facts_html(alert: Alert | None, now: datetime, words: Words) -> str:
    """Return facts, place and deadlines as tables."""
    if alert is None:
        return ""
    return (
        _table(words("detail.facts"), _facts(alert, words))
        + _table(words("detail.due"), _deadlines(alert, now, words))
        + _table(words("detail.handling"), _case(alert, now, words))
        + _table(words("detail.place"), _place(alert, now, words))
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th>{escape(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<section class="gw-card"><h2>{escape(title)}</h2><table>{body}</table></section>' if body else ""


def _facts(alert: Alert, words: Words) -> Iterable[tuple[str, str]]:
    for name, value in alert.facts.items():
        yield words.of("fact", name), escape(_fact(name, value, words))
    if alert.confidence is not None:
        yield words("detail.confidence"), f"{alert.confidence:.2f}"


def _fact(name: str, value: Fact, words: Words) -> str:
    if value is None:
        return "–"
    if name.endswith("_share") and not isinstance(value, str):
        return f"{value:.1%}"
    if isinstance(value, str):
        return words.of("label", value)
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < _WHOLE_FROM else f"{value:.0f}"


def _place(alert: Alert, now: datetime, words: Words) -> Iterable[tuple[str, str]]:
    yield words("detail.camera"), _named(alert.camera_name, alert.camera_id)
    if alert.zone_id:
        yield words("detail.zone"), _named(alert.zone_name, alert.zone_id)
    if alert.grid_id:
        yield words("detail.grid"), _named(alert.grid_name or "", alert.grid_id)
    else:
        yield words("detail.grid"), escape(words("detail.no_grid"))
    if alert.address_text:
        yield words("detail.address"), escape(alert.address_text)
    yield words("detail.lane"), escape(words.of("lane", alert.lane.value))
    if alert.dept_hint:
        yield words("detail.unit"), escape(alert.dept_hint)
    yield words("detail.category"), escape(alert.category)
    yield from _times(alert, now, words)


def _case(alert: Alert, now: datetime, words: Words) -> Iterable[tuple[str, str]]:
    """Yield what the case system told: which case, how it stands, and each unit's own step, with what is missing."""
    if alert.case is CaseState.NONE and alert.case_id is None:
        return
    yield words("detail.case_state"), escape(words.of("case", alert.case.value))
    handling = alert.handling
    merged = handling is not None and handling.merged_into is not None
    if alert.case_id:
        yield words("detail.merged" if merged else "detail.case"), escape(alert.case_id)
    if handling is None:
        return
    for unit in handling.units:
        step = f"{escape(words.of('case', unit.state.value))} {clock_time(unit.at, now)}"
        yield words.of("unit", unit.role.value), f"{escape(unit.name or unit.code)}<small>{step}</small>"
    if handling.unsigned and alert.case not in CASE_OVER:
        names = "、".join(unit.name or unit.code for unit in handling.unsigned)
        yield words("detail.unsigned"), f'<b class="gw-missing">{escape(names)}</b>'
    if handling.reworks:
        yield words("detail.reworks"), str(handling.reworks)
    if handling.missing:
        numbers = ", ".join(str(number) for number in handling.missing)
        yield words("detail.missing"), f'<b class="gw-missing">{escape(numbers)}</b>'


def _times(alert: Alert, now: datetime, words: Words) -> Iterable[tuple[str, str]]:
    yield words("detail.began"), clock_time(alert.began_at, now)
    yield words("detail.opened"), clock_time(alert.opened_at, now)
    yield words("detail.last_seen"), clock_time(alert.last_seen_at, now)
    if alert.ended_at is not None:
        yield words("detail.ended"), clock_time(alert.ended_at, now)


def _named(name: str, code: str) -> str:
    return f"{escape(name or code)}<small>{escape(code)}</small>" if name and name != code else escape(code)


def _deadlines(alert: Alert, now: datetime, words: Words) -> Iterable[tuple[str, str]]:
    for name in _DEADLINES:
        due = alert.due.get(name)
        if due is None:
            continue
        rest = "✓" if _met(name, alert) else left(due, now, words)
        yield words.of("due", name), f"{clock_time(due, now)} {rest}"


def _met(deadline: str, alert: Alert) -> bool:
    """Tell whether the step that a deadline is for was taken; whether in time is the case system's to say."""
    if deadline == "review":
        return alert.decided is not None
    steps = _WAY[_WAY.index(_STEPS[deadline]) :]
    return alert.case in steps
