# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who calls, and what they may do: tokens, sessions that a token opened, and signed links. Not how it comes over HTTP.

Before the first token was made nobody needs one, and then only who calls from this machine is served at all
(`api.guard`). From the first token on, everybody needs one; that all of them have ended opens nothing again.
"""

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import structlog

from api.errors import Forbidden, NotAdmitted
from api.signing import Signer
from api.throttle import Throttle
from events.errors import StoreError
from events.roles import Role
from events.tokens import Token, TokenBook, digest, ending_soon, seconds_to_first_end
from gridwatch.core.clock import Clock

log = structlog.get_logger("api")

REFRESH_S: Final = 1.0  # a revoked token is refused at the latest after this
SESSION_S: Final = 12 * 3_600.0
LINK_MOST_S: Final = 7 * 86_400
_NOTE_USE_S: Final = 300.0
_ENDED_MOST: Final = 1_000
_WARN_EVERY_S: Final = 86_400.0
_SESSION, _LINK = "session", "link"


class Right(StrEnum):
    """What a caller may do."""

    SEE = "see"  # alerts, their clean pictures and clips, cameras, counts
    DECIDE = "decide"
    EVIDENCE = "evidence"  # what may leave, by its hash
    SHARE = "share"  # give out signed links to it
    MESSAGES = "messages"
    REPLY = "reply"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({Right.SEE, Right.EVIDENCE}),
        Role.OPERATOR: frozenset({Right.SEE, Right.DECIDE, Right.EVIDENCE, Right.SHARE}),
        Role.INTEGRATOR: frozenset({Right.EVIDENCE, Right.SHARE, Right.MESSAGES, Right.REPLY}),
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: what decisions are recorded under: a token's name; before there are tokens, the door that was used.
        token_id: the token that admits the caller; None before there are tokens, and for nobody.
        session: the session that was shown instead of the token.
        until_s: when that session, or the link that was used, is over (seconds since 1970); None where the token came itself.
    """

    name: str
    rights: frozenset[Right]
    token_id: str | None = None
    session: str | None = None
    until_s: int | None = None

    def may(self, right: Right) -> bool:
        """Tell whether the caller's role has a right; `Access.need` also asks whether it still admits the caller."""
        return right in self.rights


NOBODY: Final = Caller("nobody", frozenset())


class Access:
    """The tokens as they were at most a second ago, and the signatures. Methods that read the store say so.

    While the store does not answer, what was known last stands.
    """

    def __init__(self, tokens: TokenBook, signer: Signer, clock: Clock) -> None:
        self._tokens, self._signer, self._clock = tokens, signer, clock
        self._by_hash: Mapping[str, Token] | None = None
        self._by_id: Mapping[str, Token] = {}
        self._read_mono_s = 0.0
        self._used: dict[str, float] = {}  # token id → when its use was noted last
        self._to_note: set[str] = set()
        self._ended: dict[str, float] = {}  # sessions that were ended before their time → their time
        self._lock, self._refreshing = threading.Lock(), threading.Lock()
        self.wrong_tokens, self.wrong_logins = Throttle(clock), Throttle(clock)
        self._warned_mono_s: float | None = None

    # the tokens

    @property
    def stale(self) -> bool:
        """Whether `refresh` is due."""
        return self._by_hash is None or self._clock.mono_s() - self._read_mono_s >= REFRESH_S

    def refresh(self) -> None:
        """Read the tokens where that is due. Reads the store.

        Raises:
            StoreError: it does not answer, and never did.
        """
        if not self._refreshing.acquire(blocking=self._by_hash is None):
            return  # somebody is reading them; a store that hangs holds up one caller, not all
        try:
            if self.stale:
                self._read()
        finally:
            self._refreshing.release()

    def _read(self) -> None:
        try:
            found = self._tokens.by_hash()
        except StoreError:
            if self._by_hash is None:
                raise
        else:
            self._by_id = {token.token_id: token for token in found.values()}
            self._by_hash = found
            self._note_use()
            self._warn_of_ends()
        self._read_mono_s = self._clock.mono_s()

    def _warn_of_ends(self) -> None:
        """Say in the log, once a day, that a token ends soon: who needs it goes blind otherwise."""
        now_mono_s = self._clock.mono_s()
        if self._warned_mono_s is None or now_mono_s - self._warned_mono_s >= _WARN_EVERY_S:
            ending = ending_soon(self._by_id.values(), self._clock.now())
            for token in ending:
                log.warning("token_ends_soon", name=token.name, id=token.token_id, at=str(token.expires_at))
            self._warned_mono_s = now_mono_s if ending else None

    @property
    def guarded(self) -> bool:
        """Whether everybody needs a token: one was made. True as long as nobody knows."""
        return self._by_hash is None or bool(self._by_hash)

    def now(self) -> datetime:
        """Return the time by which tokens are judged."""
        return self._clock.now()

    def all_tokens(self) -> list[Token]:
        """Return every token, those that have ended too. Reads the store."""
        return self._tokens.all()

    def first_end_s(self) -> float:
        """Return in how many seconds the first valid token ends; NaN where none is valid, infinity where none ends."""
        now = self._clock.now()
        return seconds_to_first_end(self._by_id.values(), now)

    def by_token(self, secret: str) -> Caller | None:
        """Return who brings a token; None where it admits nobody."""
        return self._caller((self._by_hash or {}).get(digest(secret)))

    def need(self, caller: Caller, right: Right) -> None:
        """Check that `caller` is still admitted and may do it. Reads the store.

        Raises:
            NotAdmitted: its token has ended, or it has none and needs one by now.
            Forbidden: its role has no such right.
            StoreError: the store does not answer, and never did.
        """
        self.refresh()
        if not self._stands(caller):
            raise NotAdmitted
        if not caller.may(right):
            raise Forbidden(caller.name, right.value)

    def _stands(self, caller: Caller) -> bool:
        if caller.token_id is None:
            return not self.guarded
        now, token = self._clock.now(), self._by_id.get(caller.token_id)
        over = caller.session in self._ended or (
            caller.until_s is not None and now.timestamp() >= caller.until_s
        )
        return token is not None and token.admits(now) and not over

    def _caller(self, token: Token | None) -> Caller | None:
        if token is None or token.role is None or not token.admits(self._clock.now()):
            return None
        self._saw(token.token_id)
        return Caller(token.name, RIGHTS[token.role], token.token_id)

    def _saw(self, token_id: str) -> None:
        now = self._clock.mono_s()
        with self._lock:
            if now - self._used.get(token_id, -_NOTE_USE_S) >= _NOTE_USE_S:
                self._used[token_id] = now
                self._to_note.add(token_id)

    def _note_use(self) -> None:
        with self._lock:
            due, self._to_note = self._to_note, set()
            self._used = {one: at for one, at in self._used.items() if one in self._by_id}
        if due:
            try:
                self._tokens.note_used(due)
            except StoreError:  # when a token was last used is worth no failure
                return

    # sessions: what a browser shows instead of the token that was typed once

    def open_session(self, caller: Caller) -> tuple[str, float]:
        """Return a session for a caller with a token, and for how many seconds it is good."""
        token = self._by_id[caller.token_id or ""]
        now = self._clock.now()
        until = now + timedelta(seconds=SESSION_S)
        if token.expires_at is not None:
            until = min(until, token.expires_at)
        parts = (token.token_id, secrets.token_urlsafe(9), _seconds(until))
        return ".".join((*parts, self._signer.sign(_SESSION, *parts))), (until - now).total_seconds()

    def by_session(self, session: str) -> Caller | None:
        """Return whose session this is; None where it is none, is over, or its token has ended."""
        parts = session.split(".")
        if len(parts) != 4 or not self._signer.holds(parts[3], _SESSION, *parts[:3]):  # noqa: PLR2004  as made above
            return None
        if self._over(parts[2]) or parts[1] in self._ended:
            return None
        caller = self._caller(self._by_id.get(parts[0]))
        return None if caller is None else replace(caller, session=parts[1], until_s=int(parts[2]))

    def end_session(self, session: str) -> None:
        """Let a session admit nobody from now on; a restart forgets that, but the browser has dropped it by then."""
        parts = session.split(".")
        if self.by_session(session) is None:
            return
        now = self._clock.now().timestamp()
        with self._lock:
            left = {one: until for one, until in self._ended.items() if until > now}
            for oldest in list(left)[: max(0, len(left) - _ENDED_MOST + 1)]:
                del left[oldest]
            self._ended = left | {parts[1]: float(parts[2])}

    # links: what opens one path to whoever holds it

    def sign_link(self, caller: Caller, path: str, valid_s: int) -> tuple[str, datetime]:
        """Return the query that opens `path` for a while, at most as long as the caller's token is valid; and until when."""
        until = self._clock.now() + timedelta(seconds=valid_s)
        token = self._by_id.get(caller.token_id or "")
        if token is not None and token.expires_at is not None:
            until = min(until, token.expires_at)
        by, exp = caller.token_id or "", _seconds(until)
        query = f"exp={exp}&by={by}&sig={self._signer.sign(_LINK, path, exp, by)}"
        return query, datetime.fromtimestamp(int(exp), UTC)

    def by_link(self, path: str, query: Mapping[str, str]) -> Caller | None:
        """Return the holder of a link to `path`; None where it is none, is over, or its maker's token has ended."""
        exp, by = query.get("exp", ""), query.get("by", "")
        if not self._signer.holds(query.get("sig", ""), _LINK, path, exp, by) or self._over(exp):
            return None
        maker = self._by_id.get(by)
        if maker is None or not maker.admits(self._clock.now()):
            return None
        return Caller(f"link of {maker.name}", frozenset({Right.EVIDENCE}), by, until_s=int(exp))

    def _over(self, exp: str) -> bool:
        return not exp.isdecimal() or self._clock.now().timestamp() >= int(exp)


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
