"""What the scan for credentials makes of where a text stands."""

from tidemill.core.finding import Severity
from tidemill.review.engines import SecretsEngine

SAMPLE = '''\
def answer():
    """Gives a token.

    {"access_token": "2YotnFZFEjr1zCsicMWpAA"}
    """
    return {"access_token": "8XpqmDBGVks3aCuivNWsBB"}
'''


async def test_a_sample_in_a_docstring_weighs_less_than_the_same_in_code() -> None:
    reading = await SecretsEngine().read({"a.py": SAMPLE})
    assert [(one.line, one.severity) for one in reading.remarks] == [(4, Severity.LOW), (6, Severity.HIGH)]
