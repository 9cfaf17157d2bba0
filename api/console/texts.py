# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every word that an operator reads in the console, in Chinese and English. Not messages' or the API's.

Those of signing in stand in `login`, those of the cameras' page in `sight_texts`, other rooms' phrases in `phrases`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from api.console.phrases import PHRASES
from api.console.sight_texts import SIGHT_TEXTS


class Language(StrEnum):
    """A language of the console."""

    ZH = "zh"
    EN = "en"

    @property
    def other(self) -> "Language":
        """The one that the switch leads to."""
        return Language.EN if self is Language.ZH else Language.ZH


TEXTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        **SIGHT_TEXTS,
        "product": ("网格视界", "gridwatch"),
        "subtitle": ("视频疑似警情", "suspected incidents on video"),
        "language": ("English", "中文"),
        "mode.exercise": ("演练", "exercise"),
        "mode.test": ("测试", "test"),
        # proof of sight
        "sight.seeing": ("看得见 {seeing} / {cameras} 路", "{seeing} of {cameras} cameras seeing"),
        "sight.blind": ("看不见 {blind} 路", "{blind} blind"),
        "sight.other": ("降级或停用 {other} 路", "{other} degraded or off"),
        "sight.oldest": ("最旧一眼 {age} 秒前", "oldest look {age} s ago"),
        "sight.no_look": ("尚无画面分析结果", "no look answered yet"),
        "sight.none": ("没有一路摄像机看得见", "no camera is seeing"),
        "sight.not_live": ("非实时，每 2 秒刷新", "not live, every 2 s"),
        "sight.stale": (
            "与服务器的连接中断，以下内容不是最新",
            "connection lost: what you see is not current",
        ),
        "sight.store": ("数据库无应答，列表不是最新", "store does not answer: list not current"),
        "state.seeing": ("正常", "seeing"),
        "state.degraded": ("降级", "degraded"),
        "state.blind": ("看不见", "blind"),
        "state.off": ("停用", "off"),
        "state.maintenance": ("维护", "maintenance"),
        # list
        "list.pending": ("待核 {count}", "To review {count}"),
        "list.decided": ("已核", "Reviewed"),
        "list.more": ("还有更早的警情，显示更多", "there are older alerts: show more"),
        "list.empty": ("目前没有警情", "No alerts"),
        "list.empty_proof": (
            "在看得见的范围内没有发现；看不见的地方情况不明。",
            "Nothing was found where cameras see; where they do not, nothing is known.",
        ),
        "list.empty_blind": (
            "没有摄像机看得见：空列表不代表平安。",
            "No camera is seeing: an empty list does not mean that all is well.",
        ),
        "list.unknown": (
            "警情情况不明：数据库没有应答，列表不代表平安。",
            "Alerts unknown: the store does not answer; this list does not mean that all is well.",
        ),
        "list.none_pending": ("没有待核警情", "nothing to review"),
        # kinds and words of the three fields
        "kind.fire": ("明火", "fire"),
        "kind.smoke": ("烟雾", "smoke"),
        "kind.crowd": ("人群", "crowd"),
        "kind.traffic": ("交通", "traffic"),
        "severity.1": ("一级", "level 1"),
        "severity.2": ("二级", "level 2"),
        "severity.3": ("三级", "level 3"),
        "severity.4": ("四级", "level 4"),
        "activity.ongoing": ("持续中", "ongoing"),
        "activity.unseen": ("暂看不见", "out of sight"),
        "activity.ended": ("已消失", "ended"),
        "decision.pending": ("待核", "to review"),
        "decision.confirmed": ("已确认", "confirmed"),
        "decision.dismissed": ("已排除", "dismissed"),
        "case.none": ("未上报", "not reported"),
        "case.reported": ("已收件", "received"),
        "case.accepted": ("已受理", "accepted"),
        "case.dispatched": ("已派遣", "dispatched"),
        "case.signed": ("已签收", "signed"),
        "case.handled": ("已处置", "handled"),
        "case.verified": ("已核查", "verified"),
        "case.closed": ("已结案", "closed"),
        "case.returned": ("退回补充", "returned"),
        "case.rejected": ("不予立案", "rejected"),
        "case.voided": ("已作废", "voided"),
        "case.reopened": ("已重开", "reopened"),
        "lane.fire": ("火警 119", "fire 119"),
        "lane.police": ("警情 110 / 122", "police 110 / 122"),
        "lane.non_police": ("非警情", "non-police"),
        # the alert
        "detail.none": ("未选择警情", "no alert selected"),
        "detail.no_still": ("没有现场图片", "no picture"),
        "detail.facts": ("依据", "Facts"),
        "detail.place": ("地点", "Place"),
        "detail.due": ("时限", "Deadlines"),
        "detail.timeline": ("经过", "Timeline"),
        "detail.camera": ("摄像机", "camera"),
        "detail.zone": ("区域", "zone"),
        "detail.grid": ("网格", "grid"),
        "detail.no_grid": ("不在任何网格内", "in no grid"),
        "detail.address": ("位置", "address"),
        "detail.lane": ("分流", "lane"),
        "detail.unit": ("建议责任单位", "unit hint"),
        "detail.category": ("类别", "category"),
        "detail.began": ("开始", "began"),
        "detail.opened": ("报出", "opened"),
        "detail.last_seen": ("最近所见", "last seen"),
        "detail.ended": ("消失", "ended"),
        "detail.case": ("案件", "case"),
        "detail.handling": ("案件办理", "Case"),
        "detail.case_state": ("状态", "state"),
        "detail.merged": ("并入案件", "merged into case"),
        "detail.reworks": ("返工次数", "sent back for rework"),
        "detail.unsigned": ("尚未签收", "not signed yet"),
        "detail.missing": ("缺少的案件回复", "answers that have not come"),
        "conflict": ("案件系统报告冲突", "The case system reports a conflict"),
        "conflict.why": (
            "消息 {message} 在案件系统中已存有不同内容，未被覆盖。请与案件系统人工核对。",
            "It holds message {message} with other content and did not overwrite it. Compare the two by hand.",
        ),
        "unit.lead": ("主办", "lead"),
        "unit.assist": ("协办", "assist"),
        "handling.conflict": ("冲突", "conflict"),
        "handling.merged": ("已并案", "merged"),
        "handling.unsigned": ("待签收 {count}", "{count} to sign"),
        "handling.missing": ("缺回复", "answers missing"),
        "detail.confidence": ("置信度", "confidence"),
        "detail.captured": ("拍摄于", "captured"),
        "detail.decided": ("{by} 于 {at} {decision}", "{decision} by {by} at {at}"),
        "detail.main": ("主码流", "main stream"),
        "detail.main_still": ("大图", "larger picture"),
        "detail.main_clip": ("高清录像", "clip"),
        "clip.ready": ("录像片段", "clip"),
        "clip.late": ("录像片段（缺少事发瞬间）", "clip (begins after the opening)"),
        "clip.pending": ("录像生成中", "clip is being made"),
        "clip.none": ("没有录像", "no clip"),
        "call119": ("立即拨打 119", "Call 119 at once"),
        "call119.why": (
            "本系统不是经认证的火灾报警装置。看到疑似火情请立即拨打 119，不要等待核实。",
            "Not a certified fire alarm. If this may be a fire, call 119 at once; do not wait for a review.",
        ),
        # deadlines
        "due.review": ("核实", "review"),
        "due.sign": ("签收", "sign"),
        "due.handle": ("办理", "handle"),
        "due.verify": ("核查", "verify"),
        # decisions
        "do.confirm": ("确认", "Confirm"),
        "do.dismiss": ("排除", "Dismiss"),
        "do.cancel": ("取消", "Cancel"),
        "dismiss.title": ("排除的原因", "Why dismiss it?"),
        "dismiss.note": ("备注（误报请写明实际是什么）", "note (for a false alarm: what it really was)"),
        "dismiss.hint": (
            "先写备注（可空），再按 1–4 排除；回车离开备注框",
            "note first if any, then 1–4; Enter leaves the note",
        ),
        "change.title": ("已排除的警情改为确认", "Confirm what was dismissed"),
        "change.note": ("改变决定的原因（必填）", "why the decision changes (required)"),
        "change.hint": ("写明原因，回车，再按 C", "say why, Enter, then press C"),
        "reason.false_alarm": ("误报", "false alarm"),
        "reason.harmless": ("属实，无需处置", "true but harmless"),
        "reason.drill": ("演练", "drill"),
        "reason.duplicate": ("重复", "duplicate"),
        "reason.retention": ("保存期已满", "kept for its time"),
        "reason.disk_full": ("存储已满，先删已排除警情的证据", "the folder was full"),
        "reason.to_leave": ("脱敏录像，可对外提供", "blurred clip that may leave"),
        "reason.restart": ("系统重启，现场待重新看见", "gridwatch restarted and has yet to look again"),
        "reason.outside_schedule": (
            "区域布防时段已过，未再观察",
            "outside the times at which the zone is watched",
        ),
        "reason.seen_again_without_it": (
            "重新看见现场，已无该现象",
            "the scene is in sight again, without it",
        ),
        "done.confirmed": ("已确认", "confirmed"),
        "done.dismissed": ("已排除", "dismissed"),
        "refused.conflict": (
            "{by} 已于 {at} {decision}，请先看再定",
            "{by} decided at {at}: {decision}. Look again first",
        ),
        "refused.illegal": ("不能这样决定：{why}", "this decision is not allowed: {why}"),
        "refused.store": (
            "没有记录：数据库无应答，请再试",
            "not recorded: the store does not answer, try again",
        ),
        "refused.unseen": (
            "没有记录：这条警情已不是所看到的，请先看再定",
            "not recorded: this alert is not the one you saw, look again first",
        ),
        "refused.gone": ("这条警情已不存在", "this alert is gone"),
        # keys
        "keys.move": ("上下移动", "move"),
        "keys.pending": ("下一条待核", "next to review"),
        "keys.confirm": ("确认", "confirm"),
        "keys.dismiss": ("排除，再按 1–4", "dismiss, then 1–4"),
        "keys.clip": ("看录像", "clip"),
        "keys.language": ("中文 / English", "English / 中文"),
        # timeline
        "row.opened": ("报出疑似警情", "opened"),
        "row.updated": ("更新", "updated"),
        "row.unseen": ("摄像机暂看不见现场", "out of the camera's sight"),
        "row.seen": ("重新看见现场", "in sight again"),
        "row.ended": ("现场不再可见该现象", "no longer there"),
        "row.reopened": ("再次出现", "there again"),
        "row.confirmed": ("确认属实", "confirmed"),
        "row.dismissed": ("排除", "dismissed"),
        "row.case": ("案件系统回复", "case system answered"),
        "row.case_decision": ("案件系统认定：{decision}", "case system decided: {decision}"),
        "row.rework": ("返工", "sent back for rework"),
        "outcome.stored": ("消息已存", "message stored"),
        "outcome.duplicate": ("消息此前已收到", "message known already"),
        "outcome.merged": ("与已有案件合并", "merged with a case that exists"),
        "outcome.conflict": ("同号消息内容不一致", "same message with other content"),
        "remark.filled_in": ("迟到的回复，已按次序补入", "came late, put in where it belongs"),
        "row.evidence": ("保存证据", "evidence stored"),
        "row.evidence_deleted": ("删除证据", "evidence deleted"),
        "row.orphan": ("无主回复", "orphan reply"),
        "row.adopted": ("恢复备份后据案件队列补录", "taken from the case queue after a restore"),
        "timeline.older": ("更早的经过未列出", "older changes are not listed"),
        "evidence.still": ("现场图片已存", "still stored"),
        "evidence.detail_still": ("主码流大图已存", "main stream: picture"),
        "evidence.detail_clip": ("主码流录像已就绪", "main stream: clip ready"),
        "evidence.clip": ("录像已就绪", "clip ready"),
        # why an answer of the case system moved nothing
        "flag.unknown": ("未采纳：回复类型未知", "not taken: unknown kind of answer"),
        "flag.late": ("未采纳：回复已过时", "not taken: came late"),
        "flag.illegal": ("未采纳：当前不允许这一步", "not taken: not allowed now"),
        "flag.other_case": ("未采纳：属于另一案件", "not taken: of another case"),
        "flag.conflict": (
            "须人工核对：案件系统称消息有冲突",
            "check by hand: case system reports a conflict",
        ),
        "flag.collision": ("未采纳：与先前的回复矛盾", "not taken: contradicts an earlier answer"),
        "actor.machine": ("系统", "system"),
        "actor.operator": ("操作员", "operator"),
        "actor.case": ("案件系统", "case system"),
        # facts
        "fact.count": ("人数", "persons"),
        "fact.count_low": ("人数下限", "persons, at least"),
        "fact.count_high": ("人数上限", "persons, at most"),
        "fact.people_by_boxes": ("逐个数出", "counted one by one"),
        "fact.people_by_density": ("按密度估计", "estimated by density"),
        "fact.density_per_m2": ("密度（人/平方米）", "density (persons per m²)"),
        "fact.limit": ("限值（人）", "limit (persons)"),
        "fact.limit_s": ("限时（秒）", "limit (s)"),
        "fact.dwell_s": ("已持续（秒）", "lasted (s)"),
        "fact.looks_in_favour": ("支持的观察次数", "looks in favour"),
        "fact.looks_taken": ("观察次数", "looks taken"),
        "fact.looks_without": ("其后未见的次数", "looks without it"),
        "fact.unseen_s": ("未见（秒）", "not seen for (s)"),
        "fact.area_share": ("占画面", "share of the picture"),
        "fact.growth": ("面积倍数", "growth (times)"),
        "fact.highest_confidence": ("最高置信度", "highest confidence"),
        "fact.change_inside": ("框内变化（灰度）", "change inside (grey levels)"),
        "fact.beside_fire": ("紧邻火焰", "beside a fire"),
        "fact.vehicles": ("车辆数", "vehicles"),
        "fact.vehicle": ("车型", "vehicle"),
        "fact.stood_at_first_look": ("首次观察时已停", "stood at the first look"),
        "label.person": ("人", "person"),
        "label.bicycle": ("自行车", "bicycle"),
        "label.car": ("小汽车", "car"),
        "label.motorcycle": ("摩托车", "motorcycle"),
        "label.bus": ("客车", "bus"),
        "label.truck": ("货车", "truck"),
        "label.fire": ("火焰", "fire"),
        "label.smoke": ("烟雾", "smoke"),
        # time
        "time.now": ("刚刚", "just now"),
        "time.seconds": ("{n} 秒", "{n} s"),
        "time.minutes": ("{n} 分", "{n} min"),
        "time.hours": ("{n} 小时", "{n} h"),
        "time.days": ("{n} 天", "{n} d"),
        "time.ago": ("{age}前", "{age} ago"),
        "time.left": ("剩 {age}", "{age} left"),
        "time.over": ("超时 {age}", "{age} overdue"),
    }
)
_REST: Final = "{rest}"
_COLUMN: Final = MappingProxyType({Language.ZH: 0, Language.EN: 1})
_WEIGHTED: Final = re.compile(r"^\s*([a-zA-Z]{1,8})(?:-[\w-]*)?\s*(?:;\s*q=([0-9.]{1,5}))?\s*$")


class Words:
    """The texts of one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._column = _COLUMN[language]

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with its places filled."""
        return TEXTS[key][self._column].format(**values)

    def of(self, group: str, word: str) -> str:
        """Return the text of a word of a group, or the word itself where none is written."""
        pair = TEXTS.get(f"{group}.{word}")
        return word if pair is None else pair[self._column]

    def group(self, name: str) -> dict[str, str]:
        """Return all texts of a group by their words, places unfilled."""
        head = f"{name}."
        return {
            key.removeprefix(head): pair[self._column] for key, pair in TEXTS.items() if key.startswith(head)
        }

    def phrase(self, said: str) -> str:
        """Return what another room said in English, in this language where the phrase is known; else as it is."""
        if self.language is Language.EN:
            return said
        if said in PHRASES:
            return PHRASES[said]
        for known, text in PHRASES.items():
            head, place, tail = known.partition(_REST)
            fits = (
                place and len(said) > len(head) + len(tail) and said.startswith(head) and said.endswith(tail)
            )
            if fits:
                return text.format(rest=self.phrase(said[len(head) : len(said) - len(tail)]))
        return said

    def pick(self, texts: Mapping[str, str]) -> str:
        """Return this language's entry of an alert's own texts."""
        return texts.get(self.language.value) or next(iter(texts.values()), "")


def choose_language(asked: str | None, remembered: str | None, accepted: str | None) -> Language:
    """Return the language that was asked for, was chosen before, or that the browser prefers; Chinese otherwise."""
    for choice in (asked, remembered):
        if choice in set(Language):
            return Language(choice)
    return _preferred(accepted or "")


def _preferred(accepted: str) -> Language:
    """Read Accept-Language (RFC 9110 section 12.5.4): the known language with the highest weight."""
    best, best_weight = Language.ZH, 0.0
    for part in accepted[:200].split(","):
        match = _WEIGHTED.match(part)
        if match is None or match.group(1).lower() not in set(Language):
            continue
        weight = _weight(match.group(2))
        if weight > best_weight:
            best, best_weight = Language(match.group(1).lower()), weight
    return best


def _weight(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0
