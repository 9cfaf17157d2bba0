# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page on which a token is typed once, as HTML: no script, nothing that is loaded, one form."""

from collections.abc import Mapping
from enum import StrEnum
from html import escape
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from starlette.requests import Request

from api.console.texts import Language, Words, choose_language

LANGUAGE_COOKIE: Final = "gridwatch_language"
LOGIN_CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


class Problem(StrEnum):
    """Why a token that was typed opened nothing."""

    UNKNOWN = "unknown"
    PROGRAM = "program"
    THROTTLED = "throttled"


LOGIN_TEXTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "token": ("访问令牌", "Access token"),
        "hint": (
            "令牌由管理员用 gridwatch tokens add 发放，只显示一次；登录 12 小时内有效。",
            "An administrator hands it out (gridwatch tokens add); it is shown only once. A session lasts 12 hours.",
        ),
        "enter": ("登录", "Sign in"),
        "problem.unknown": (
            "令牌无效、已过期或已吊销，请核对后重试。",
            "This token is unknown, expired or revoked. Check it and try again.",
        ),
        "problem.program": (
            "这是程序对接用的令牌，不能登录值守台。",
            "This token is for programs; it does not open the console.",
        ),
        "problem.throttled": (
            "失败次数过多，请 {seconds} 秒后再试。",
            "Too many attempts failed. Try again in {seconds} s.",
        ),
        "out": ("退出", "Sign out"),
        "role.reads": ("只读", "read only"),
        "refused.role": ("您的令牌只能查看，不能核定", "your token may look, not decide"),
    }
)

# The console's own colours (assets/console.css); the page is shown before anything may be loaded.
_STYLE: Final = """
*{box-sizing:border-box;margin:0}
html,body{height:100%;background:#0d1216;color:#e3eaef}
body{font:15px/1.5 system-ui,"Segoe UI","PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;
 display:grid;place-items:center;padding:20px}
main{width:min(27rem,100%);background:#141b21;border:1px solid #2a363f;border-radius:12px;padding:26px 28px 24px}
header{display:flex;align-items:center;gap:12px;margin-bottom:22px}
header img{width:36px;height:36px;flex:none}
header b{display:block;font-size:19px;line-height:1.25}
header span{color:#93a3af;font-size:13px}
header a{margin-left:auto;color:#e3eaef;text-decoration:none;border:1px solid #2a363f;border-radius:6px;padding:3px 10px;font-size:13px}
label{display:block;font-weight:600;margin-bottom:6px}
input{width:100%;font:15px/1.4 ui-monospace,monospace;color:#e3eaef;background:#0d1216;border:1px solid #3c4a55;border-radius:7px;padding:9px 12px}
button{width:100%;margin-top:14px;font:inherit;font-weight:600;color:#fff;background:#1f7a50;border:1px solid #2c9c68;border-radius:7px;padding:9px;cursor:pointer}
:focus-visible{outline:2px solid #57a6ff;outline-offset:2px}
[role=alert]{background:#8f1d22;border:1px solid #d8454a;border-radius:8px;padding:8px 13px;margin-bottom:16px}
small{display:block;margin-top:15px;color:#93a3af;font-size:13px}
"""


def language_of(request: Request) -> Language:
    """Return the language in which a browser is answered: asked for, remembered, or its own."""
    return choose_language(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language"),
    )


def login_text(key: str, language: Language, **values: object) -> str:
    """Return a text of this page, or of what the console says of who is signed in."""
    return LOGIN_TEXTS[key][language is Language.EN].format(**values)


def login_html(language: Language, problem: Problem | None = None, wait_s: float = 0.0) -> str:
    """Return the page; `problem` says why the last attempt opened nothing."""

    def text(key: str, **values: object) -> str:
        return escape(login_text(key, language, **values))

    words, told = Words(language), ""
    if problem is not None:
        told = f'<p role="alert">{text(f"problem.{problem.value}", seconds=ceil(wait_s))}</p>'
    icon = _icon()
    return (
        f'<!doctype html><html lang="{language.value}"><meta charset="utf-8"><title>gridwatch</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="{icon}">'
        f'<style>{_STYLE}</style><main><header><img src="{icon}" alt=""><div><b>{escape(words("product"))}</b>'
        f'<span>{escape(words("subtitle"))}</span></div><a href="/login?lang={language.other.value}">{escape(words("language"))}</a></header>'
        f'{told}<form method="post" action="/login?lang={language.value}"><label for="token">{text("token")}</label>'
        '<input id="token" name="token" type="password" required autofocus maxlength="200" autocomplete="current-password" '
        f'spellcheck="false"><button>{text("enter")}</button></form><small>{text("hint")}</small></main></html>'
    )


def who_html(name: str, language: Language, *, reads: bool) -> str:
    """Return who is signed in, and the way out, for the console's head line."""
    role = f" · {login_text('role.reads', language)}" if reads else ""
    return (
        f'<form class="gw-who" method="post" action="/logout"><span>{escape(name + role)}</span>'
        f'<button class="gw-lang">{escape(login_text("out", language))}</button></form>'
    )


def _icon() -> str:
    svg = (Path(__file__).parent / "assets" / "icon.svg").read_text(encoding="utf-8")
    return "data:image/svg+xml," + quote(svg)
