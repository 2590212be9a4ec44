"""Waiting time, fairness and utilisation of the plane's queue, against strict FIFO and FIFO with backfill.

A simulation: the same seeded work, the same hosts and the same best fit for every queue.
"""

import sys

# Python has a module of this name too. As a program this file keeps out of its way; imported by that name,
# from a program beside it, it gives way.
if __name__ == "queue":
    import importlib.machinery
    import importlib.util
    import sysconfig

    _spec = importlib.machinery.PathFinder.find_spec("queue", [sysconfig.get_path("stdlib")])
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["queue"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["queue"])
elif __name__ == "__main__":
    sys.path.append(sys.path.pop(0))

if __name__ != "queue":
    from queue_report import main

    if __name__ == "__main__":
        sys.exit(main())
