# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's city as a process: generated scenes as RTSP cameras with Digest authentication, until stopped.

Prints one JSON line when ready:

    {"ready": true, "rtsp": PORT, "control": PORT, "quiet": [camera ids], "last_onset_s": 40.0,
     "cameras": [{"id", "name", "url", "zones": [as cameras.yaml has them]}, …]}

What happens when is asked of the control channel (see `control`): it is in wall time there.
"""

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind, Zone
from gridwatch.simulator.city import City, CityCamera, Ports, serve
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.scene_feed import SceneFeed
from gridwatch.simulator.scenes.city import DemoCity, make_demo
from gridwatch.simulator.scenes.schedule import SceneEvent

START_AFTER_S = 20.0  # whoever watches needs some seconds to start; no event before that
ONSETS_SPREAD_S = 20.0  # the scenes draw each first onset within this time
FIRST_ID = 51011704001320000001  # made-up 20-digit ids: division 510117, type 132 (camera)
USER = "demo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the demo's cameras until SIGTERM or the end of standard input."""
    options = _parse(arguments)
    kinds = frozenset(Kind(kind) for kind in options.without)
    demo = make_demo(
        options.seed,
        assets=options.assets,
        without=kinds,
        flame_in_quiet=options.flame_in_quiet,
        start_after_s=options.start_after,
        clock_start=datetime.now().astimezone(),
    )
    ids = {camera.name: str(FIRST_ID + index) for index, camera in enumerate(demo.cameras)}
    credentials = Credentials(USER, secrets.token_urlsafe(9))
    city = City(
        cameras=[
            CityCamera(
                camera.name,
                SceneFeed(camera, key_phase_frames=5 * index % camera.gop_frames),
                camera.title_zh,
            )
            for index, camera in enumerate(demo.cameras)
        ],
        credentials=credentials,
        truth=[_truth(event, ids) for event in demo.events],
    )

    def ready(ports: Ports) -> None:
        line = _ready_line(demo, ids, ports, credentials) | {
            "last_onset_s": options.start_after + ONSETS_SPREAD_S
        }
        print(json.dumps(line), flush=True)

    serve(city, ready, clock=SystemClock(), with_parent=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gridwatch.simulator.demo", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--assets", type=Path, required=True, help="folder with the photograph")
    parser.add_argument("--without", action="append", default=[], choices=[kind.value for kind in Kind])
    parser.add_argument("--flame-in-quiet", action="store_true")
    parser.add_argument(
        "--start-after", type=float, default=START_AFTER_S, help="no event before this second"
    )
    return parser.parse_args(arguments)


def _truth(event: SceneEvent, ids: dict[str, str]) -> dict[str, object]:
    return {
        "kind": event.kind.value,
        "subtype": event.subtype,
        "camera": ids[event.camera],
        "onset_s": event.onset_s,
        "end_s": event.end_s,
    }


def _ready_line(
    demo: DemoCity, ids: dict[str, str], ports: Ports, credentials: Credentials
) -> dict[str, Any]:
    login = f"{credentials.user}:{credentials.password}"
    return {
        "ready": True,
        "rtsp": ports.rtsp,
        "control": ports.control,
        "quiet": [ids[name] for name in demo.quiet],
        "cameras": [
            {
                "id": ids[camera.name],
                "name": camera.title_zh,
                "url": f"rtsp://{login}@127.0.0.1:{ports.rtsp}/{camera.name}",
                "zones": [_zone(zone) for zone in camera.zones],
            }
            for camera in demo.cameras
        ],
    }


def _zone(zone: Zone) -> dict[str, Any]:
    return {
        "id": zone.zone_id,
        "name": zone.name,
        "purpose": zone.purpose,
        "kinds": sorted(kind.value for kind in zone.kinds),
        "polygon": [list(point) for point in zone.polygon],
        "crowd": {"limit": zone.crowd.limit, "dwell_s": zone.crowd.dwell_s},
        "traffic": {"stopped_dwell_s": zone.traffic.stopped_dwell_s},
    }


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
