"""One fair queue: who is next (`order`), who waits with a date (`backfill`), who makes room (`preempt`)."""
