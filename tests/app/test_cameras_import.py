# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch cameras` on real files and a real store: what is taken, what is not and why, and that it comes out as it went in."""

import time

import pytest
import yaml
from typer.testing import CliRunner

from gridwatch.app import set_aside
from gridwatch.app.camera_lines import read_lines
from gridwatch.app.cameras_cli import cameras
from gridwatch.app.cameras_command import import_cameras
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError

HEAD = "编码,名称,地址,场所,经度,纬度,坐标系,安装地址,录像机,用户,密码\n"
GOOD = (
    "51011704001320000001,东门,rtsp://192.0.2.1/ch1,市场,103.88,30.81,gcj02,东街 1 号,nvr-1,admin,${CAM_PW}\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gridwatch.yaml").write_text("state: state\n", "utf-8")
    return tmp_path


@pytest.fixture
def written(folder):
    def write(text, name="cameras.csv", encoding="utf-8"):
        file = folder / name
        file.write_bytes(text.encode(encoding))
        return file

    return write


@pytest.fixture
def run(folder):
    def command(*arguments):
        given = [str(argument) for argument in arguments]
        return CliRunner().invoke(cameras, [*given, "-c", str(folder / "gridwatch.yaml")])

    return command


def refused(file):
    return {line.number: line.problem for line in read_lines(file).refused}


def documents(run):
    return {one["id"]: one for one in yaml.safe_load(run("export").stdout)["cameras"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheets_csv_is_read_as_it_is_saved(written, encoding, delimiter):
    """Chinese headings and words, whichever encoding and delimiter the spreadsheet chose."""
    lines = read_lines(written((HEAD + GOOD).replace(",", delimiter), encoding=encoding))
    assert lines.documents() == {
        "51011704001320000001": {
            "id": "51011704001320000001",
            "name": "东门",
            "url": "rtsp://admin:${CAM_PW}@192.0.2.1/ch1",
            "place": "market",
            "location": {"lon": 103.88, "lat": 30.81, "crs": "GCJ02"},
            "address": "东街 1 号",
            "recorder": "nvr-1",
        }
    }


def test_english_headings_and_every_column_are_read(written):
    """All that fits into a line, with spaces and case as people write them."""
    text = (
        "Camera ID,URL,sub url,Kinds,crowd limit,patrols,watch,transport,evidence,run mode,accuracy m,lon,lat,crs\n"
        "a,rtsp://h/1,rtsp://h/2,烟雾、crowd,25,是,停用,UDP,main-always,演练,5,1,2,WGS84\n"
    )
    (line,) = read_lines(written(text)).taken
    assert line.fields.document() == {
        "id": "a",
        "url": "rtsp://h/1",
        "sub_url": "rtsp://h/2",
        "kinds": ["crowd", "smoke"],
        "crowd_limit": 25,
        "patrols": True,
        "watch": "off",
        "transport": "udp",
        "evidence": "main-always",
        "run_mode": "exercise",
        "location": {"lon": 1.0, "lat": 2.0, "crs": "WGS84", "accuracy_m": 5.0},
    }
    assert line.notes == ()


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("5.10117E+19,,rtsp://h/1,,,,,,,,", "a spreadsheet made a number of the id"),
        (",东门,rtsp://h/1,,,,,,,,", "has no id"),
        ("b,,,,,,,,,,", "url: Field required"),
        ("b,,http://h/1,,,,,,,,", "must begin with rtsp://"),
        ("b,,rtsp://a:S3cret@h/1,,,,,,,,", "a password stands in it"),
        ("b,,rtsp://h/1,,,,,,,admin,S3cret", "a password stands in it"),
        ("b,,rtsp://a@h/1,,,,,,,admin,${P}", "both in its URL and in columns"),
        ("b,,rtsp://h/1,机场,,,,,,,", "place: Input should be 'street'"),
        ("b,,rtsp://h/1,,103.8,,,,,,", "location.lat: Field required"),
        ("b,,rtsp://h/1,,,,GCJ02,,,,", "crs (坐标系) without lon (经度) and lat (纬度)"),
        ("b,,rtsp://h/1,,30.8,103.8,,,,,", "location.lat: Input should be less than or equal to 90"),
        ("b,,rtsp://h/1,,,,,,,,,,,x", "has 14 cells, the headings are 11"),
        ("51011704001320000001,,rtsp://h/1,,,,,,,,", "the id stands in line 2 already"),
    ],
)
def test_a_line_that_is_not_taken_says_why_and_shows_no_password(written, cells, reason):
    """Each reason names the field and what to do; the other lines are taken."""
    file = written(HEAD + GOOD + cells + "\n" + GOOD.replace("0001,", "0009,"))
    problems = refused(file)
    assert list(problems) == [3]
    assert reason in problems[3]
    assert "S3cret" not in problems[3]
    assert len(read_lines(file).taken) == 2


def test_what_a_spreadsheet_does_to_digits_is_undone_or_told(written):
    """A quoted number and full-width digits are mended; an id of zeros at the end is taken with a remark."""
    text = HEAD + '"=""51011704001320000001""",,rtsp://h/1,,,,,,,,\n\'2,,rtsp://h/1,,１０３,３０,,,,,\n'
    text += "51011704001320000000,,rtsp://h/1,,,,,,,,\n"
    lines = read_lines(written(text)).taken
    assert [line.camera_id for line in lines] == ["51011704001320000001", "2", "51011704001320000000"]
    assert lines[1].fields.location.lon == 103
    assert [any("spreadsheet" in note for note in line.notes) for line in lines] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("名称,地址\n东门,rtsp://h/1\n", "no heading id (编码)"),
        ("id,编码,url\n1,2,rtsp://h/1\n", "two headings mean id"),
        ("", "no heading id (编码) and url (地址)"),
        ('id,url\n"a,rtsp://h/1' + "x" * 200_000, "is no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_one_sentence(written, text, problem):
    """Without its headings no line means anything."""
    with pytest.raises(InputError) as caught:
        read_lines(written(text))
    assert problem in str(caught.value)


def test_the_report_tells_everything_once_and_the_exit_code_says_whether_all_was_taken(written, run):
    """Lines with reasons, remarks, headings that mean nothing, places, and what changed."""
    text = (
        HEAD.strip()
        + ",备注\n"
        + GOOD.strip()
        + ",x\nb,,rtsp://h/1,学校门口,1,2,,,,,,\nc,,http://h,,,,,,,,,\n"
    )
    ended = run("import", written(text))
    assert ended.exit_code == 1
    for part in (
        "cameras.csv:4: c: not taken: url: must begin with rtsp://",
        "1 taken with a remark: no crs (坐标系): WGS84 is taken (line 3)",
        "1 taken with a remark: school_gate: nothing is looked for here until `kinds` or `zones` say so",
        "headings that mean nothing here: 备注",
        "needed where gridwatch runs: CAM_PW",
        "3 cameras: 2 taken, 1 not",
        "by place: market 1, school_gate 1",
        "2 new, 0 changed, 0 unchanged",
    ):
        assert part in ended.stdout
    assert run("import", written(HEAD + GOOD)).exit_code == 0


def test_an_import_is_idempotent_and_a_dry_run_changes_nothing(written, run):
    """The same file twice makes no version; what would happen is told without doing it."""
    file = written(HEAD + GOOD)
    assert (
        "1 new, 0 changed, 0 unchanged (a dry run: nothing was changed)"
        in run("import", file, "--dry-run").stdout
    )
    assert documents(run) == {}
    assert "1 new, 0 changed, 0 unchanged" in run("import", file).stdout
    assert "0 new, 0 changed, 1 unchanged" in run("import", file).stdout
    assert (
        "0 new, 1 changed, 0 unchanged" in run("import", written(HEAD + GOOD.replace("东门", "南门"))).stdout
    )


def test_replacing_removes_what_is_not_in_the_file_unless_a_line_of_it_was_not_taken(written, run):
    """A line with a mistake may be a camera that is to stay."""
    run("import", written(HEAD + GOOD + "b,,rtsp://h/1,,,,,,,,\n"))
    kept = run("import", written(HEAD + GOOD + "b,,http://h/1,,,,,,,,\n"), "--replace")
    assert "nothing was removed" in kept.stdout
    assert list(documents(run)) == ["51011704001320000001", "b"]
    assert "1 removed: b" in run("import", written(HEAD + GOOD), "--replace").stdout
    assert list(documents(run)) == ["51011704001320000001"]


KNOWN = """
cameras:
  - id: a
    name: 旧
    url: rtsp://h/1
    sub_url: rtsp://h/2
    place: market
    watch: maintenance
    run_mode: exercise
    evidence: main-always
    transport: udp
    patrols: true
    recorder: nvr-1
    location: {lon: 103.0, lat: 30.0, crs: GCJ02, accuracy_m: 5.0}
    zones: [{id: z, kinds: [fire], polygon: [[0, 0], [1, 0], [1, 1]]}]
"""


def test_what_a_csv_has_no_column_for_stays_as_it_was(written, run):
    """A list of names does not switch cameras on again, nor wipe drawn zones."""
    run("import", written(KNOWN, "known.yaml"))
    before = documents(run)["a"]
    told = run("import", written("编码,名称,地址\na,新,rtsp://h/9\nb,,rtsp://h/3\n"))
    assert "1 new, 1 changed, 0 unchanged" in told.stdout
    assert documents(run)["a"] == before | {"name": "新", "url": "rtsp://h/9"}
    again = run("import", written("编码,场所,地址,经度,纬度\na,市场,rtsp://h/9,103,30\n"))
    assert "0 new, 0 changed, 1 unchanged" in again.stdout
    assert "no crs" not in again.stdout


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("id,url,kinds\na,rtsp://h/1,smoke\n", {"zones"}),
        ("id,url,place\na,rtsp://h/1,road\n", {"zones"}),
        ("id,url,watch,sub_url,lon,lat\na,rtsp://h/1,,,,\n", {"watch", "sub_url", "location"}),
    ],
)
def test_what_a_csv_has_a_column_for_is_as_the_csv_says(written, run, text, gone):
    """An empty cell is a word as well: the default. Zones were drawn for what was looked for there, and for that place."""
    run("import", written(KNOWN, "known.yaml"))
    before = documents(run)["a"]
    assert "0 new, 1 changed, 0 unchanged" in run("import", written(text)).stdout
    assert before.keys() - documents(run)["a"].keys() == gone


@pytest.mark.parametrize(
    ("text", "stay"),
    [
        ("id,url,kinds\na,rtsp://h/1,smoke\n", False),
        ("id,url,kinds,crowd_limit,place\na,rtsp://h/1,,30,market\n", False),
        ("id,url,place\na,rtsp://h/1,\n", False),  # the default is another place
        ("id,url,kinds,crowd_limit,place\na,rtsp://h/1,,,market\n", True),
    ],
)
def test_drawn_zones_that_a_line_replaces_are_told_of_and_empty_cells_replace_none(written, run, text, stay):
    """An export has such cells in the line of every camera with drawn zones: to rename one is not to wipe them."""
    run("import", written(KNOWN, "known.yaml"))
    told = run("import", written(text), "--dry-run").stdout
    assert ("1 taken with a remark: its drawn zones are replaced" in told) is not stay
    assert "0 new, 1 changed" in run("import", written(text.replace("h/1", "h/7"))).stdout
    assert ("zones" in documents(run)["a"]) is stay


def test_a_line_that_does_not_go_with_the_register_is_not_taken(written, run):
    """The sentence says that it is the two together."""
    run("import", written("id,url,place,crowd_limit\na,rtsp://h/1,market,30\n"))
    told = run("import", written("id,url,place\na,rtsp://h/1,forest_edge\n"))
    assert told.exit_code == 1
    assert "not taken: with what the register has beside it: crowd_limit: crowds are not" in told.stdout


@pytest.mark.parametrize(("text", "name"), [(HEAD, "empty.csv"), ("cameras: []\n", "empty.yaml")])
def test_a_file_without_a_camera_replaces_nothing(written, run, text, name):
    """An export that went wrong is an empty file; nobody wants to lose every camera to it."""
    run("import", written(HEAD + GOOD))
    told = run("import", written(text, name), "--replace").stdout
    assert "nothing was removed: the file names no camera" in told
    assert list(documents(run)) == ["51011704001320000001"]


def test_yaml_is_taken_camera_by_camera_with_the_line_of_each(written, run):
    """A mistake in one does not keep the others out; zones and resolvers come through an export and back."""
    text = """
cameras:
  - {id: a, url: 'rtsp://h/1', zones: [{id: z, kinds: [crowd], purpose: 承载量, polygon: [[0, 0], [1, 0], [1, 1]]}]}
  - {id: b, url: {command: [play, b]}, watch: off}
  - {id: c, url: 'rtsp://h/1', zones: [{id: z, kinds: [crowd]}]}
  - nothing
"""
    file = written(text, "cameras.yml")
    assert refused(file) == {
        5: "zones.0: a crowd zone needs a purpose (its safety reason)",
        6: "id: Field required; url: Field required",
    }
    run("import", file)
    before = documents(run)
    assert before["b"] == {"id": "b", "url": {"command": ["play", "b"]}, "watch": "off"}
    out = file.with_name("out.yaml")
    assert run("export", out).exit_code == 0
    assert "0 new, 0 changed, 2 unchanged" in run("import", out, "--replace").stdout
    assert documents(run) == before


def test_a_camera_that_is_too_large_for_the_register_keeps_no_other_out(written, run):
    """It is one line that is not taken, with the reason."""
    zone = f"{{id: z, kinds: [fire], name: {'x' * 70_000}}}"
    text = f"cameras:\n  - {{id: a, url: 'rtsp://h/1', zones: [{zone}]}}\n  - {{id: b, url: 'rtsp://h/2'}}\n"
    told = run("import", written(text, "large.yaml"))
    assert told.exit_code == 1
    assert "large.yaml:2: a: not taken: is described in more than 64 KiB" in told.stdout
    assert list(documents(run)) == ["b"]


def test_an_exported_csv_is_imported_as_it_was_and_says_what_it_lost(written, run):
    """What fits into a line comes back, what does not stays; names that a spreadsheet would compute are harmless in it."""
    run("import", written(HEAD + GOOD + '-2,"=HYPERLINK(""x"")",rtsp://h/1,,,,,,,,\n'))
    run(
        "import",
        written("cameras:\n  - {id: z, url: 'rtsp://h/1', zones: [{id: z, kinds: [fire]}]}\n", "z.yaml"),
    )
    before = documents(run)
    assert before["-2"]["name"] == '=HYPERLINK("x")'
    out = written("", "out.csv")
    ended = run("export", out)
    assert "1 cameras do not fit into CSV, and are missing there: z" in ended.stderr
    assert "\n'-2,\"'=HYPERLINK" in out.read_text("utf-8")
    told = run("import", out).stdout
    assert "0 new, 0 changed, 3 unchanged" in told
    assert documents(run) == before


def test_3500_lines_are_entered_in_seconds(folder, written):
    """A whole city's list, checked line by line, stored and compared."""
    rows = [
        f"{51011704001320000001 + n},相机 {n},rtsp://10.{n // 250}.{n % 250}.1/ch1,街道,103.88,30.81,WGS84,,,admin,${{P}}"
        for n in range(3_500)
    ]
    file = written(HEAD + "\n".join(rows))
    config, began = folder / "gridwatch.yaml", time.process_time()
    assert import_cameras(config, file, dry_run=False, replace=False) == 0
    assert import_cameras(config, file, dry_run=False, replace=False) == 0
    assert time.process_time() - began < 15.0  # measured: 1.4


def test_the_list_and_the_check_name_what_is_not_watched_and_why(written, run, folder):
    """One line a camera; what is off, set aside or unusable says so, and the check fails."""
    run(
        "import",
        written(HEAD + GOOD + "b,,rtsp://h/1,校门,,,,,,,\nc,,rtsp://h/2,,,,,,,,\nd,,rtsp://h/3,,,,,,,,\n"),
    )
    for _ in range(2):
        set_aside.note_crash(folder / "state", ["d"], SystemClock().now(), "SIGSEGV")
    lines = {line.split("\t")[0]: line.split("\t") for line in run("list").stdout.splitlines()}
    assert lines["51011704001320000001"][5] == "unknown: environment variable CAM_PW is not set here"
    assert lines["51011704001320000001"][2:5] == ["market", "crowd fire smoke", "nvr-1"]
    assert [lines[name][5] for name in ("b", "c")] == ["off: nothing enabled", "yes"]
    assert lines["d"][5].startswith("set aside: the decoder crashed 2 times")
    checked = run("check")
    assert checked.exit_code == 1
    assert "0001: environment variable CAM_PW is not set here\n" in checked.stdout
    assert "d: set aside since" in checked.stdout
    assert "4 cameras, revision 4; 2 wrong" in checked.stdout


def test_a_camera_that_was_set_aside_is_resumed_once(run, folder):
    """A second time there is nothing to resume, and that is said."""
    for _ in range(2):
        set_aside.note_crash(folder / "state", ["d"], SystemClock().now(), "SIGSEGV")
    assert run("resume", "d").exit_code == 0
    assert set_aside.load(folder / "state") == {}
    again = run("resume", "d")
    assert isinstance(again.exception, InputError)
    assert "is not set aside" in str(again.exception)


def test_a_file_is_checked_without_a_store(written, run, folder, monkeypatch):
    """Before anything is installed: what would be taken, and which passwords are not set."""
    file = written(HEAD + GOOD)
    monkeypatch.delenv("CAM_PW", raising=False)
    assert run("check", file).exit_code == 1
    monkeypatch.setenv("CAM_PW", "x")
    assert run("check", file).exit_code == 0
    assert not (folder / "state").exists()
