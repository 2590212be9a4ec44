"""Task program: hash and index this task's share of the files below /usr/lib/python3*.

Runs inside the sandbox with the standard library only. Writes `shards/INDEX.json` whole or not at all, and
one line to `runs.txt` for every time that it ran, so that the demo can count.
"""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path

WORD = re.compile(rb"[A-Za-z_]{3,}")
SHARDS = Path("shards")


def sources() -> list[Path]:
    """Every regular file below /usr/lib/python3*, in the same order for every task."""
    tops = Path("/usr/lib").glob("python3*")
    return sorted(path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    """Index the files whose position falls to this task."""
    index, count = int(os.environ["KUMOI_TASK_INDEX"]), int(os.environ["KUMOI_ARRAY_SIZE"])
    files: dict[str, str] = {}
    words: Counter[str] = Counter()
    total = 0
    for path in sources()[index::count]:
        content = path.read_bytes()
        files[str(path)] = hashlib.sha256(content).hexdigest()
        total += len(content)
        words.update(word.decode() for word in WORD.findall(content))
    SHARDS.mkdir(exist_ok=True)
    part = SHARDS / f".{index}.part"
    part.write_text(json.dumps({"files": files, "bytes": total, "words": words}))
    part.replace(SHARDS / f"{index}.json")
    with Path("runs.txt").open("a") as runs:
        runs.write(f"{index}\n")
    print(f"shard {index}: {len(files)} files, {total} bytes, {len(words)} words")


if __name__ == "__main__":
    main()
