"""``python -m effebm_ext`` is ``effebm``, but for how threads wait: torch is loaded before it."""

from effebm_ext.runs.command_line.cli import main

main()
