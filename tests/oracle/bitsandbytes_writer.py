"""Quantizes a tiny checkpoint with bitsandbytes on the CPU, through transformers, which writes the folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import torch
from bitsandbytes import functional
from transformers import BitsAndBytesConfig, LlamaForCausalLM
from transformers_llama import float64_throughout, logits


def write_bitsandbytes(base: Path, out: Path, dtype: torch.dtype, skip: list[str] | None, **settings: Any) -> None:
    """`settings`: BitsAndBytesConfig's; `skip`: the modules left alone (None: transformers' own choice, the head)."""
    config = BitsAndBytesConfig(llm_int8_skip_modules=skip, bnb_4bit_compute_dtype=torch.float32, **settings)
    model = LlamaForCausalLM.from_pretrained(base, dtype=dtype, quantization_config=config, device_map={"": "cpu"})
    model.save_pretrained(out)


def _weight(module: Any) -> torch.Tensor:
    """A layer's weight as the library gives it back, float32."""
    if isinstance(module, bitsandbytes.nn.Linear4bit):
        module.weight.quant_state.dtype = torch.float32  # it would round to what the model was stored in
        return functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
    return functional.int8_vectorwise_dequant(module.weight.CB, module.weight.SCB)


def _row_by_row(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """LLM.int8's rounding of each row by itself. The library takes the outliers' columns from all rows of a call."""
    rows = []
    for row in x.reshape(-1, 1, x.shape[-1]):
        codes, absmax, _ = functional.int8_vectorwise_quant(row.float(), threshold=threshold)
        rounded = codes.to(x.dtype) * (absmax.to(x.dtype) / 127)
        rows.append(torch.where(row.abs() >= threshold, row, rounded))
    return torch.stack(rows).reshape(x.shape)


def bitsandbytes_logits(folder: Path, token_ids: list[int]) -> np.ndarray:
    """Logits with the library's weights and its rounding of inputs, all else in float64.

    The library itself computes LLM.int8 in float16, and would hide everything behind its rounding.
    """
    quantized = LlamaForCausalLM.from_pretrained(folder, device_map={"": "cpu"})
    config = quantized.config
    settings = config.quantization_config
    del config.quantization_config
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).double().eval()
    for name, module in quantized.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        target = model.get_submodule(name)
        if isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt):
            parameters["weight"] = _weight(module)
            if settings.load_in_8bit:
                rounding = partial(_row_by_row, threshold=settings.llm_int8_threshold)
                target.register_forward_pre_hook(lambda _, inputs, rounding=rounding: (rounding(inputs[0]),))
        for key, value in parameters.items():
            getattr(target, key).data.copy_(value)
    with float64_throughout():
        return logits(model, token_ids)
