"""Two commits against each other: python bench/compare.py OLD NEW [--folder CHECKPOINT].

Builds both in environments of their own, then runs their steps in turn (old, new, old, ...) on the same checkpoint, and
prints medians and the ratio pair by pair: above 1, NEW is faster. The steps are those of bench/steps.py in NEW.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_ROUNDS = 7
_STEP = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import steps

def best(step, rounds=5):
    step.work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        step.work()
        seconds.append(time.perf_counter() - start)
    return min(seconds) / step.tokens

model = steps.load(Path(sys.argv[2]))
print(json.dumps({"decode": best(steps.decode(model)), "prefill": best(steps.prefill(model))}))
"""


def build(repository: Path, commit: str, place: Path) -> Path:
    """Installs a commit in a new environment under `place`; returns its Python."""
    source = place / "source"
    run = lambda *command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    run("git", "-C", str(repository), "worktree", "add", "--detach", str(source), commit)
    try:
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        run(str(python), "-m", "pip", "install", "--quiet", str(source))
    finally:
        run("git", "-C", str(repository), "worktree", "remove", "--force", str(source))
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--folder", type=Path, help="a checkpoint; by default the bench's own of TinyLlama's shape")
    arguments = parser.parse_args()
    bench = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as temporary:
        pythons = {}
        for name in ("old", "new"):
            (Path(temporary) / name).mkdir()
            pythons[name] = build(bench.parent, getattr(arguments, name), Path(temporary) / name)
        folder = arguments.folder or _random_checkpoint(bench, pythons["new"], Path(temporary))
        times: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
        for _ in range(_ROUNDS):
            for name, python in pythons.items():
                command = [str(python), "-c", _STEP, str(bench), str(folder)]
                times[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    for step in ("decode", "prefill"):
        old, new = ([run[step] for run in times[name]] for name in ("old", "new"))
        ratios = sorted(a / b for a, b in zip(old, new, strict=True))
        sys.stdout.write(
            f"{step}: old {1 / statistics.median(old):.1f} tokens/s, new {1 / statistics.median(new):.1f} tokens/s, "
            f"new/old {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})\n"
        )


def _random_checkpoint(bench: Path, python: Path, temporary: Path) -> Path:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from shapes import *; write_random(Path(sys.argv[2]), TINYLLAMA)"
    )
    folder = temporary / "tinyllama-bf16"
    subprocess.run([str(python), "-c", script, str(bench), str(folder)], check=True)
    return folder


if __name__ == "__main__":
    main()
