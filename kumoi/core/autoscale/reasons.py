"""Why a service has the replicas it has, as sentences to translate. Names in braces are a decision's figures.

Every sentence may also use `wanted`, the number decided on.
"""

REASONS = {
    "pinned": "replicas: {wanted}, because somebody set the number by hand",
    "at_max": "replicas: {wanted}, the most the service may have now; {replicas} would be needed",
    "at_min": "replicas: {wanted}, the fewest the service may have now; {replicas} would do",
    "wake": "replicas: {wanted}, because requests wait ({waiting}) and none is up",
    "steady": "replicas: {wanted}, unchanged since the last look",
    "utilisation": "replicas: {wanted}, for a mean of {inside} at once in the service",
    "concurrency": "replicas: {wanted}, for the requests that were in the service on the mean",
    "panic": "replicas: {wanted}, because requests rose suddenly; none is given back until that is over",
    "held": "replicas: {wanted}; {replicas} would do now, the others are kept a while in case demand returns",
    "forecast": "replicas: {wanted}, for a demand of {forecast} at once expected in {ahead_s} s, "
    "with a margin",
    "forecast_none": "replicas: {wanted}, ready for the first requests; none are expected now",
    "backlog": "replicas: {wanted}, some of them for the requests that wait already ({waiting})",
}
"""Sentences by the code of the reason."""
