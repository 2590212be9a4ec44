"""Task program: merge the shards, count directly, and compare."""

import collections
import glob
import json

from shard import sources


def main() -> None:
    files, total, words = {}, 0, collections.Counter()
    for path in glob.glob("shards/*.json"):
        with open(path) as file:
            shard = json.load(file)
        files |= shard["files"]
        total += shard["bytes"]
        words.update(shard["words"])
    direct = sources()
    if sorted(files) != sorted(direct):
        raise SystemExit(f"the shards hold {len(files)} files, a direct count finds {len(direct)}")
    result = {"files": len(files), "bytes": total, "words": len(words), "common": words.most_common(5)}
    with open("index.json", "w") as file:
        json.dump(result, file)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
