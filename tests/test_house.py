# SPDX-License-Identifier: AGPL-3.0-or-later
"""The house rules that no linter knows: which packages there are, sizes, headers, and what must not stand anywhere."""

import ast
import fnmatch
import json
import os
import re
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split() if line]
BINARY = {".onnx", ".npz", ".npy", ".bin", ".mp4", ".png", ".jpg", ".webp", ".webm", ".ttf", ".woff2", ".xml"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def own_files():
    """Return every file of the repository that is not ignored."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        kept = [name for name in folders if name != ".git" and not ignored(name)]
        folders[:] = [name for name in kept if not Path(folder, name, ".git").exists()]
        found += [Path(folder, name) for name in names if not ignored(name)]
    return sorted(found)


def ignored(name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in IGNORED)


FILES = own_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in SOURCES}


def shown(path):
    return path.relative_to(ROOT).as_posix()


def inside(path, *folders):
    return path.relative_to(ROOT).parts[0] in folders


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_one_list_of_packages():
    """The wheel, the import contracts, the type checker and the folders name the same six packages."""
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(PACKAGES) == folders
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == folders
    assert set(PROJECT["tool"]["mypy"]["files"]) == folders
    assert all((ROOT / name / "py.typed").exists() for name in folders)
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns_a_package_of_ours(package):
    """A distribution that installs the same top-level name would overwrite ours silently."""
    assert set(packages_distributions().get(package, ["gridwatch"])) == {"gridwatch"}


def test_exactly_one_opencv_is_installed():
    """Two OpenCV distributions overwrite each other's cv2 folder."""
    names = {(one.metadata["Name"] or "").lower().replace("_", "-") for one in distributions()}
    assert [name for name in sorted(names) if name.startswith("opencv-")] == ["opencv-python-headless"]


def test_every_source_names_its_licence():
    """The first line of each Python file is the SPDX header."""
    header = "# SPDX-License-Identifier: AGPL-3.0-or-later"
    bare = [shown(path) for path in SOURCES if not path.read_text("utf-8").startswith(header + "\n")]
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run", ROOT / "docker/Dockerfile"]
    bare += [
        shown(path) for path in scripts if path.is_file() and header not in path.read_text("utf-8")[:200]
    ]
    assert bare == []
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text("utf-8")


def test_files_stay_readable():
    """No Python file has more than 400 lines."""
    sizes = {shown(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_functions_stay_readable():
    """No function outside the tests has more than 60 lines."""
    long = {
        f"{shown(path)}:{node.lineno} {node.name}": size
        for path, tree in TREES.items()
        if not inside(path, "tests")
        for node in functions(tree)
        if (size := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_every_package_describes_itself():
    """Each package and module outside the tests begins with a docstring."""
    own = {path: tree for path, tree in TREES.items() if not inside(path, "tests")}
    assert [shown(path) for path, tree in own.items() if not ast.get_docstring(tree)] == []


def test_every_test_states_the_behaviour():
    """Each test function has a docstring."""
    silent = [
        f"{shown(path)}:{node.name}"
        for path, tree in TREES.items()
        if path.name.startswith("test_")
        for node in functions(tree)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_test_files_have_names_of_their_own():
    """Test files are no packages, and no two of them share a name."""
    assert [
        shown(path)
        for path in SOURCES
        if inside(path, "tests", "docker", "docs") and path.name == "__init__.py"
    ] == []
    names = [path.name for path in SOURCES if inside(path, "tests") and path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_no_module_is_a_drawer():
    """Nothing is called utils, common or helpers, and no class is a Manager or Handler."""
    drawers = {"utils", "util", "common", "helpers", "misc"}
    named = [shown(path) for path in SOURCES if drawers & {path.stem, path.parent.name}]
    classes = [
        f"{shown(path)}: {node.name}"
        for path, tree in TREES.items()
        if not inside(path, "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Handler", "Utils", "Helper"))
    ]
    assert named + classes == []


REFUSED = re.compile(
    r"(^|_)(faces?|plates?|licen[cs]e_plate|person_(name|id)|id_no|phone|ethnic\w*|gender|petition\w*|re_?id|watch_?list"
    r"|black_?list|trajector\w*|identity|gallery)(_|$)|^age$|_of_person$"
)


def field_names(tree):
    """Return the names of all fields that classes declare: dataclasses, models, tables."""
    return {
        line.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def property_names(schema):
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from property_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from property_names(value)


def test_no_field_is_about_a_person():
    """No class and no JSON Schema declares a field about persons: faces, plates, names, identities, petitions."""
    found = {
        f"{shown(path)}: {name}"
        for path, tree in TREES.items()
        if inside(path, *PACKAGES)
        for name in field_names(tree)
        if REFUSED.search(name.lower())
    }
    for path in (ROOT / "docs").rglob("*.json"):
        names = property_names(json.loads(path.read_text("utf-8")))
        found |= {f"{shown(path)}: {name}" for name in names if REFUSED.search(name.lower())}
    assert found == set()


@pytest.mark.parametrize(
    "name", ["face_box", "plate", "person_id", "petition_count", "reid", "age", "watch_list"]
)
def test_refused_fields_are_recognised(name):
    """The pattern of the test above finds what it is for."""
    assert REFUSED.search(name)


@pytest.mark.parametrize("name", ["last_look_age_s", "template", "surface", "interface", "stage", "average"])
def test_ordinary_fields_are_not_refused(name):
    """The pattern does not find refused words inside of others."""
    assert not REFUSED.search(name)


MACHINE = re.compile(
    r"(?<![\w./~-])/(?:work|home|root|Users|farm)/\w|\.\./shared\b|--(?:extra-)?index-url\b|--find-links\b|(?:pypi|artifactory|nexus)\S*/simple"
)


def test_nothing_points_at_one_machine():
    """No file names an absolute path of somebody's machine, a folder outside the repository or a package index."""
    found = []
    for path in FILES:
        if path.suffix in BINARY or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if MACHINE.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    assert found == []


def links(path):
    """Return the files that a document names: relative links, and paths between backticks."""
    text = path.read_text("utf-8")
    targets = [path.parent / link for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)]
    named = re.findall(r"`((?:tests|docs|docker|scripts|gridwatch)/[\w./-]+\.(?:py|md|yaml|json))`", text)
    return targets + [ROOT / name for name in named]


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".md"], ids=shown)
def test_documents_name_files_that_exist(path):
    """Each relative link and each named file of a document is there."""
    assert [str(target) for target in links(path) if not target.exists()] == []


def test_sources_name_documents_that_exist():
    """Each page under docs/ that a source or configuration file names is there."""
    texts = {path: path.read_text("utf-8") for path in FILES if path.suffix in {".py", ".toml", ".yaml"}}
    missing = [
        f"{shown(path)}: {name}"
        for path, text in texts.items()
        for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|json)\b", text)
        if not (ROOT / name).exists()
    ]
    assert missing == []


def test_locks_are_hashed():
    """Each requirement of each lock is pinned to one version and carries hashes."""
    for lock in ("run", "dev"):
        lines = (ROOT / f"requirements/{lock}.lock").read_text("utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#", "-"))]
        assert pins
        assert [line for line in pins if not re.match(r"[\w.\[\]-]+==\S+ .*\\$", line)] == []
        assert "\n".join(lines).count("--hash=sha256:") >= len(pins)
    scenes = (ROOT / "requirements/scenes.lock").read_text("utf-8")
    assert re.fullmatch(r"ultralytics==\S+ --hash=sha256:[0-9a-f]{64}\n", scenes)
