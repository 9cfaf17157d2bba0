# SPDX-License-Identifier: AGPL-3.0-or-later
"""A script for the case desk: which incidents go which way (`docs/integrate/case-desk.md`). Read from a YAML file.

Knows no queue and no case: it turns a file into steps, or says in one sentence what is wrong with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.plan import DECISIONS, RECEIPTS, USUAL_WAY, Step, known_word
from gridwatch.simulator.case_desk.wire import Assignment, IncidentMessage, Unit

MAX_BYTES = 256 * 1024
LONGEST_S = 86_400


class _Border(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _StepSpec(_Border):
    say: str
    unit: str | None = Field(default=None, min_length=1, max_length=100)
    role: Literal["lead", "assist"] | None = None
    reason: str | None = Field(default=None, max_length=200)
    note: str | None = Field(default=None, max_length=200)
    by: str | None = Field(default=None, max_length=40)
    after_s: float | None = Field(default=None, ge=0, le=LONGEST_S)
    hold_s: float = Field(default=0, ge=0, le=LONGEST_S)
    twice: bool = False
    same_revision: bool = False

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if not known_word(self.say) or self.say in RECEIPTS:
            raise ValueError(f"{self.say!r} is no step; a word for trials begins with x-")
        return self

    def step(self) -> Step:
        return Step(**self.model_dump())


class _UnitSpec(_Border):
    code: str = Field(default="", max_length=40)
    name: str = Field(min_length=1, max_length=100)
    role: Literal["lead", "assist"]


def _in_long(step: Any) -> Any:
    return {"say": step} if isinstance(step, str) else step


_Way = list[Annotated[_StepSpec, BeforeValidator(_in_long)]]


class _RuleSpec(_Border):
    match: dict[str, str | int | bool] = Field(default_factory=dict, max_length=16)
    receipt: Literal["stored", "merged", "conflict"] = "stored"
    case: str | None = Field(default=None, min_length=1, max_length=128)
    units: list[_UnitSpec] | None = Field(default=None, min_length=1, max_length=16)
    when_reported: _Way = Field(default_factory=list, max_length=100)
    when_confirmed: _Way | None = Field(default=None, max_length=100)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.receipt == "merged") != (self.case is not None):
            raise ValueError("case is the number of the case of a receipt `merged`: one needs the other")
        if self.units is not None and [one.role for one in self.units].count("lead") != 1:
            raise ValueError("one of the units leads, the others assist")
        if any(step.say in DECISIONS for step in self.when_confirmed or ()):
            raise ValueError("a decision stands in when_reported")
        return self


class _ScriptSpec(_Border):
    cases: list[_RuleSpec] = Field(max_length=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of the incidents that match.

    Attributes:
        match: names in a message's `data` and the values that they must have; an empty one matches every incident.
        receipt: how the first message is answered.
        case: the case of a receipt `merged`.
        units: who takes part; None takes what the report suggests.
        when_reported: steps after the first message, decisions among them.
        when_confirmed: steps after the confirmation, ours or the desk's own.
    """

    match: dict[str, str | int | bool]
    receipt: str
    case: str | None
    units: tuple[Assignment, ...] | None
    when_reported: tuple[Step, ...]
    when_confirmed: tuple[Step, ...]


USUAL = Rule(match={}, receipt="stored", case=None, units=None, when_reported=(), when_confirmed=USUAL_WAY)


@dataclass(frozen=True, slots=True)
class Script:
    """Rules in order; the first that matches an incident is its own, and the usual way is the last."""

    rules: tuple[Rule, ...] = ()

    def rule_for(self, message: IncidentMessage) -> Rule:
        """Return the rule of the incident that a message is about."""
        for rule in self.rules:
            if all(message.data.get(name) == value for name, value in rule.match.items()):
                return rule
        return USUAL


def load_script(path: Path) -> Script:
    """Read a script.

    Raises:
        InputError: it cannot be read, or is not well formed; the message says where.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES} bytes", file=path)
        document: Any = yaml.safe_load(path.read_text("utf-8"))
        spec = _ScriptSpec.model_validate(document)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            f"is no YAML: {getattr(error, 'problem', None) or 'unreadable'}",
            file=path,
            line=None if mark is None else mark.line + 1,
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{place}: {first['msg']}", file=path) from error
    return Script(tuple(_rule(one) for one in spec.cases))


def _rule(spec: _RuleSpec) -> Rule:
    units = None
    if spec.units is not None:
        units = tuple(Assignment(Unit(one.code, one.name), one.role) for one in spec.units)
    way = spec.when_confirmed
    return Rule(
        match=dict(spec.match),
        receipt=spec.receipt,
        case=spec.case,
        units=units,
        when_reported=tuple(one.step() for one in spec.when_reported),
        when_confirmed=USUAL_WAY if way is None else tuple(one.step() for one in way),
    )
