"""Remakes tests/data/references from transformers: `python tests/oracle/make_references.py [--only tiny|demo]`.

Needs the extra `oracle`. README.md beside this file says what is stored and why.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["tiny", "demo"], help="one of the two sets; both by default")
    parser.add_argument("--demo", type=Path, help="the demo model's folder; by default where inferno keeps it")
    parser.add_argument("--out", type=Path, default=HERE.parent / "data" / "references")
    arguments = parser.parse_args()

    import torch
    from make_demo_references import make_demo
    from make_tiny_references import make_all
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # one order of additions, so that a second run gives the same bits
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only != "demo":
        make_all(arguments.out)
    if arguments.only != "tiny":
        folder = arguments.demo
        if folder is None:
            from inferno.demo import ensure_demo

            folder = ensure_demo()
        make_demo(folder, arguments.out)


if __name__ == "__main__":
    main()
