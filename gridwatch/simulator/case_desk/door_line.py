# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk's line over HTTP, where it cannot reach the Redis: the same entries and replies through gridwatch's door.

The door has no consumer groups: how far the desk has read is noted in its own state file, with the journal's epoch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact
from gridwatch.simulator.case_desk.errors import LineError
from gridwatch.simulator.case_desk.line import Entry
from gridwatch.simulator.case_desk.store import CaseStore

READ_COUNT = 50
TIMEOUT_S = 10.0
TOKEN_MAX_BYTES = 4096
NO_TOKEN = ""
_WORDS = {
    401: "the token is missing, wrong, expired or revoked",
    403: "this token may not do that: it needs the role integrator",
    404: "there is no door at this address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorPlace:
    """Where the door is.

    Attributes:
        url: of gridwatch's API, as in https://192.0.2.5:8000, without a path.
        token: of the role integrator; empty where gridwatch asks for none (on its own machine, without tokens).
        ca_file: certificates to trust besides the usual ones' place: the one of a gridwatch with its own authority.
    """

    url: str
    token: str = field(default=NO_TOKEN, repr=False)
    ca_file: Path | None = None


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        InputError: the file cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(TOKEN_MAX_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read as a token", file=path) from error
    if not text or len(text.split()) != 1:
        raise InputError("does not hold one token and nothing else", file=path)
    return text


class DoorLine:
    """See `line.Line`. Connects on first use; for one thread, and one desk for each state file.

    Raises:
        InputError: the URL or the certificates cannot be used.
    """

    name = "the door"

    def __init__(self, place: DoorPlace, store: CaseStore) -> None:
        self._store, self._note = store, f"door {place.url}"
        self._client = _client(place)

    def open(self) -> Sequence[Entry]:
        """Nothing to do: what was read and not noted as done is read again."""
        return ()

    def read(self, wait_s: float) -> Sequence[Entry]:
        """Return the messages after the last one that was done; from the first one where the journal is another."""
        epoch, after = self._noted()
        answer = self._page(after, epoch, wait_s) or self._page(0, "", 0)
        if answer is None:
            raise LineError("the door does not say from where on its journal can be read")
        entries = [
            Entry("", {name.encode(): str(value).encode() for name, value in item.items()})
            for item in answer["items"]
        ]
        place = f"{answer['epoch']} {answer['next']}"
        if entries or answer["epoch"] != epoch or answer["next"] != after:
            entries.append(Entry(place, None))  # the place to note when those before it are done
        return entries

    def left_by_others(self) -> Sequence[Entry]:
        """Return nothing: the door knows of no other desks."""
        return ()

    def done(self, entries: Sequence[Entry]) -> None:
        """Note how far was read."""
        if entries and entries[-1].place:
            self._store.note_place(self._note, entries[-1].place)

    def send(self, replies: Sequence[Mapping[str, str]]) -> None:
        """Post replies; all were recorded or kept when it returns."""
        with _translated():
            _checked(self._client.post("/api/v1/case-replies", json=[dict(one) for one in replies]))

    def leave(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _noted(self) -> tuple[str, int]:
        noted = self._store.place(self._note)
        if noted is None:
            return "", 0
        epoch, _, after = noted.rpartition(" ")
        return epoch, int(after)

    def _page(self, after: int, epoch: str, wait_s: float) -> dict[str, Any] | None:
        """Return a page; None where the door's journal does not go on from the one that was read."""
        asked = {"after": str(after), "limit": str(READ_COUNT), "wait_s": f"{wait_s:.3f}"}
        asked |= {"epoch": epoch} if epoch else {}
        with _translated():
            response = self._client.get("/api/v1/case-messages", params=asked)
            if response.status_code == httpx.codes.CONFLICT:
                return None
            answer: Any = _checked(response).json()
        try:
            next_seq = int(answer["next"])
            return {"items": list(answer["items"]), "next": next_seq, "epoch": str(answer["epoch"])}
        except (KeyError, TypeError, ValueError) as error:
            raise LineError("what answers there is no door of gridwatch") from error


def _client(place: DoorPlace) -> httpx.Client:
    if not place.url.startswith(("http://", "https://")):
        raise InputError("the door's URL must begin with http:// or https://")
    headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
    try:
        context: Any = httpx.create_ssl_context() if place.ca_file is None else _trusting(place.ca_file)
        return httpx.Client(base_url=place.url, headers=headers, timeout=TIMEOUT_S, verify=context)
    except (OSError, ValueError, httpx.InvalidURL) as error:
        raise InputError(f"the door cannot be used: {redact(str(error))}") from error


def _trusting(ca_file: Path) -> Any:
    context = httpx.create_ssl_context()
    context.load_verify_locations(cafile=str(ca_file))
    return context


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    words = _WORDS.get(response.status_code) or _problem(response)
    raise LineError(f"{response.status_code}: {words}")


def _problem(response: httpx.Response) -> str:
    try:
        document = response.json()
        return redact(str(document.get("detail") or document.get("title")))[:200]
    except (ValueError, AttributeError):
        return "no reason given"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        raise LineError(redact(str(error) or type(error).__name__)) from error
