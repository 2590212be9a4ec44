"""Why a host does not take a task, in the words that people are told."""

OTHER_TENANT = "holds another organization's work"
OTHER_SHARER = "shares its devices with another organization"
DEDICATED = "dedicated to another organization"
NOT_DEDICATED = "not dedicated to the organization"
RESERVED = "reserved before this could end"
NOT_RESERVED = "not in the reservation now"
HELD = "kept for other work that waits"
SPREAD = "has enough tasks of this job"
FAR = "too far from the rest of the gang"
NO_CPU = "not enough CPU free"
NO_MEMORY = "not enough memory free"
NO_DISK = "not enough disk free"
NO_DEVICE = "not enough devices free"
NOT_AVAILABLE = "not available to this organization"
"""In place of reasons that would tell of another organization."""

REFUSALS = {
    "other_tenant": OTHER_TENANT,
    "other_sharer": OTHER_SHARER,
    "dedicated": DEDICATED,
    "not_dedicated": NOT_DEDICATED,
    "reserved": RESERVED,
    "not_reserved": NOT_RESERVED,
    "held": HELD,
    "spread": SPREAD,
    "far": FAR,
    "no_cpu": NO_CPU,
    "no_memory": NO_MEMORY,
    "no_disk": NO_DISK,
    "no_device": NO_DEVICE,
    "not_available": NOT_AVAILABLE,
}
"""The same by the codes that programs read."""

JOB_REASONS = {
    "ended": "it has ended: {state}",
    "ended_why": "it has ended: {state} ({reason})",
    "key_withdrawn": "the key of its organization is withdrawn: its administrator restores it with "
    "`kumoi key restore`",
    "over_quota": "it would pass a quota of its organization: end work, or ask for a larger quota",
    "over_budget": "it would pass its organization's budget of this month",
    "dependencies": "it waits for {jobs} jobs to end",
    "pool_paused": "its pool is paused: work is accepted and held",
    "turn": "it waits for its turn: other jobs of the pool come first",
    "placed": "its tasks are placed",
    "placing": "its next task is about to be placed, "
    "unless the room for it is kept for other work that waits",
    "gang_apart": "the hosts do not take its gang as near together as it asks now",
    "gang_refused": "the hosts do not take its gang together now",
    "refused": "no host takes its next task now",
    "no_host": "no host of its pool may take work now",
}
"""Why a job is where it is, by code; names in braces are parameters."""
HOSTS_REFUSE = ("refused", "gang_refused")
"""The codes that the refusals of hosts explain."""
