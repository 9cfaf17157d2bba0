# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a token may be for. The rights that go with a role stand at the door (`api.access`)."""

from enum import StrEnum


class Role(StrEnum):
    """What a token is for."""

    VIEWER = "viewer"  # sees alerts, cameras and evidence
    OPERATOR = "operator"  # also decides, in the token's name
    INTEGRATOR = "integrator"  # reads case messages and their evidence, and answers them
