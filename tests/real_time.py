# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which tests are of real time; one that fails is run once more, and the summary lists it with what failed first.

A test is of real time where it, or a fixture that it uses, started a thread or a process or opened a socket: what it sees
depends on the machine too. Every other test says the same each time, and is never run again.
"""

import functools
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

# As the interpreter's audit events name it. Python 3.11 has none for a thread.
STARTS = frozenset({"os.fork", "os.posix_spawn", "subprocess.Popen", "socket.__new__"})
MOST_RERUNS = 20  # in all: where more fail it is not the machine


class RealTime:
    """A plugin of pytest that sees what tests and fixtures start, and tells pytest-rerunfailures what to run again."""

    def __init__(self) -> None:
        self._started = 0
        self._before_test = 0
        self._running: set[str] = set()  # fixtures that started something and are not torn down
        self._request: pytest.FixtureRequest | None = None
        self._timeout: tuple[str, Any] = "", None  # whose it is

    def pytest_configure(self, config: pytest.Config) -> None:
        """Begin to see what is started."""
        sys.addaudithook(self._hear)
        start = threading.Thread.start

        @functools.wraps(start)
        def seen(thread: threading.Thread) -> None:
            self._started += 1
            start(thread)

        threading.Thread.start = seen
        config.option.rerun_show_tracebacks = True
        if getattr(config.option, "max_suite_reruns", None) is None:
            config.option.max_suite_reruns = MOST_RERUNS

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Let each test be run again where it turns out to be of real time."""
        if config.pluginmanager.has_plugin("rerunfailures"):
            for item in items:
                item.add_marker(
                    pytest.mark.flaky(reruns=1, condition=functools.partial(self._is_real_time, item))
                )

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        """Keep the time-out of the test that begins."""
        self._timeout = item.nodeid, settings

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Count from here, and give a second run a time-out of its own."""
        self._before_test, self._request = self._started, None
        if getattr(item, "execution_count", 1) > 1:
            self._allow_anew(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Give the end a time-out of its own: after a hang it is the likeliest to hang too, and would for ever."""
        self._allow_anew(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Remember a fixture that starts something: it may serve later tests too."""
        before, self._request = self._started, request
        try:
            return (yield)
        finally:
            if self._started != before:
                self._running.add(fixturedef.argname)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forget a fixture that is torn down."""
        self._running.discard(fixturedef.argname)

    def _allow_anew(self, item: pytest.Item) -> None:
        # pytest-timeout has one timer for all runs of a test with all that belongs to them, and it goes off once.
        owner, settings = self._timeout
        if owner == item.nodeid:
            item.ihook.pytest_timeout_cancel_timer(item=item)
            item.ihook.pytest_timeout_set_timer(item=item, settings=settings)

    def _is_real_time(self, item: pytest.Item) -> bool:
        """Say it of the test that has just run."""
        used = self._request.fixturenames if self._request else getattr(item, "fixturenames", ())
        return self._started != self._before_test or not self._running.isdisjoint(used)

    def _hear(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            self._started += 1
