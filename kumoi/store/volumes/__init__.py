"""Volumes: everything of an organization that tasks or logs write, in one encrypted directory of its own.

    DATA/volumes/<organization>/    what is on the disk: a gocryptfs directory, ciphertext and names encrypted
    DATA/objects/<organization>/    where it is mounted while it is needed
        projects/<project>/         files, bound into the project's tasks
        logs/<attempt>/             what tasks wrote to their streams
        staging/                    uploads that are not complete yet

The three directories are made inside of a mounted volume and nowhere else: nothing can be written in plain
text below a mount point whose volume is detached. Without encryption the same layout is a plain directory.
"""
