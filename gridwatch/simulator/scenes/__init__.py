# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's generated scenes: pictures of a small city, frame by frame, and the truth about them.

Not an encoder and not a server: `SceneCamera.render` gives arrays, somebody else turns them into streams.
"""

from gridwatch.simulator.scenes.camera import SceneCamera
from gridwatch.simulator.scenes.city import DemoCity, make_demo
from gridwatch.simulator.scenes.schedule import SceneEvent

__all__ = ["DemoCity", "SceneCamera", "SceneEvent", "make_demo"]
