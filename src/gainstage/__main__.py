"""``python -m gainstage``."""

import sys

from gainstage.cli import main

sys.exit(main())
