"""Task program: merge the shards, count directly, and compare."""

import json
from collections import Counter
from pathlib import Path

from shard import SHARDS, sources


def main() -> None:
    """Merge what the array job made; fail unless it covers every file."""
    files: dict[str, str] = {}
    words: Counter[str] = Counter()
    total = 0
    for path in SHARDS.glob("*.json"):
        shard = json.loads(path.read_text())
        files |= shard["files"]
        total += shard["bytes"]
        words.update(shard["words"])
    direct = sources()
    if sorted(files) != sorted(map(str, direct)):
        raise SystemExit(f"the shards hold {len(files)} files, a direct count finds {len(direct)}")
    result = {"files": len(files), "bytes": total, "words": len(words), "common": words.most_common(5)}
    Path("index.json").write_text(json.dumps(result))
    Path("words.json").write_text(json.dumps(words))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
