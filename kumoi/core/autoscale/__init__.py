"""How many replicas a service should have, and how many hosts a pool: pure decisions that can be recomputed.

`decide` is the door for replicas, `inputs` holds what it looks at and answers.
"""
