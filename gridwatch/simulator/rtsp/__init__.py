# SPDX-License-Identifier: AGPL-3.0-or-later
"""An RTSP 1.0 server for live H.264 and H.265 cameras over TCP and UDP: protocol code without sockets, and the asyncio that carries it."""
