# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proves that tests can fail: breaks one line at a time, in a copy of the tree, and runs only the tests named for it.

usage: sabotage.py [--check] [--root DIR] [--list FILE] [NAME …]
A breakage holds when every test that it names turns red. It fails the run when its line is not there exactly once (or
not after the line `after`, which is), when a named test stays green, is skipped or does not run, or when one is red without any breakage. The tree itself is never
changed. Exit codes: 0 all held, 1 one did not, 2 the list cannot be read.
"""

import argparse
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET  # reads what pytest wrote a moment ago
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"name", "what", "file", "old", "new", "tests"}
MAY_HAVE = {"after"}
TEST_TIMEOUT_S = 60
RED, GREEN, SKIPPED, ABSENT = "red", "green", "skipped", "absent"
WORDS = {RED: "is red", GREEN: "is green", SKIPPED: "is skipped", ABSENT: "did not run"}
NOT_COPIED = (".git", ".venv", ".venv-torch")


class ListError(Exception):
    """The list cannot be read; the message is one clear sentence."""


class StaleBreakageError(Exception):
    """A breakage does not fit the tree any more; the message says how."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """One line that is made wrong.

    Attributes:
        what: the mistake, in words.
        file: relative to the tree's root.
        old: the line without its indentation; it stands in the file exactly once, unless `after` is given.
        new: what takes its place, under the same indentation.
        tests: pytest ids; of a parametrised test one red case is enough.
        after: a line that stands in the file exactly once; the first `old` behind it is meant. Empty: none is needed.
    """

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    after: str = ""

    def apply(self, root: Path) -> str:
        """Break the line in the tree at `root`; return the file's text as it was.

        Raises:
            StaleBreakageError: the line is not there exactly once.
        """
        path = root / self.file
        if not path.is_file():
            raise StaleBreakageError(f"there is no {self.file}")
        text = path.read_text("utf-8")
        lines = text.splitlines(keepends=True)
        begins = self._place(lines, self.after) + 1 if self.after else 0
        place = self._place(lines, self.old, begins, only=not self.after)
        line = lines[place]
        indentation = line[: len(line) - len(line.lstrip())]
        lines[place] = f"{indentation}{self.new}\n"
        path.write_text("".join(lines), "utf-8")
        return text

    def _place(self, lines: Sequence[str], wanted: str, begins: int = 0, *, only: bool = True) -> int:
        places = [at for at, line in enumerate(lines) if at >= begins and line.strip() == wanted]
        if not places or (only and len(places) > 1):
            raise StaleBreakageError(f"{self.file} has the line {len(places)} times: {wanted}")
        return places[0]


def load(path: Path) -> list[Breakage]:
    """Return the breakages of a list.

    Raises:
        ListError: it cannot be read, an entry lacks a field, or two have one name.
    """
    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ListError(f"{path} cannot be read: {error}") from error
    found = []
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or set(entry) - MAY_HAVE != FIELDS:
            raise ListError(f"{path}: each entry has {', '.join(sorted(FIELDS))}; got {entry!r}")
        texts = {name: str(value or "").strip() for name, value in entry.items() if name != "tests"}
        found.append(Breakage(**texts, tests=tuple(entry["tests"] or ())))
        if not all((*texts.values(), found[-1].tests)) or found[-1].old == found[-1].new:
            raise ListError(f"{path}: {texts['name'] or 'an entry'} leaves a field empty or changes nothing")
    names = [breakage.name for breakage in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ListError(f"{path}: twice: {', '.join(sorted(twice))}")
    return found


def copy_tree(root: Path, target: Path) -> None:
    """Copy what is not ignored; the environment is shared by a link."""
    ignore = root / ".gitignore"
    patterns = [line.strip("/") for line in ignore.read_text("utf-8").split()] if ignore.is_file() else []

    def ignored(folder: str, names: list[str]) -> set[str]:
        unwanted = [*NOT_COPIED, "__pycache__", *patterns]
        folders = [name for name in names if Path(folder, name).is_dir()]
        return {name for name in folders if any(fnmatch.fnmatch(name, pattern) for pattern in unwanted)}

    shutil.copytree(root, target, ignore=ignored, symlinks=True)
    for name in (".venv", ".venv-torch"):
        if (root / name).exists():
            (target / name).symlink_to(root / name)


class Copy:
    """A copy of the tree in which tests run as in the tree itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PYTHONPATH": str(folder),
            # A file broken and mended within one second has the same age and perhaps the same size.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def foreign_packages(self) -> list[str]:
        """Return the packages that tests would not take from this copy: a red test would then say nothing."""
        names = sorted(path.parent.name for path in self.folder.glob("*/__init__.py"))
        code = "import importlib, sys; print(*(importlib.import_module(n).__file__ for n in sys.argv[1:]), sep='\\n')"
        told = self._python("-c", code, *names)
        places = [Path(line).resolve() for line in told.stdout.split("\n") if line]
        return [place.parent.name for place in places if not place.is_relative_to(self.folder.resolve())]

    def run(self, tests: Sequence[str]) -> dict[str, str]:
        """Run tests; return what became of each."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            # Where a test runs on both databases, the one that is everywhere is enough.
            options = ["-q", "-k", "not postgresql", f"--timeout={TEST_TIMEOUT_S}", f"--junitxml={report}"]
            options += ["-p", "no:rerunfailures"]  # a test that is red once is red
            told = self._python("-m", "pytest", *options, *tests)
            cases = list(ET.parse(report).iter("testcase")) if report.is_file() else []
        if not cases:  # one id that is not there keeps pytest from running any
            print(*(line for line in told.stderr.splitlines() if "ERROR" in line), sep="\n", flush=True)
        return {test: _outcome(test, cases) for test in tests}

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


def _outcome(test: str, cases: Sequence[ET.Element]) -> str:
    """Return what became of a test, by pytest's report: red where one of its cases is."""
    place, _, name = test.partition("::")
    module = place.removesuffix(".py").replace("/", ".")
    own = [
        case
        for case in cases
        if case.get("classname") == module
        and name in (case.get("name"), str(case.get("name")).partition("[")[0])
    ]
    if not own:
        return ABSENT
    if any(case.find(tag) is not None for case in own for tag in ("failure", "error")):
        return RED
    return SKIPPED if all(case.find("skipped") is not None for case in own) else GREEN


def try_all(root: Path, breakages: Sequence[Breakage], folder: Path) -> list[str]:
    """Try every breakage in a copy under `folder`; return what did not hold, in words."""
    copy = Copy(folder / "tree")
    copy_tree(root, copy.folder)
    if foreign := copy.foreign_packages():
        return [f"the tests would not run the copy's {', '.join(foreign)}"]
    tests = list(dict.fromkeys(test for breakage in breakages for test in breakage.tests))
    print(f"{len(breakages)} breakages; first the {len(tests)} tests on an unbroken copy ...", flush=True)
    wrong = [
        f"{test} {WORDS[state]} on an unbroken copy"
        for test, state in copy.run(tests).items()
        if state != GREEN
    ]
    print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    for number, breakage in enumerate(breakages, start=1):
        began = time.monotonic()
        problem = _try(breakage, copy)
        seconds = time.monotonic() - began
        print(f"[{number}/{len(breakages)}] {breakage.name}: {problem or RED} ({seconds:.1f} s)", flush=True)
        if problem:
            wrong.append(f"{breakage.name} ({breakage.what}): {problem}")
    return wrong


def _try(breakage: Breakage, copy: Copy) -> str:
    """Return what is wrong with a breakage, empty where all its tests turned red."""
    try:
        before = breakage.apply(copy.folder)
    except StaleBreakageError as error:
        return str(error)
    states = copy.run(breakage.tests)
    (copy.folder / breakage.file).write_text(before, "utf-8")
    return "; ".join(f"{test} {WORDS[state]}" for test, state in states.items() if state != RED)


def check_all(root: Path, breakages: Sequence[Breakage], folder: Path) -> list[str]:
    """Only look whether every line is there; return what is not, in words."""
    wrong = []
    for breakage in breakages:
        copy = folder / breakage.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            if (root / breakage.file).is_file():
                shutil.copy(root / breakage.file, copy)
            breakage.apply(folder)
        except StaleBreakageError as error:
            wrong.append(f"{breakage.name}: {error}")
    return wrong


def main() -> int:
    """Try the breakages that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="breakages to try; all where none is named")
    parser.add_argument(
        "--check", action="store_true", help="only look whether the lines are there; run nothing"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree")
    parser.add_argument(
        "--list", type=Path, help="the list; tests/sabotage.yaml of the tree where it is not given"
    )
    options = parser.parse_args()
    try:
        breakages = load(options.list or options.root / "tests" / "sabotage.yaml")
        if unknown := set(options.names) - {breakage.name for breakage in breakages}:
            raise ListError(f"the list has no {', '.join(sorted(unknown))}")
    except ListError as error:
        print(error, file=sys.stderr)
        return 2
    if options.names:
        breakages = [breakage for breakage in breakages if breakage.name in options.names]
    with tempfile.TemporaryDirectory(prefix="gridwatch-sabotage-") as folder:
        wrong = (check_all if options.check else try_all)(options.root, breakages, Path(folder))
    for line in wrong:
        print(f"NOT HELD {line}")
    print(f"{'FAIL' if wrong else 'PASS'} {len(breakages)} breakages")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
