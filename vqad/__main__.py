"""`python -m vqad`: the same as the command `vqad`."""

import sys

from vqad.cli import main

sys.exit(main())
