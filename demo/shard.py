"""Task program: hash and index this task's share of the files below /usr/lib/python3*.

Runs inside the sandbox with the standard library only. Writes `shards/INDEX.json` whole or not at all, and
one line to `runs.txt` for every time that it ran, so that the demo can count.
"""

import collections
import glob
import hashlib
import json
import os
import re

WORD = re.compile(rb"[A-Za-z_]{3,}")


def sources() -> list[str]:
    """Every regular file below /usr/lib/python3*, in the same order for every task."""
    found = []
    for top in sorted(glob.glob("/usr/lib/python3*")):
        for directory, directories, names in os.walk(top):
            directories.sort()
            found += [os.path.join(directory, name) for name in sorted(names)]
    return [path for path in found if os.path.isfile(path) and not os.path.islink(path)]


def main() -> None:
    index, count = int(os.environ["KUMOI_TASK_INDEX"]), int(os.environ["KUMOI_ARRAY_SIZE"])
    files, total, words = {}, 0, collections.Counter()
    for path in sources()[index::count]:
        with open(path, "rb") as file:
            content = file.read()
        files[path] = hashlib.sha256(content).hexdigest()
        total += len(content)
        words.update(word.decode() for word in WORD.findall(content))
    os.makedirs("shards", exist_ok=True)
    part = f"shards/.{index}.part"
    with open(part, "w") as file:
        json.dump({"files": files, "bytes": total, "words": words}, file)
    os.replace(part, f"shards/{index}.json")
    with open("runs.txt", "a") as file:
        file.write(f"{index}\n")
    print(f"shard {index}: {len(files)} files, {total} bytes, {len(words)} words")


if __name__ == "__main__":
    main()
