#!/usr/bin/env python3
"""layers_self_test.py CHECK: cmake/check_layers accepts a sound tree and refuses each kind of bad one, naming it."""
import subprocess
import sys
import tempfile
from pathlib import Path

SOUND = {
    "core/core.cppm": "module;\n#include <vector>\n#include <tl/expected.hpp>\nexport module kvbm.core;\n"
                      "export import :sync;\n",
    "core/sync.cppm": "export module kvbm.core:sync;\n",
    "core/secret.cppm": "module kvbm.core:secret;\n",
    "core/core.cpp": "module;\n#include <xxhash.h>\nmodule kvbm.core;\nimport :secret;\n",
    "hash/hash.cppm": "export module kvbm.hash;\nexport import kvbm.core;\n// import kvbm.blocks;\n",
    "replay/replay.cppm": "export module kvbm.replay;\nimport kvbm;\n",
    "testing/testing.cppm": "export module kvbm.testing;\nimport kvbm.replay;\n",
    "kvbm.cppm": "export module kvbm;\nexport import kvbm.core;\nexport import kvbm.hash;\n",
}

# What is changed, and what the check must then say.
BAD = [
    ("core/core.cpp", "module kvbm.core;\nimport kvbm.hash;\n", "kvbm.core must not import kvbm.hash"),
    ("hash/hash.cppm", "export module kvbm.hash;\nexport import kvbm.tokens;\n", "must not import kvbm.tokens"),
    ("hash/hash.cppm", "export module kvbm.hash;\nimport kvbm;\n", "kvbm.hash must not import kvbm,"),
    ("hash/hash.cppm", "export module kvbm.hash;\nimport kvbm.testing;\n", "must not import kvbm.testing"),
    ("hash/hash.cppm", "export module kvbm.hash;\nimport kvbm.core; import kvbm.blocks;\n", "one import to a line"),
    ("replay/replay.cppm", "export module kvbm.replay;\nimport kvbm.testing;\n", "must not import kvbm.testing"),
    ("kvbm.cppm", "export module kvbm;\nexport import kvbm.replay;\n", "kvbm must not import kvbm.replay"),
    ("kvbm.cppm", "export module kvbm;\nimport kvbm.core;\n", "without exporting it"),
    ("hash/hash.cppm", "export module kvbm.tokens;\n", "module kvbm.tokens does not belong"),
    ("extra/extra.cppm", "export module kvbm.extra;\n", "extra is not in the list of layers"),
    ("core/core.cppm", "export module kvbm.core;\nimport :secret;\n", "imports the internal partition :secret"),
    ("core/core.cppm", "module;\n#include <xxhash.h>\nexport module kvbm.core;\n", "includes <xxhash.h>"),
    ("core/core.cppm", "module;\n#include <range/v3/all.hpp>\nexport module kvbm.core;\n", "includes <range/v3"),
    ("hash/hash.cpp", "module kvbm.hash;\nimport kvbm.core;\n#include <vector>\n", "included after an import"),
    ("hash/hash.cpp", "module kvbm.hash;\nimport <vector>;\n", "is a header unit"),
    ("hash/hash.cpp", "int x;\n", "no module declaration"),
]


def run(check: str, files: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as tree:
        for name, text in files.items():
            path = Path(tree, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return subprocess.run([check, tree], capture_output=True, text=True)


def main() -> int:
    check = sys.argv[1]
    failures = []
    result = run(check, SOUND)
    if result.returncode != 0:
        failures.append(f"the sound tree is refused: {result.stderr}")
    for name, text, expected in BAD:
        result = run(check, SOUND | {name: text})
        if result.returncode != 1 or expected not in result.stderr:
            failures.append(f"{name} with {text!r}: expected {expected!r}, got {result.stderr!r}")
    if run(check, {}).returncode != 1:
        failures.append("an empty tree is accepted")
    print("\n".join(failures) or f"{len(BAD)} bad trees refused")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
