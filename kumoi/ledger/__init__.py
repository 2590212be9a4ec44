"""The operations log, pure: a Merkle tree in tiles, signed checkpoints, proofs and receipts.

Formats are C2SP's (tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-proof) over RFC 6962
hashing. Nothing here does I/O, reads a clock or draws a random number: storage comes as a reader, keys,
salts and times as arguments.
"""
