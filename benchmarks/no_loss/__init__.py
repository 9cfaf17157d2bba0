# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `benchmarks/no_loss.py` runs: processes that are killed, servers that fail, and a count that believes none of them."""
