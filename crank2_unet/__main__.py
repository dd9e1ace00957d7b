"""``python -m crank2_unet``: the command line."""

from .cli import main

raise SystemExit(main())
