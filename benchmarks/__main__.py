"""`python -m benchmarks [NAME …]`: all of them, or the ones that are named."""

import sys

from benchmarks import (
    adapters,
    classification,
    cold,
    decode,
    deliveries,
    embeddings,
    everything,
    footprint,
    grounding,
    guardrails,
    indexing,
    key_check,
    necessity,
    overhead,
    reading,
    retrieval,
    retrieval_speed,
    review_comments,
    review_speed,
    sandbox,
    scan,
    search_users,
    speculative,
    users,
)

BENCHMARKS = {
    "classification": classification.run,
    "footprint": footprint.run,
    "guardrails": guardrails.run,
    "key_check": key_check.run,
    "overhead": overhead.run,
    "everything": everything.run,
    "users": users.run,
    "reading": reading.run,
    "decode": decode.run,
    "deliveries": deliveries.run,
    "review_comments": review_comments.run,
    "cold": cold.run,
    "embeddings": embeddings.run,
    "indexing": indexing.run,
    "grounding": grounding.run,
    "necessity": necessity.run,
    "review_speed": review_speed.run,
    "scan": scan.run,
    "retrieval": retrieval.run,
    "retrieval_speed": retrieval_speed.run,
    "search_users": search_users.run,
    "sandbox": sandbox.run,
    "adapters": adapters.run,
    "speculative": speculative.run,
}

for name in sys.argv[1:] or BENCHMARKS:
    if name not in BENCHMARKS:
        sys.exit(f"There is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}.")
    BENCHMARKS[name]()
