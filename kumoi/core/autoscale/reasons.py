"""Why a service has the replicas it has, as sentences to translate. Names in braces are a decision's figures.

Every sentence may also use `wanted`, the number decided on.
"""

REASONS = {
    "pinned": "{wanted} replicas, because somebody set the number by hand",
    "at_max": "{wanted} replicas, the most the service may have now; {replicas} would be needed",
    "at_min": "{wanted} replicas, the fewest the service may have now; {replicas} would do",
    "wake": "{wanted} replicas, because {waiting} requests wait and none is up",
    "steady": "{wanted} replicas, unchanged since the last look",
    "utilisation": "{wanted} replicas, for {inside} requests in the service on the mean",
    "concurrency": "{wanted} replicas, for the requests that were in the service on the mean",
    "panic": "{wanted} replicas, because requests rose suddenly; none is given back until that is over",
    "held": "{wanted} replicas; {replicas} would do now, the others are kept a while in case demand returns",
    "forecast": "{wanted} replicas for {forecast} requests at once, expected in {ahead_s} s, with a margin",
    "backlog": "{wanted} replicas, of which some serve the {waiting} requests that wait already",
}
"""Sentences by the code of the reason."""
