"""Ray Serve with the trivial application, one replica; runs in Ray's own virtual environment.

serve_ray.py PORT CONCURRENCY: prints `ready` and serves until its standard input ends.
"""

import sys

import ray  # type: ignore[import-not-found]
from ray import serve
from ray.serve.config import HTTPOptions  # type: ignore[import-not-found]
from serve_app import Trivial


class Deployed:
    """What Ray Serve puts the application into."""


def main() -> None:
    """Deploy, say so, wait."""
    port, concurrency = int(sys.argv[1]), int(sys.argv[2])
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, num_cpus=2)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))

    deployed = serve.deployment(num_replicas=1, max_ongoing_requests=concurrency)(
        serve.ingress(Trivial())(Deployed)
    )
    serve.run(deployed.bind(), name="trivial", route_prefix="/")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
