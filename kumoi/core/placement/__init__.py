"""Placement: what waits is put on hosts, one task at a time, by filters and then a scoring policy.

`snapshot` is what is looked at and answered, `pool` decides for the hosts of one pool, `replay` recomputes a
recorded plan. Nothing is imported here: the arrays need NumPy, which a plane loads when it first places work.
"""
