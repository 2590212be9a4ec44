"""The sandbox engine: one bubblewrap per attempt on this machine. See docs/engines/sandbox.md.

`engine` lives in the plane. `forkserver`, `wrapper` and what they import live in small processes of their
own and import nothing outside this package and a few modules of the standard library. Their paths are
plain strings, since pathlib alone would add a tenth to the memory of every one of them.
"""
