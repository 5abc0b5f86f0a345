"""`python -m gantrick` is `gantrick`."""

from gantrick.cli import main

raise SystemExit(main())
