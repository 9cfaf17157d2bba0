# SPDX-License-Identifier: AGPL-3.0-or-later
"""Debian's GStreamer, as a camera that is not ours: started from the tests, and run by the system's own Python as a script.

    /usr/bin/python3 tests/gstreamer.py --codec h264 --transport tcp [--digest USER:PASSWORD]

prints the port that it serves `/camera` on, and serves until its standard input ends.
"""

import argparse
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

PYTHON = (
    "/usr/bin/python3"  # where Debian's packages are: gir1.2-gst-rtsp-server-1.0 is not on any package index
)
CODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph265pay name=pay0 pt=96 config-interval=-1",
}
NEEDED = "videotestsrc", "x264enc", "x265enc", "rtph264pay", "rtph265pay", "rtspsrc"


@cache
def is_there() -> bool:
    """Tell whether GStreamer's RTSP server and the coders are installed."""
    check = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer;"
        f"Gst.init(None); raise SystemExit(not all(map(Gst.ElementFactory.find, {NEEDED!r})))"
    )
    if not Path(PYTHON).exists():
        return False
    return subprocess.run([PYTHON, "-c", check], capture_output=True, timeout=30, check=False).returncode == 0


class GStreamerCamera:
    """A test picture on `/camera`, served by GStreamer's RTSP server in a process of its own."""

    def __init__(self, codec: str, transport: str, digest: str = "") -> None:
        command = [PYTHON, __file__, "--codec", codec, "--transport", transport]
        self._process = subprocess.Popen(
            [*command, "--digest", digest] if digest else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline()
        assert line.strip().isdigit(), "the server did not start"
        at = f"{digest}@" if digest else ""
        self.url = f"rtsp://{at}127.0.0.1:{line.strip()}/camera"

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=10)


def serve(codec: str, transport: str, digest: str) -> None:
    """Serve until standard input ends."""
    import gi

    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    size = "video/x-raw,format=I420,width=320,height=180,framerate=10/1"
    factory.set_launch(f"( videotestsrc is-live=true pattern=ball ! {size} ! {CODERS[codec]} )")
    factory.set_shared(True)
    lower = {"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}
    factory.set_protocols(lower[transport])
    if digest:
        user, _, password = digest.partition(":")
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        auth.add_digest(user, password, token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string("viewer,media.factory.access=true,media.factory.construct=true")[0]
        )
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    loop = GLib.MainLoop()
    print(server.get_bound_port(), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", choices=sorted(CODERS), required=True)
    parser.add_argument("--transport", choices=("tcp", "udp"), required=True)
    parser.add_argument("--digest", default="")
    given = parser.parse_args()
    serve(given.codec, given.transport, given.digest)
