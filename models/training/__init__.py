# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the project's own weights are made. Needs the extra `train`; the running product imports none of it."""
