"""`python -m tidemill`."""

from tidemill.cli.main import run

run()
