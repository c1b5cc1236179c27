"""HTTP to addresses that others chose: each is checked, and the one that was checked is the one that is asked.

May import analysis, settings and core.
"""

from tidemill.outbound.clients import Outbound
from tidemill.outbound.connecting import Refused

__all__ = ["Outbound", "Refused"]
