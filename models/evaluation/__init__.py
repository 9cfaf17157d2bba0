# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network against labelled pictures: precision, recall, false alarms, counting error. Trains nothing; needs no torch."""
