"""``python -m effebm_ext`` is ``effebm``."""

from effebm_ext.cli import main

main()
