# SPDX-License-Identifier: AGPL-3.0-or-later
"""One connection's conversation: which request is answered how, in which state (RFC 2326 sections 10 and appendix A.2).

No socket, no clock: the server carries the answers and does what `Answer.action` says.
There is one track per camera and one session per connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.auth import Gate
from gridwatch.simulator.rtsp.digest import REALM, Verdict
from gridwatch.simulator.rtsp.media import VideoMedia
from gridwatch.simulator.rtsp.sdp import CONTENT_TYPE, TRACK, describe
from gridwatch.simulator.rtsp.transports import PortPair, Transport, choose_transport
from gridwatch.simulator.rtsp.wire import Request, Response

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN")
KNOWN_BUT_REFUSED = frozenset({"PAUSE", "ANNOUNCE", "RECORD", "REDIRECT", "SET_PARAMETER"})
SERVER = "gridwatch-simulator"


class Catalogue(Protocol):
    """What cameras there are."""

    def media(self, path: str) -> VideoMedia | None:
        """Return what the camera at `path` sends; None where there is none."""
        ...


class State(Enum):
    """Where a session stands (RFC 2326 appendix A.2)."""

    INIT = "init"
    READY = "ready"
    PLAYING = "playing"


class Action(Enum):
    """What the server does after it has sent the answer."""

    NONE = "none"
    PLAY = "play"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Answer:
    """The response, and what is done after it."""

    response: Response
    action: Action = Action.NONE


class Conversation:
    """Answers the requests of one connection.

    Attributes:
        path: the camera that was set up; None before.
        transport: how its packets travel; None before.
        udp: the server's own ports for UDP; None where it serves none.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        gate: Gate | None,
        session_id: str,
        timeout_s: int = 60,
        udp: PortPair | None = None,
    ) -> None:
        self._catalogue, self._gate, self.udp = catalogue, gate, udp
        self._session_id, self._timeout_s = session_id, timeout_s
        self.state = State.INIT
        self.path: str | None = None
        self.transport: Transport | None = None

    def answer(self, request: Request) -> Answer:
        """Return the answer to `request`; never raises for what a client sends."""
        try:
            answer = self._checked(request)
        except WireError as exc:
            answer = Answer(Response(exc.status))
        return Answer(_numbered(answer.response, request), answer.action)

    def refuse(self, request: Request, status: int) -> Response:
        """Return an answer with `status` whatever is asked; nothing changes."""
        made_up = f'Digest realm="{REALM}", nonce="{self._session_id}", algorithm=MD5'
        headers = () if status != 401 else (("WWW-Authenticate", made_up),)  # noqa: PLR2004  RFC 2326 section 11.3.2
        return _numbered(Response(status, headers), request)

    def _checked(self, request: Request) -> Answer:
        _ = request.cseq
        required = request.header("Require")
        if required is not None:
            return Answer(Response(551, (("Unsupported", required),)))
        method = self._method(request.method)
        if request.method != "OPTIONS":  # cameras tell their methods to anybody
            refusal = self._refusal(request)
            if refusal is not None:
                return refusal
        return method(request)

    def _method(self, name: str) -> Callable[[Request], Answer]:
        methods: dict[str, Callable[[Request], Answer]] = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._get_parameter,
            "TEARDOWN": self._teardown,
        }
        if name in KNOWN_BUT_REFUSED:
            return lambda _: Answer(Response(405, (("Allow", ", ".join(METHODS)),)))
        if name not in methods:
            raise WireError("this method is not known", 501)
        return methods[name]

    def _refusal(self, request: Request) -> Answer | None:
        if self._gate is None:
            return None
        verdict = self._gate.verdict(request)
        if verdict is Verdict.ADMITTED:
            return None
        challenges = self._gate.challenges(stale=verdict is Verdict.STALE)
        return Answer(Response(401, tuple(("WWW-Authenticate", challenge) for challenge in challenges)))

    def _options(self, _: Request) -> Answer:
        return Answer(Response(200, (("Public", ", ".join(METHODS)),)))

    def _describe(self, request: Request) -> Answer:
        media = self._media(request.path)
        accept = request.header("Accept")
        if accept is not None and not {CONTENT_TYPE, "*/*", "application/*"} & _media_types(accept):
            raise WireError("only SDP is described", 406)
        base = request.url.rstrip("/") + "/"
        headers = (("Content-Base", base), ("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-cache"))
        return Answer(Response(200, headers, describe(media, int(self._session_id, 16) >> 1)))

    def _setup(self, request: Request) -> Answer:
        if self.state is State.PLAYING:
            raise WireError("a playing session keeps its transport", 455)
        session = request.header("Session")
        if session is not None:
            self._require_session(request)
        path, _, track = request.path.rpartition("/")
        if track != TRACK:
            raise WireError("this track does not exist", 404)
        self._media(path)
        if self.path not in {None, path}:
            raise WireError("one session carries one camera", 455)
        transport = choose_transport(request.header("Transport") or "", self.udp)
        self.path, self.transport, self.state = path, transport, State.READY
        timeout = f"{self._session_id};timeout={self._timeout_s}"
        return Answer(Response(200, (("Transport", str(transport)), ("Session", timeout))))

    def _play(self, request: Request) -> Answer:
        self._require_session(request)
        self._require_own_path(request)
        headers = (("Session", self._session_id), ("Range", "npt=now-"))
        again = self.state is State.PLAYING
        self.state = State.PLAYING
        return Answer(Response(200, headers), Action.NONE if again else Action.PLAY)

    def _get_parameter(self, request: Request) -> Answer:
        if request.body:
            raise WireError("there are no parameters", 451)
        if request.header("Session") is None:
            return Answer(Response(200))
        self._require_session(request)
        return Answer(Response(200, (("Session", self._session_id),)))

    def _teardown(self, request: Request) -> Answer:
        self._require_session(request)
        self._require_own_path(request)
        self.state, self.path = State.INIT, None
        return Answer(Response(200), Action.STOP)

    def _media(self, path: str) -> VideoMedia:
        media = self._catalogue.media(path)
        if media is None:
            raise WireError("there is no such camera", 404)
        return media

    def _require_session(self, request: Request) -> None:
        session = request.header("Session")
        if session is None and self.state is State.INIT:
            raise WireError("nothing was set up", 455)
        if (
            self.state is State.INIT
            or session is None
            or session.partition(";")[0].strip() != self._session_id
        ):
            raise WireError("there is no such session", 454)

    def _require_own_path(self, request: Request) -> None:
        if request.path.removesuffix(f"/{TRACK}") != self.path:
            raise WireError("this camera was not set up in this session", 404)


def _numbered(response: Response, request: Request) -> Response:
    return response.with_headers(("CSeq", _cseq_or_zero(request)), ("Server", SERVER))


def _cseq_or_zero(request: Request) -> str:
    try:
        return request.cseq
    except WireError:
        return "0"


def _media_types(accept: str) -> set[str]:
    return {part.partition(";")[0].strip().lower() for part in accept.split(",")}
