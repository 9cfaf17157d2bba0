# SPDX-License-Identifier: AGPL-3.0-or-later
"""People and a bus for the demo, cut out of one photograph by outlines made by hand.

The photograph is `assets/bus.jpg` of the package `ultralytics` (AGPL-3.0), read as a file: it shows a street in Madrid.
It is not part of this repository; `scripts/unpack_scenes.py` takes it out of the wheel. Both faces are blurred at
places written down here (nothing looks for faces), and lettering and numbers of the bus are painted over.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gridwatch.core.errors import InputError
from gridwatch.simulator.scenes.bodywork import repaint_bus
from gridwatch.simulator.scenes.canvas import Picture, Sprite, cut

PHOTOGRAPH = "bus.jpg"
_SIZE = (1080, 810, 3)

Points = list[tuple[float, float]]

# Outlines in the photograph's pixels.
_FLEECE: Points = [
    (102, 410), (115, 401), (132, 398), (148, 402), (158, 410), (159, 430), (154, 435), (153, 460), (149, 469),
    (157, 478), (167, 488), (176, 502), (179, 516), (185, 527), (190, 540), (199, 552), (201, 567), (196, 585),
    (186, 594), (185, 610), (188, 635), (192, 665), (192, 687), (178, 691), (183, 725), (186, 755), (190, 785),
    (196, 825), (203, 852), (212, 857), (227, 862), (242, 867), (247, 875), (245, 881), (232, 887), (205, 896),
    (182, 897), (176, 892), (177, 872), (182, 866), (177, 857), (170, 835), (160, 800), (152, 770), (142, 735),
    (134, 710), (129, 703), (120, 703), (114, 717), (110, 740), (106, 768), (98, 780), (94, 800), (87, 828), (85, 850),
    (86, 862), (95, 870), (105, 885), (106, 894), (100, 898), (85, 897), (65, 890), (52, 882), (54, 872),
    (61, 852), (62, 825), (67, 808), (78, 796), (79, 775), (77, 750), (76, 715), (74, 700), (63, 695), (60, 685), (62, 665),
    (62, 625), (65, 585), (62, 570), (61, 557), (62, 530), (65, 505), (70, 492), (85, 477), (96, 467), (99, 450),
    (104, 445), (102, 430),
]  # fmt: skip
_COAT: Points = [
    (264, 427), (266, 417), (275, 411), (287, 409), (299, 412), (305, 420), (306, 432), (309, 440), (305, 452),
    (302, 467), (301, 477), (310, 482), (322, 485), (331, 490), (335, 505), (340, 530), (342, 550), (336, 559),
    (324, 566), (319, 571), (321, 592), (325, 622), (330, 655), (335, 690), (338, 710), (336, 723), (325, 735), (309, 754),
    (293, 774), (287, 781), (290, 792), (297, 807), (297, 812), (291, 816), (285, 811), (280, 808), (280, 817),
    (282, 827), (290, 842), (293, 852), (290, 857), (275, 858), (262, 852), (256, 847), (255, 840), (257, 832),
    (260, 822), (254, 820), (251, 790), (246, 750), (244, 705), (226, 699), (227, 680), (232, 650), (240, 610),
    (241, 597), (236, 582), (236, 560), (240, 535), (237, 522), (240, 505), (255, 492), (270, 480), (272, 470),
    (270, 455), (265, 452),
]  # fmt: skip
_FACES = {"fleece": ((134, 438), (28, 42)), "coat": ((288, 438), (24, 34))}
_BUS: Points = [
    (40, 333), (50, 310), (75, 285), (76, 275), (95, 254), (125, 246), (180, 240), (196, 236), (230, 233),
    (385, 243), (560, 256), (690, 265), (725, 281), (743, 303), (775, 306), (794, 318), (798, 340), (797, 560),
    (786, 640), (762, 650), (752, 668), (736, 675), (710, 675), (694, 664), (688, 652), (545, 671), (405, 697),
    (388, 702), (374, 728), (356, 741), (332, 744), (312, 734), (300, 717), (235, 716), (115, 721), (60, 716),
    (30, 706), (22, 680), (21, 575), (28, 470),
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Cutouts:
    """What the photograph gives: persons who look to the right of the picture, and a bus that drives to the left."""

    persons: tuple[Sprite, ...]
    bus: Sprite


def load_cutouts(assets: Path) -> Cutouts:
    """Read the photograph in the folder `assets` and cut it up.

    Raises:
        InputError: the photograph is missing or is another one.
    """
    file = assets / PHOTOGRAPH
    if not file.is_file():
        raise InputError(
            "the photograph for the demo's people is missing; run scripts/unpack_scenes.py (scripts/demo does)",
            file=file,
        )
    photograph = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if photograph is None or photograph.shape != _SIZE:
        raise InputError("this is not the photograph that the outlines were made for", file=file)
    bus = cut_by_outline(repaint_bus(photograph), _BUS)
    for (x, y), (across, down) in _FACES.values():
        _blur_ellipse(photograph, (x, y), (across, down))
    muted = _muted(photograph)
    return Cutouts((cut_by_outline(muted, _FLEECE), cut_by_outline(muted, _COAT)), bus)


def cut_by_outline(picture: Picture, outline: Points) -> Sprite:
    """Cut `picture` along `outline` (its pixels), with an edge that is two pixels soft."""
    points = np.array(outline, np.float32)
    left, top = np.floor(points.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 3
    left, top = max(left, 0), max(top, 0)
    mask = np.zeros(picture.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0)
    mask = np.clip(cv2.GaussianBlur(mask, (0, 0), 1.5) * 1.6 - 0.6, 0, 1)  # the edge lies inside the outline
    here = np.s_[top:bottom, left:right]
    return cut(np.ascontiguousarray(picture[here]), mask[here])


def _muted(picture: Picture) -> Picture:
    """Return the picture with half its colour: a sunlit fleece at dusk is close to a flame."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    muted: Picture = cv2.addWeighted(picture, 0.5, grey, 0.5, 0)
    return muted


def _blur_ellipse(picture: Picture, centre: tuple[int, int], axes: tuple[int, int]) -> None:
    left, top = centre[0] - 2 * axes[0], centre[1] - 2 * axes[1]
    part = picture[top : centre[1] + 2 * axes[1], left : centre[0] + 2 * axes[0]]
    mask = np.zeros(part.shape[:2], np.float32)
    cv2.ellipse(mask, (centre[0] - left, centre[1] - top), axes, 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 3)[..., None]
    blurred = cv2.GaussianBlur(part, (0, 0), 11)
    part[...] = (part * (1 - mask) + blurred * mask).astype(np.uint8)
