# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network that answers now: opened anew when its device is lost, another one in its place meanwhile.

Not a thread: somebody calls `mend` when `is_due`, because opening takes seconds and may never return. A network counts as
opened once it has answered an empty picture: drivers that hang open well and hang then.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeAlias

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.detections import Detections, Part
from gridwatch.core.frame import Frame
from models.errors import InferenceError
from models.service.asking import Network
from models.service.bounded import BoundedCalls
from models.service.ready import Parts, make_ready

log = structlog.get_logger()

Open: TypeAlias = Callable[[], Network]

LOOK_WITHIN_S = 10.0
MOST_LOOKS_LEFT_BEHIND = 8
SMALLEST_LOOK: Sequence[Parts] = (frozenset({Part.FIRE}),)


class DeviceState(StrEnum):
    """What computes the looks."""

    READY = "ready"
    FALLBACK = "fallback"  # the device is lost; another network answers, and the device is tried again
    LOST = "lost"  # nothing computes; every look is unknown


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """When a device is given up and tried again.

    Attributes:
        lost_after: failures in a row, whichever camera's. A single picture that no engine can take is not a lost device.
        first_retry_s: pause before the first attempt to open it anew; doubled after each.
        retry_s: the longest pause, and the pause while the fallback answers.
        fall_back_after: attempts that failed before the fallback is opened. A device that hangs is not tried before it.
        open_within_s: an attempt that takes longer has failed; it is left behind. It holds the first answer too.
        most_left_behind: so many attempts that never return, or networks in which somebody waits for ever; then the
            device is not tried any more. The fallback is, until there are twice as many.
        look_within_s: how long `detect` waits for an answer.
    """

    lost_after: int = 3
    first_retry_s: float = 1.0
    retry_s: float = 60.0
    fall_back_after: int = 3
    open_within_s: float = 60.0
    most_left_behind: int = 3
    look_within_s: float = LOOK_WITHIN_S


class Device:
    """The network in use, and what is done when it stops answering. Safe for several threads.

    Args:
        network: opened and ready.
        reopen: opens it anew; without it the network is asked for ever, whatever it answers.
        fallback: opens what answers in its place; without it nothing does.
        rules: see `DeviceRules`.
        looks: what a network that was opened must answer, see `make_ready`.

    Attributes:
        reopened, failed_openings: attempts so far, by their result.
        hung: networks in which workers have not come back; written by whoever has workers.
    """

    def __init__(
        self,
        network: Network,
        clock: Clock,
        *,
        reopen: Open | None = None,
        fallback: Open | None = None,
        rules: DeviceRules | None = None,
        looks: Sequence[Parts] = SMALLEST_LOOK,
    ) -> None:
        self._clock, self._rules = clock, rules or DeviceRules()
        self._reopen, self._fallback, self._looks = reopen, fallback, tuple(looks)
        self._lock = threading.Lock()
        self._calls = BoundedCalls(MOST_LOOKS_LEFT_BEHIND)
        self._network: Network | None = network
        self._sizes = network  # the last that was there; tells input sizes while none is
        self._spare: Network | None = None  # the fallback, until the device that was opened anew has answered
        self._state, self._tried_fallback = DeviceState.READY, False
        self._proven = True  # it has answered a look, not only the empty picture
        self._belied = False  # one that had answered the empty picture failed at its first look
        self._failures = self._attempts = self._left_behind = self._opening = 0
        self._retry_at_s = 0.0
        self._lost_since_s: float | None = None
        self._opening_since_s: float | None = None
        self._trouble = ""
        self.reopened = self.failed_openings = 0
        self.hung: Collection[Network] = ()

    @property
    def state(self) -> DeviceState:
        """What computes now."""
        return self._state

    @property
    def network(self) -> Network | None:
        """The network that is to be asked now; None while the device is lost."""
        return self._network

    @property
    def trouble(self) -> str:
        """Why the device is lost or was, in one short phrase; empty if it never was."""
        return f"the inference device is lost ({self._trouble})" if self._trouble else ""

    def lost_for_s(self) -> float:
        """Return for how long nothing has answered; 0.0 while the device or its fallback does.

        An empty picture that is answered counts, so that a night without looks ends no process. Where the first look
        failed after it, it does not count again until a look is answered.
        """
        since_s = self._lost_since_s
        answers = self._network is not None and not self._belied
        return 0.0 if since_s is None or answers else self._clock.mono_s() - since_s

    @property
    def batch(self) -> int:
        """The most pictures that are worth computing at once, on the network that is there or was last."""
        return self._sizes.batch

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that pictures of this size are scaled into."""
        return self._sizes.input_size(width, height)

    def make_ready(self) -> None:
        """Have the network that is there compile and answer an empty picture, before the first look waits for it.

        Returns within `open_within_s`; a network that did not answer is lost then, as if looks had failed.
        """
        network = self._network
        if network is None:
            return
        call = partial(make_ready, network, self._looks, self._clock.mono_s)
        try:
            self._calls.call(network, call, self._rules.open_within_s)
        except Exception as error:  # noqa: BLE001  as in `_try`: whatever a driver raises, the device is lost
            with self._lock:
                if network is self._network and self._reopen is not None:
                    self._lose(_said(error), hangs=self._calls.hang(network))

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Ask past the service, for a picture that an alert needs at once. Returns within `look_within_s`.

        Raises:
            InferenceError: no answer.
        """
        network = self._network
        if network is None:
            raise InferenceError(self.trouble)
        if self._calls.hang(network):  # no second failure for one stall
            raise InferenceError("an earlier picture has not come back")
        try:
            call = partial(self._look, network, frame, parts)
            return self._calls.call(network, call, self._rules.look_within_s)
        except InferenceError as error:
            self.failed(network, error.reason, hangs=self._calls.hang(network))
            raise

    def _look(self, network: Network, frame: Frame, parts: Parts) -> Detections:
        answer = network.detect(frame, parts=parts)
        self.worked(network)  # late or not
        return answer

    def worked(self, network: Network) -> None:
        """Say that a network answered."""
        with self._lock:
            if network is not self._network:
                return
            self._failures, self._lost_since_s, self._belied = 0, None, False
            if not self._proven:
                self._proven = True
                log.info("inference_device", state=self._state, after_attempts=self._attempts)
            if self._state is DeviceState.READY:
                self._attempts, self._spare = 0, None

    def failed(self, network: Network, reason: str, *, hangs: bool = False) -> None:
        """Say that a network gave an error or, if it `hangs`, no answer in time."""
        with self._lock:
            if network is not self._network or self._reopen is None:
                return
            self._failures += 1
            if self._failures >= self._rules.lost_after or not self._proven:
                self._lose(reason, hangs=hangs)

    def is_due(self) -> bool:
        """Tell whether `mend` has something to do; give up an attempt that takes too long."""
        with self._lock:
            now_s = self._clock.mono_s()
            since_s = self._opening_since_s
            if since_s is not None and now_s - since_s > self._rules.open_within_s:
                self._opening_since_s, self._opening = None, self._opening + 1
                self._left_behind += 1
                self._attempts = max(self._attempts, self._rules.fall_back_after - 1)  # it says enough
                self._opening_failed("it does not open in time")
            return self._is_due(now_s)

    def mend(self) -> None:
        """Make one attempt: open the device anew or, after some that failed, the fallback. May take seconds, or for ever."""
        with self._lock:
            now_s = self._clock.mono_s()
            if not self._is_due(now_s):
                return
            opening = self._opening = self._opening + 1
            self._opening_since_s = now_s
            state = self._to_open()
            self._tried_fallback = state is DeviceState.FALLBACK
            opened = self._fallback if state is DeviceState.FALLBACK else self._reopen
        network, reason = self._try(opened)
        with self._lock:
            if opening != self._opening:  # given up meanwhile
                self._left_behind -= 1
                return
            self._opening_since_s = None
            if network is None:
                self._opening_failed(reason)
            else:
                self._adopt(network, state)

    def _try(self, opened: Open | None) -> tuple[Network | None, str]:
        """Open a network and have it answer."""
        if opened is None:
            return None, "it cannot be opened anew"
        try:
            network = opened()
            make_ready(network, self._looks, self._clock.mono_s)
        except Exception as error:  # noqa: BLE001  a thread's top: whatever a driver raises, the device stays lost
            return None, _said(error)
        return network, ""

    def _is_due(self, now_s: float) -> bool:
        if self._state is DeviceState.READY or self._opening_since_s is not None or now_s < self._retry_at_s:
            return False
        most = self._rules.most_left_behind
        return self._hanging() < (2 * most if self._to_open() is DeviceState.FALLBACK else most)

    def _to_open(self) -> DeviceState:
        """Return what the next attempt opens: once the fallback is allowed, by turns while both fail."""
        wanted = self._state is DeviceState.LOST and self._attempts >= self._rules.fall_back_after
        hopeless = self._hanging() >= self._rules.most_left_behind
        if self._fallback is not None and wanted and (hopeless or not self._tried_fallback):
            return DeviceState.FALLBACK
        return DeviceState.READY

    def _hanging(self) -> int:
        """Return how many attempts, and networks that were replaced, hold somebody who has not come back."""
        networks = {id(one) for one in (*self.hung, *self._calls.owners()) if one is not self._network}
        return self._left_behind + len(networks)

    def _adopt(self, network: Network, state: DeviceState) -> None:
        self.reopened += 1
        if self._state is DeviceState.FALLBACK:
            self._spare = self._network
        self._use(network, state)
        self._proven = False
        log.info("inference_device_opened", state=state)

    def _lose(self, reason: str, *, hangs: bool) -> None:
        self._trouble, self._failures = reason, 0
        now_s = self._clock.mono_s()
        if not self._proven:
            self._attempts += 1
        if hangs:
            self._attempts = max(self._attempts, self._rules.fall_back_after)
        if self._spare is not None:
            self._use(self._spare, DeviceState.FALLBACK)
            self._spare = None
        else:
            self._belied = self._belied or not self._proven
            self._network, self._state = None, DeviceState.LOST
            self._retry_at_s = now_s + self._pause_s()
            self._lost_since_s = now_s if self._lost_since_s is None else self._lost_since_s
        log.error("inference_device", state=self._state, reason=reason)

    def _use(self, network: Network, state: DeviceState) -> None:
        self._network = self._sizes = network
        self._state, self._proven = state, True
        self._retry_at_s = self._clock.mono_s() + self._rules.retry_s

    def _opening_failed(self, reason: str) -> None:
        self.failed_openings += 1
        self._attempts += 1
        self._trouble = reason
        self._retry_at_s = self._clock.mono_s() + self._pause_s()
        log.error("inference_device_does_not_open", reason=reason, attempts=self._attempts)

    def _pause_s(self) -> float:
        if self._state is DeviceState.FALLBACK:
            return self._rules.retry_s
        return min(self._rules.first_retry_s * 2.0 ** min(self._attempts, 30), self._rules.retry_s)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
