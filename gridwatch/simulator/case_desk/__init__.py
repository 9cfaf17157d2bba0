# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk: a small reference case system on the shared queue, for trials and demonstrations.

Written as somebody else would write it, from `docs/case-queue.md` alone: it knows nothing of the rooms that produce the
messages. It is not a case system to work with: no users, no screens, no duty roster; its steps run by themselves.
"""

from gridwatch.simulator.case_desk.desk import CaseDeskOptions, run_case_desk
from gridwatch.simulator.case_desk.orders import give_order, list_cases
from gridwatch.simulator.case_desk.plan import Step

__all__ = ["CaseDeskOptions", "Step", "give_order", "list_cases", "run_case_desk"]
