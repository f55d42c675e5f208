"""`python -m eventbus_runtime.plugin`, as the launcher runs it."""

from __future__ import annotations

import sys

from eventbus_runtime.plugin.main import main

sys.exit(main())
