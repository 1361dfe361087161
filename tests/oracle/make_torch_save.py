"""Stores tests/data/torch_save.pth: a small file as torch.save writes it, for the reader that does without torch."""

from __future__ import annotations

from pathlib import Path

import torch

OUT = Path(__file__).parent.parent / "data" / "torch_save.pth"


def main() -> None:
    wq = torch.arange(32, dtype=torch.bfloat16).view(8, 4)
    state = {
        "layers.0.attention.wq.weight": wq,
        "half": torch.arange(15, dtype=torch.float16).view(3, 5),
        "single": torch.arange(7, dtype=torch.float32),
        "double": torch.arange(4, dtype=torch.float64).view(2, 2),
        "int8": torch.arange(9, dtype=torch.int8),
        "int64": torch.arange(3).view(1, 3),
        "bool": torch.tensor([False, True]),
        "rows_2_to_4_of_wq": wq[2:4],
        "parameter": torch.nn.Parameter(torch.arange(6, dtype=torch.float32).view(2, 3)),
        "empty": torch.empty(0, 4),
    }
    torch.save(state, OUT)
    print(f"{OUT}: {OUT.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
