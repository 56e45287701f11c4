"""``python -m agentcheck``."""

from agentcheck.cli import main

main(prog_name="agentcheck")
