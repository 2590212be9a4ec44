"""Keys at rest: key-encryption key -> organization key -> data key -> content, AES-256-GCM throughout.

What is being named is authenticated on every layer (`names`), so that no row can be moved to another
organization, project or purpose, nor to another version of a key.
"""
