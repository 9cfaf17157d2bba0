# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run scored while it trained, as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PANELS = (("AP50 on val (512 px)", "ap50"), ("recall on val at 1 to 3 % of negatives", "recall"))
COLOURS = ("tab:red", "tab:blue")


def draw_curves(files: Sequence[Path], picture: Path) -> None:
    """Draw AP50, recall and losses over iterations; one line style a run."""
    import matplotlib as mpl  # noqa: PLC0415  an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    for file, style in zip(files, ("-", "--", ":", "-.") * len(files), strict=False):
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        at = [row["iteration"] for row in rows]
        for axis, (title, key) in zip(axes, PANELS, strict=False):
            axis.set_title(title)
            for kind, (name, colour) in enumerate(zip(("fire", "smoke"), COLOURS, strict=True)):
                label = f"{name}, {file.parent.name}"
                axis.plot(at, [row[key][kind] for row in rows], style, color=colour, marker=".", label=label)
        axes[2].set_title("losses while training")
        for name, colour in zip(
            rows[0]["losses"], ("tab:green", "tab:purple", "tab:brown", "tab:orange"), strict=False
        ):
            values = [row["losses"][name] for row in rows]
            axes[2].plot(at, values, style, color=colour, marker=".", label=f"{name}, {file.parent.name}")
    for axis in axes:
        axis.set_xlabel("iteration")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(picture, dpi=80)
    plt.close(figure)
