# SPDX-License-Identifier: AGPL-3.0-or-later
"""The root of every error that gridwatch raises on purpose.

GridwatchError
├── InputError          wrong input from a person: what, where, what to do; the command line exits 2
└── (each room's own)   drawn in its errors.py
"""

from pathlib import Path


class GridwatchError(Exception):
    """Anything that gridwatch raises on purpose."""


class InputError(GridwatchError):
    """A person's input is wrong; the message is one clear sentence.

    Args:
        problem: what is wrong and what to do, without a full stop at the end being required.
        file: the file it stands in, if any.
        line: 1-based line in that file, if known.
    """

    def __init__(self, problem: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        self.problem, self.file, self.line = problem, file, line
        place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(place + problem)
