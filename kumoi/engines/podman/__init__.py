"""The podman engine: one container per attempt on this machine. See docs/engines/podman.md.

`engine` lives in the plane. `server` and what it imports live in the small processes of
`kumoi.engines.sandbox`, under the same rules.
"""
