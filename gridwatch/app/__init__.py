# SPDX-License-Identifier: AGPL-3.0-or-later
"""The root: settings, wiring, the pipeline, the supervisor and the command line."""
