# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch tokens`, and the door's part of the configuration."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from events.roles import Role
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.app.run import run_parent
from gridwatch.app.settings import ApiSettings, load_settings
from gridwatch.app.tokens_command import add_token, list_tokens, revoke_token
from gridwatch.app.wiring import _check_door
from gridwatch.app.yaml_border import ConfigError
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError


@pytest.fixture
def config(tmp_path) -> Path:
    file = tmp_path / "gridwatch.yaml"
    file.write_text("api: {port: 0}\n", encoding="utf-8")
    return file


def test_a_token_is_printed_once_and_alone(config, tmp_path, capsys):
    """Standard output holds the token and nothing else, so that a script can take it; the list never shows it."""
    add_token(config, "op-07", Role.OPERATOR, 30)
    out, told = capsys.readouterr()
    secret = out.strip()
    assert secret.startswith("gw_")
    assert "op-07, role operator" in told
    assert secret not in told
    list_tokens(config)
    out, _ = capsys.readouterr()
    for word in ("op-07", "operator", "valid"):
        assert word in out
    assert secret not in out
    assert (tmp_path / "run" / "gridwatch.db").stat().st_mode & 0o077 == 0
    with Store.open(f"sqlite:///{tmp_path / 'run' / 'gridwatch.db'}") as store:
        assert [token.name for token in TokenBook(store, SystemClock()).all()] == ["op-07"]


def test_what_gridwatch_writes_is_its_users_alone(config):
    """The parent's mask is its child's and its queue's too."""
    with pytest.raises(ConfigError):
        run_parent(config.with_name("missing.yaml"))
    assert os.umask(0o022) == 0o077


def test_a_machine_whose_tokens_have_ended_starts_all_the_same(tmp_path):
    """Detection does not end with the last token; without any that was ever made another address is refused."""
    clock, elsewhere = SystemClock(), ApiSettings(host="0.0.0.0")
    with Store.open(f"sqlite:///{tmp_path / 'gridwatch.db'}") as store:
        tokens = TokenBook(store, clock)
        with pytest.raises(InputError, match="there is no token"):
            _check_door(elsewhere, tokens, clock)
        tokens.add("op-07", Role.OPERATOR, timedelta(days=1))
        tokens.revoke("op-07")
        _check_door(elsewhere, tokens, clock)


def test_a_token_is_revoked_by_name(config, capsys):
    """It says which one ended; the list says so too."""
    add_token(config, "desk", Role.INTEGRATOR, 30)
    revoke_token(config, "desk")
    list_tokens(config)
    out, _ = capsys.readouterr()
    assert "of desk admits nobody any more" in out
    assert "revoked" in out


def test_an_empty_list_says_what_that_means(config, capsys):
    """Nobody takes it for an error."""
    list_tokens(config)
    assert "only this machine is served" in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_one_sentence(config, tmp_path):
    """Wrong input, not a traceback."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "gridwatch.db").write_bytes(
        b"no database at all, but long enough to be looked at" * 40
    )
    with pytest.raises(InputError, match="the store cannot be used"):
        add_token(config, "op-07", Role.OPERATOR, 30)


def test_a_token_lasts_as_long_as_was_asked(config, tmp_path):
    """Days may be parts of one, for a visitor."""
    add_token(config, "guest", Role.VIEWER, 0.5)
    with Store.open(f"sqlite:///{tmp_path / 'run' / 'gridwatch.db'}") as store:
        (token,) = TokenBook(store, SystemClock()).all()
    assert token.expires_at == token.made_at + timedelta(hours=12)


def test_files_of_the_door_lie_beside_the_configuration(tmp_path):
    """Certificate and key are found from the configuration's folder; without them there is no HTTPS."""
    file = tmp_path / "gridwatch.yaml"
    file.write_text(
        "api: {names: [gridwatch.example.cn], certificate: c.pem, key: k.pem}\n", encoding="utf-8"
    )
    api = load_settings(file)[0].api
    assert api.names == ["gridwatch.example.cn"]
    assert api.tls is not None
    assert (api.tls.certificate, api.tls.key) == (tmp_path / "c.pem", tmp_path / "k.pem")
    file.write_text("api: {}\n", encoding="utf-8")
    assert load_settings(file)[0].api.tls is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("api: {certificate: c.pem}", "named together"),
        ("api: {key: k.pem}", "named together"),
        ("api: {names: ['desk.example:8000']}", "host name without port"),
        ("api: {names: ['https://desk.example']}", "host name without port"),
        ("api: {names: ['']}", "host name without port"),
    ],
)
def test_mistakes_of_the_door_are_named(tmp_path, text, told):
    """Each with file and line."""
    file = tmp_path / "gridwatch.yaml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as mistake:
        load_settings(file)
    assert "gridwatch.yaml:1" in str(mistake.value)
