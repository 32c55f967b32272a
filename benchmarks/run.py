"""All measurements that need nothing but this machine: what `make bench` runs.

    python benchmarks/run.py [NAME ...]

Each is a script of its own and can be run alone, with its options (see its first lines).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("lm_prefix", "decisions", "turns")


def main(names: list[str]) -> int:
    unknown = [name for name in names if not (HERE / f"{name}.py").is_file()]
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are: {', '.join(SCRIPTS)}.")
        return 2
    failed = [name for name in names or SCRIPTS if not _run(name)]
    for name in failed:
        print(f"{name} failed.")
    return int(bool(failed))


def _run(name: str) -> bool:
    return subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
