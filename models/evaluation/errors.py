# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this package raises.

ModelsError
└── DatasetError        (also an InputError) pictures or labels are not as they should be; the command line exits 2
"""

from gridwatch.core.errors import InputError
from models.errors import ModelsError


class DatasetError(ModelsError, InputError):
    """A data set is missing, incomplete or broken at a named file and line."""
