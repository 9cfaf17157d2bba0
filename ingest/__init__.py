# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes to looks: sources, ring, decoders, gate, sampler, sight. The only door to FFmpeg."""
