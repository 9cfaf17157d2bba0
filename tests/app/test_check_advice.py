# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `gridwatch check` says of sessions: that nobody is behind a recorder, or that there are too few for what is wanted."""

import sys

import pytest
from sqlalchemy import text

from events.stores.engines import make_engine, read_url
from events.stores.migrate import is_current, migrate
from gridwatch.app.check import advice
from gridwatch.app.cli import main

CAMERA = "  - {{id: c{n}, url: 'rtsp://192.0.2.5:554/{n}', recorder: '{recorder}'{more}}}\n"


@pytest.fixture
def said(tmp_path):
    """Return a function: what is said of so many cameras behind a recorder, with these sessions."""

    def ask(sessions, cameras=4, recorder="nvr", more=""):
        lines = [CAMERA.format(n=n, recorder=recorder, more=more) for n in range(cameras)]
        (tmp_path / "cameras.yaml").write_text("cameras:\n" + "".join(lines), "utf-8")
        config = tmp_path / "gridwatch.yaml"
        config.write_text(f"ingest: {{sessions: {sessions}}}\n", "utf-8")
        return advice(config)

    return ask


def test_a_recorder_without_cameras_is_told(said):
    """A name that is written otherwise bounds nothing."""
    (line,) = said("{nvr-1: 4}")
    assert line.startswith("ingest.sessions: no camera is reached through 'nvr-1'")


def test_a_host_is_named_as_the_addresses_name_it(said):
    """Where no recorder is named, the host of the addresses counts, with their port."""
    assert said("{'192.0.2.5:554': 4}", recorder="") == []
    assert "no camera is reached through '192.0.2.5'" in said("{192.0.2.5: 4}", recorder="")[0]


@pytest.mark.parametrize(
    ("sessions", "more", "part"),
    [
        (4, "", None),
        (4, ", sub_url: 'rtsp://h/s'", "none is left for their main streams"),
        (5, ", sub_url: 'rtsp://h/s'", None),
        (7, ", sub_url: 'rtsp://h/s', evidence: main-always", "4 main streams to be read always, for 7 sessions"),
        (8, ", sub_url: 'rtsp://h/s', evidence: main-always", None),
    ],
)  # fmt: skip
def test_too_few_sessions_for_evidence_are_told(said, sessions, more, part):
    """Cameras that take turns by themselves are as somebody wants it; evidence that is not kept is told."""
    lines = said(f"{{nvr: {sessions}}}", more=more)
    assert [part in line for line in lines] == ([] if part is None else [True])


def test_check_prints_it_and_goes_on(said, tmp_path, monkeypatch, capsys):
    """It is no mistake."""
    said("{nvr-1: 4}")
    monkeypatch.setattr(sys, "argv", ["gridwatch", "check", str(tmp_path / "gridwatch.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {0, None}
    out = capsys.readouterr().out
    assert "no camera is reached through 'nvr-1'" in out
    assert "no mistakes" in out


def test_a_store_of_another_version_is_left_as_it_is(tmp_path):
    """A version that is tried beside the running one must not change its store."""
    (tmp_path / "state").mkdir()
    engine = make_engine(read_url(f"sqlite:///{tmp_path / 'state' / 'gridwatch.db'}"))
    config = tmp_path / "gridwatch.yaml"
    config.write_text("state: state\ningest: {sessions: {nvr: 1}}\n", "utf-8")
    try:
        with engine.begin() as connection:
            migrate(connection, "0001")
            before = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        assert advice(config) == []
        with engine.connect() as connection:
            assert not is_current(connection)
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == before
    finally:
        engine.dispose()
