# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras in a spreadsheet's CSV, with Chinese or English headings, turned into documents. It decides nothing about them.

Spreadsheets spoil such files in known ways: UTF-8 with a mark, GB 18030 or UTF-16, semicolons or tabs, ids of 20 digits
that became numbers. What can be told is mended, what is lost is refused by line.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from gridwatch.app.environment import variables_in, without_variables
from gridwatch.app.presets import PRESETS
from gridwatch.core.errors import InputError

LARGEST_BYTES: Final = 64 << 20
HEADINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("编码", "设备编码", "国标编码", "摄像机编码", "camera_id"),
    "name": ("名称", "设备名称", "摄像机名称"),
    "url": ("地址", "视频地址", "取流地址", "主码流", "rtsp", "rtsp地址"),
    "sub_url": ("子码流", "子码流地址", "辅码流"),
    "user": ("用户", "用户名", "账号"),
    "password": ("密码", "口令"),
    "place": ("场所", "场所类型"),
    "kinds": ("检测", "检测类型"),
    "crowd_limit": ("人数上限", "承载量"),
    "active": ("布防时段", "检测时段", "时段"),
    "lon": ("经度", "longitude"),
    "lat": ("纬度", "latitude"),
    "crs": ("坐标系", "坐标系统"),
    "accuracy_m": ("精度", "定位精度"),
    "address": ("安装地址", "安装位置", "位置", "详细地址"),
    "recorder": ("录像机", "nvr", "网关"),
    "transport": ("传输", "传输方式"),
    "evidence": ("取证", "取证码流"),
    "patrols": ("巡航", "自动巡航"),
    "watch": ("状态", "启用状态"),
    "run_mode": ("运行模式",),
}
COLUMNS: Final = tuple(HEADINGS)
NO_CRS: Final = "no crs (坐标系): WGS84 is taken"
_MEANT: Final = {heading: column for column, others in HEADINGS.items() for heading in (column, *others)}
_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "place": {preset.chinese: place for place, preset in PRESETS.items()}
    | {
        "学校门口": "school_gate",
        "校园": "school_gate",
        "医院": "square",
        "高速": "fast_road",
        "高速公路": "fast_road",
    }
    | {
        "公路": "road",
        "路口": "road",
        "农贸市场": "market",
        "集市": "market",
        "林区": "forest_edge",
        "山林": "forest_edge",
    }
    | {"小区": "yard", "厂区": "yard", "院坝": "yard"},
    "watch": {"启用": "on", "停用": "off", "维护": "maintenance", "检修": "maintenance"},
    "patrols": {"是": "true", "否": "false"},
    "transport": {},
    "evidence": {},
    "run_mode": {"正式": "actual", "演练": "exercise", "测试": "test"},
}
_KINDS: Final = {"火": "fire", "明火": "fire", "火灾": "fire", "烟": "smoke", "烟雾": "smoke", "人群": "crowd", "交通": "traffic"}  # fmt: skip
_PLACED: Final = ("lon", "lat", "crs", "accuracy_m")
_AS_A_NUMBER = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
_EXACT_DIGITS = 15  # that a spreadsheet keeps of a number


@dataclass(frozen=True, slots=True)
class CsvLine:
    """One line of the file: a document, or the problem that it has.

    Attributes:
        number: 1-based line of the file.
        notes: what was seen and not refused.
    """

    number: int
    document: Mapping[str, Any]
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CsvFile:
    """What a file holds: its lines, the headings that mean nothing here, and the columns that its other headings mean."""

    lines: Sequence[CsvLine]
    unread: Sequence[str]
    columns: frozenset[str]


def read_csv(file: Path) -> CsvFile:
    """Read a CSV of cameras.

    Raises:
        InputError: it cannot be read, or has no headings `id` and `url` (编码, 地址).
    """
    text = _text(file)
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        headings = next((row for row in rows if any(cell.strip() for cell in row)), [])
        columns = [_MEANT.get(_heading(cell)) for cell in headings]
        _check_headings(file, columns)
        lines = [_line(rows.line_num, columns, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"is no CSV: {error}", file=file, line=rows.line_num) from error
    unread = [cell.strip() for cell, column in zip(headings, columns, strict=True) if column is None]
    return CsvFile(
        lines, [cell for cell in unread if cell], frozenset(column for column in columns if column)
    )


def write_csv(documents: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return cameras as CSV with English headings, and the ids of those that lost something: zones do not fit into a line."""
    out, lossy = io.StringIO(newline=""), []
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for document in documents:
        rows.writerow([_cell(document, column) for column in COLUMNS])
        if "zones" in document or any(isinstance(document.get(name), dict) for name in ("url", "sub_url")):
            lossy.append(str(document["id"]))
    return out.getvalue(), lossy


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise InputError(f"is larger than {LARGEST_BYTES >> 20} MiB", file=file)
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from error
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encodings: tuple[str, ...] = ("utf-16",) if marked else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError("is neither UTF-8, GB 18030 nor UTF-16 text", file=file)


def _heading(cell: str) -> str:
    return re.sub(r"[\s\-]+", "_", unicodedata.normalize("NFKC", cell).strip().lower())


def _check_headings(file: Path, columns: Sequence[str | None]) -> None:
    known = [column for column in columns if column]
    missing = [name for name in ("id", "url") if name not in known]
    if missing:
        said = " and ".join(f"{name} ({HEADINGS[name][0]})" for name in missing)
        raise InputError(f"the first line has no heading {said}; known are {', '.join(COLUMNS)}", file=file)
    twice = sorted({column for column in known if known.count(column) > 1})
    if twice:
        raise InputError(f"two headings mean {', '.join(twice)}", file=file)


def _line(number: int, columns: Sequence[str | None], row: Sequence[str]) -> CsvLine:
    if any(cell.strip() for cell in row[len(columns) :]):
        return CsvLine(number, {}, f"has {len(row)} cells, the headings are {len(columns)}")
    cells = {
        column: _cleaned(column, cell)
        for column, cell in zip(columns, row, strict=False)
        if column and cell.strip()
    }
    notes: list[str] = []
    try:
        return CsvLine(number, _document(cells, notes), notes=tuple(notes))
    except _Refused as refused:
        return CsvLine(number, {"id": cells.get("id", "")}, str(refused))


class _Refused(Exception):  # noqa: N818  no error of the program: a line that is not taken
    """This line cannot be taken; the text says why."""


def _cleaned(column: str, cell: str) -> str:
    text = cell.strip().removeprefix("'")
    text = _TEXT_FORMULA.sub(r"\1", text, count=1)  # ="51…": how a spreadsheet is told that digits are text
    if column in ("id", "crowd_limit", *_PLACED):
        text = unicodedata.normalize("NFKC", text).strip()
    return text


def _document(cells: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for column, text in cells.items():
        if column in _PLACED or column in ("user", "password"):
            continue
        document[column] = _LISTED[column](text) if column in _LISTED else _word(column, text)
    _check_id(cells.get("id", ""), notes)
    for name in ("url", "sub_url"):
        if name in document:
            document[name] = _with_login(document[name], cells.get("user", ""), cells.get("password", ""))
    location = {column: cells[column].upper() if column == "crs" else cells[column] for column in _PLACED if column in cells}  # fmt: skip
    if location and not location.keys() & {"lon", "lat"}:
        column = next(iter(location))
        raise _Refused(f"{column} ({HEADINGS[column][0]}) without lon (经度) and lat (纬度)")
    if location:
        document["location"] = location
        if "crs" not in location:
            notes.append(NO_CRS)
    return document


def _check_id(text: str, notes: list[str]) -> None:
    if not text:
        raise _Refused("has no id (编码)")
    if _AS_A_NUMBER.fullmatch(text):
        raise _Refused(
            f"a spreadsheet made a number of the id ({text}): its last digits are lost; format the column as text"
        )
    if text.isdigit() and len(text) > _EXACT_DIGITS and not text[_EXACT_DIGITS:].strip("0"):
        notes.append("the id ends in zeros only: did a spreadsheet round it?")


def _word(column: str, text: str) -> str:
    known = _WORDS.get(column)
    return text if known is None else known.get(text, text.lower())


def _kinds(text: str) -> list[str]:
    words = [word for word in re.split(r"[\s,;、，；/|+]+", text) if word]
    return [_KINDS.get(word, word.lower()) for word in words]


def _times(text: str) -> list[str]:
    return [line for line in (part.strip() for part in re.split(r"[;；|\n]", text)) if line]


_LISTED: Final = MappingProxyType({"kinds": _kinds, "active": _times})


def _with_login(url: str, user: str, password: str) -> str:
    if not user and not password:
        return url
    scheme, separator, rest = url.partition("://")
    if not separator or "@" in rest:
        raise _Refused("has a user or a password both in its URL and in columns of their own")
    if without_variables(password):
        raise _Refused(
            "a password stands in it: put that into the environment, and write ${NAME} for it here"
        )
    login = user if variables_in(user) else quote(user, safe="")
    return f"{scheme}://{login}{':' + password if password else ''}@{rest}"


def _cell(document: Mapping[str, Any], column: str) -> str:
    value = document.get("location", {}).get(column) if column in _PLACED else document.get(column)
    if value is None or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return ("; " if column == "active" else " ").join(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # A spreadsheet must not run what an operator called a camera.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text
