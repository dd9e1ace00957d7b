"""``python -m crank2_unet``: the command line."""

from .cli.main import main

raise SystemExit(main())
