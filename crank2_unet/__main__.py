"""``python -m crank2_unet``: the command line."""

from .cli.commands import main

raise SystemExit(main())
