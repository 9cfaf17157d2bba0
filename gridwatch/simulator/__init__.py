# SPDX-License-Identifier: AGPL-3.0-or-later
"""A city without cameras: scenes, an RTSP server and a reference case system. Not imported by the product."""
