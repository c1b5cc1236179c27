"""Cuts a clean text into chunks: each an exact span of it, small enough to be embedded, large enough to be understood.

May import only core and the rest of analysis.
"""

from tidemill.analysis.chunking.chunks import chunk
from tidemill.analysis.chunking.packing import Counter
from tidemill.analysis.chunking.prose import Vectors

__all__ = ["Counter", "Vectors", "chunk"]
