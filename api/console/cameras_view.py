# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras' page as HTML: what fails together, every camera in red or green, and one of them. Pure text, escaped."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum, auto
from html import escape
from typing import Final
from urllib.parse import quote

from api.console.cameras_snapshot import CamerasSnapshot, is_troubled
from api.console.moments import clock_time, since
from api.console.overview import Sight
from api.console.texts import Words
from api.watching import SeenCamera, is_away
from events.operations_alert import Member, OperationsAlert
from events.times import utc_text
from gridwatch.core.camera import CameraStatus, SightState
from gridwatch.core.coverage import CameraDay

MEMBERS_SHOWN: Final = 50
_BAR: Final = (
    ("seeing_s", "seeing"),
    ("degraded_s", "degraded"),
    ("elsewhere_s", "degraded"),
    ("blind_s", "blind"),
    ("maintenance_s", "maintenance"),
    ("off_s", "off"),
)


class Accepting(Enum):
    """How far the one who looks has come with accepting what a camera shows."""

    NOT_ALLOWED = auto()
    OFFERED = auto()
    ASKED = auto()


def list_html(snapshot: CamerasSnapshot, selected: str | None, words: Words) -> str:
    """Return the list: what fails together first, then every camera, what does not see on top."""
    now = snapshot.sight.now
    parts = [_groups_html(snapshot.groups, selected, now, words)]
    heading = None
    for camera in snapshot.cameras:
        part = _part_of(camera.status)
        if part != heading:
            heading = part
            title = words(f"cameras.{part}", count=_count(snapshot, part))
            parts.append(f'<h2 class="gw-part">{escape(title)}</h2>')
        parts.append(_row(camera, snapshot.sight, words, chosen=camera.status.camera_id == selected))
    if not snapshot.cameras and not sum(snapshot.counts.values()):
        parts.append(f'<p class="gw-none">{escape(words("cameras.none"))}</p>')
    if snapshot.more:
        more = words("cameras.more", count=snapshot.more)
        parts.append(f'<button class="gw-more" data-do="more">{escape(more)}</button>')
    return "".join(parts)


def _part_of(status: CameraStatus) -> str:
    if status.state is SightState.SEEING:
        return "seeing"
    return "parked" if status.state in {SightState.OFF, SightState.MAINTENANCE} else "not_seeing"


def _count(snapshot: CamerasSnapshot, part: str) -> int:
    states = {
        "seeing": (SightState.SEEING,),
        "parked": (SightState.OFF, SightState.MAINTENANCE),
        "not_seeing": (SightState.BLIND, SightState.DEGRADED),
    }
    return sum(snapshot.counts[state] for state in states[part])


def _groups_html(
    groups: Sequence[OperationsAlert] | None, selected: str | None, now: datetime, words: Words
) -> str:
    if groups is None:
        return f'<p class="gw-none gw-bad">{escape(words("cameras.groups_unknown"))}</p>'
    title = f'<h2 class="gw-part gw-first">{escape(words("cameras.groups", count=len(groups)))}</h2>'
    if not groups:
        return f'{title}<p class="gw-none">{escape(words("cameras.no_groups"))}</p>'
    return title + "".join(_group(group, now, words, chosen=group.alert_id == selected) for group in groups)


def _group(alert: OperationsAlert, now: datetime, words: Words, *, chosen: bool) -> str:
    return (
        f'<div class="gw-cam gw-group gw-is-blind{_chosen(chosen)} data-do="select" data-arg="{escape(alert.alert_id)}">'
        f'<i class="gw-dot"></i><div class="gw-cam-text"><b>{escape(words.pick(alert.title()))}</b>'
        f"<span>{escape(_faults(alert, words))}</span></div>{since(alert.began_at, now, words)}</div>"
    )


def _faults(alert: OperationsAlert, words: Words) -> str:
    return " · ".join(f"{words.of('fault', fault)} {count}" for fault, count in alert.faults().items())


def _row(camera: SeenCamera, sight: Sight, words: Words, *, chosen: bool) -> str:
    status = camera.status
    minutes = camera.today.blind_s / 60 if camera.today else 0.0
    blind = (
        f"<small>{escape(words('camera.blind', minutes=f'{minutes:.0f}'))}</small>" if minutes >= 1 else ""
    )
    return (
        f'<div class="gw-cam gw-is-{status.state.value}{_chosen(chosen)} data-do="select" '
        f'data-arg="{escape(status.camera_id)}"><i class="gw-dot"></i><div class="gw-cam-text">'
        f"<b>{escape(status.name or status.camera_id)}</b><span>{escape(_state(camera, sight.run_mode, words))}</span></div>"
        f"<div class=gw-cam-side>{since(status.since, sight.now, words)}{blind}</div></div>"
    )


def _chosen(chosen: bool) -> str:
    return f'{" gw-chosen" if chosen else ""}" role="option" aria-selected="{str(chosen).lower()}"'


def _state(camera: SeenCamera, usual: str, words: Words) -> str:
    """Return a camera's state in words, what is wrong, its run mode where it is not the `usual` one, and notes."""
    status = camera.status
    parts = [words.of("state", status.state.value)]
    if status.fault is not None:
        parts.append(words.of("fault", status.fault.value))
    if camera.run_mode != usual:
        parts.append(words.of("mode", camera.run_mode))
    parts += [words.of("note", note.value) for note in status.notes]
    return " · ".join(parts)


def chosen_html(snapshot: CamerasSnapshot, words: Words, accepting: Accepting = Accepting.NOT_ALLOWED) -> str:
    """Return the camera or the operations alert beside the list."""
    chosen, now = snapshot.chosen, snapshot.sight.now
    if chosen is None:
        return f'<div class="gw-nothing">{escape(words("cameras.nothing"))}</div>'
    if isinstance(chosen, OperationsAlert):
        return _group_detail(chosen, now, words)
    return _head(chosen, snapshot.sight.run_mode, words, accepting) + (
        f'<div class="gw-columns"><div class="gw-column">{_picture(chosen.status, now, words)}</div>'
        f'<div class="gw-column gw-facts">{_facts(chosen, now, words)}{_days(snapshot.days, words)}</div></div>'
    )


def _head(camera: SeenCamera, usual: str, words: Words, accepting: Accepting) -> str:
    status = camera.status
    if not is_away(status):
        accepting = Accepting.NOT_ALLOWED
    reason = f"<p>{escape(words.phrase(status.reason))}</p>" if status.reason else ""
    mood = "gw-bad" if is_troubled(status) else "gw-good" if status.state is SightState.SEEING else "gw-warn"
    return (
        f'<div class="gw-title"><div><h1>{escape(status.name or status.camera_id)}'
        f'<span class="gw-chip {mood}">{escape(_state(camera, usual, words))}</span></h1>{reason}</div>'
        f"{_offer(accepting, words)}</div>{_question(accepting, words)}"
    )


def _offer(accepting: Accepting, words: Words) -> str:
    if accepting is not Accepting.OFFERED:
        return ""
    return (
        f'<div class="gw-actions"><button class="gw-do" data-do="accept">{escape(words("view.accept"))} '
        "<kbd>A</kbd></button></div>"
    )


def _question(accepting: Accepting, words: Words) -> str:
    if accepting is not Accepting.ASKED:
        return ""
    return (
        f'<div class="gw-panel" role="alertdialog"><b>{escape(words("view.ask"))}</b><div class="gw-reasons">'
        f'<button class="gw-do gw-do-confirm" data-do="accepted">{escape(words("view.yes"))} <kbd>Y</kbd></button>'
        f'<button class="gw-do" data-do="cancel">{escape(words("view.no"))} <kbd>Esc</kbd></button></div></div>'
    )


def _picture(status: CameraStatus, now: datetime, words: Words) -> str:
    """Return the last picture with its age; it is loaded anew when there is a newer one."""
    if status.last_look_at is None:
        return f'<div class="gw-no-still">{escape(words("camera.no_look"))}</div>'
    url = f"/api/v1/cameras/{quote(status.camera_id, safe='')}/picture?at={quote(utc_text(status.last_look_at))}"
    return (
        f'<figure><div class="gw-picture gw-live gw-is-{status.state.value}"><img src="{escape(url)}" alt=""></div>'
        f'<figcaption class="gw-caption"><span>{escape(words("camera.look"))} {clock_time(status.last_look_at, now)}</span>'
        f"{since(status.last_look_at, now, words)}</figcaption></figure>"
    )


def _facts(camera: SeenCamera, now: datetime, words: Words) -> str:
    status, today = camera.status, camera.today
    rows = [("camera.id", status.camera_id), ("camera.since", clock_time(status.since, now))]
    if camera.place:
        rows.append(("camera.place", words.of("place", camera.place)))
    rows.append(("detail.grid", camera.grid_name or words("detail.no_grid")))
    if today is not None:
        rows.append(("camera.blind_today", words("camera.minutes", minutes=f"{today.blind_s / 60:.1f}")))
    if status.clock_offset_s is not None:
        rows.append(("camera.clock", f"{round(status.clock_offset_s, 1) + 0.0:+.1f} s"))  # never -0.0
    if status.zones_suspended:
        rows.append(("camera.zones", words("camera.zones_suspended")))
    rows += [("camera.notes", words.of("note", note.value)) for note in status.notes]
    return f'<div class="gw-card">{_table(rows, words)}</div>'


def _table(rows: Iterable[tuple[str, str]], words: Words) -> str:
    cells = "".join(f"<tr><th>{escape(words(key))}</th><td>{escape(text)}</td></tr>" for key, text in rows)
    return f"<table>{cells}</table>"


def _days(days: Sequence[CameraDay], words: Words) -> str:
    """Return a bar for each day: what share of it the camera saw, and its blind minutes."""
    rows = "".join(_day(day, words) for day in days) or f"<p>{escape(words('camera.no_days'))}</p>"
    return (
        f'<div class="gw-card"><h2>{escape(words("camera.days"))}</h2><div class="gw-days">{rows}</div></div>'
    )


def _day(day: CameraDay, words: Words) -> str:
    total = day.wanted_s + day.off_s + day.maintenance_s
    pieces = "".join(
        f'<i class="gw-is-{state}" style="width:{100 * getattr(day, name) / total:.2f}%"></i>'
        for name, state in _BAR
        if total and getattr(day, name)
    )
    told = words("camera.blind", minutes=f"{day.blind_s / 60:.0f}")
    share = day.looked_at_share
    title = "" if share is None else words("camera.looked_at", share=f"{share:.1%}")
    return (
        f'<div class="gw-day" title="{escape(title)}"><span>{day.day:%m-%d}</span><div class="gw-bar">{pieces}</div>'
        f"<small>{escape(told)}</small></div>"
    )


def _group_detail(alert: OperationsAlert, now: datetime, words: Words) -> str:
    rows = [
        ("group.began", clock_time(alert.began_at, now)),
        ("group.count", f"{alert.count} / {alert.most}"),
        ("group.faults", _faults(alert, words)),
    ]
    shown = alert.members[:MEMBERS_SHOWN]
    left = alert.count - len(shown)
    more = f"<p>{escape(words('group.more', count=left))}</p>" if left > 0 else ""
    members = "".join(_member(member, now, words) for member in shown)
    return (
        f'<div class="gw-title"><div><h1>{escape(words.pick(alert.title()))}</h1></div></div>'
        f'<div class="gw-column gw-below"><div class="gw-card">{_table(rows, words)}</div>'
        f'<div class="gw-card"><h2>{escape(words("group.members"))}</h2><div class="gw-members">{members}</div>{more}</div></div>'
    )


def _member(member: Member, now: datetime, words: Words) -> str:
    reason = f" · {words.phrase(member.reason)}" if member.reason else ""
    return (
        f'<button class="gw-member" data-do="select" data-arg="{escape(member.subject)}"><b>{escape(member.name or member.subject)}</b>'
        f"<span>{escape(words.of('fault', member.fault) + reason)}</span>{since(member.since, now, words)}</button>"
    )
