"""Quantizes a tiny checkpoint with compressed-tensors, and has that library write the folder as it is published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressed_tensors.compressors import ModelCompressor, PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
)
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams, maybe_pad_tensor_for_block_quant
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers_llama import float64_throughout, logits

from numpy_quantized import open_quantized


def _extremes(weight: torch.Tensor, args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and greatest of what shares a scale: the library leaves the looking to its caller."""
    n, k = weight.shape
    if args.strategy == "tensor":
        low, high = torch.aminmax(weight)
        return low.reshape(1), high.reshape(1)
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "group":
        groups = weight.reshape(n, k // args.group_size, args.group_size)
        return groups.amin(-1), groups.amax(-1)
    rows, columns = args.block_structure
    padded = maybe_pad_tensor_for_block_quant(weight, args.block_structure)
    blocks = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    return blocks.amin((1, 3)), blocks.amax((1, 3))


def _observe_inputs(model: torch.nn.Module, token_ids: Sequence[int]) -> dict[str, tuple[float, float]]:
    """Least and greatest input of every linear layer over a text."""
    seen: dict[str, tuple[float, float]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):

            def hook(_: Any, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                seen[name] = float(inputs[0].min()), float(inputs[0].max())

            hooks.append(module.register_forward_pre_hook(hook))
    with torch.inference_mode():
        model(torch.tensor([list(token_ids)]), use_cache=False)
    for handle in hooks:
        handle.remove()
    return seen


def write_compressed(
    base: Path,
    out: Path,
    dtype: torch.dtype,
    groups: Mapping[str, Mapping[str, Any]],
    ignore: Sequence[str],
    calibration: Sequence[int],
) -> None:
    """Scales from each part's extremes; those of static inputs from 0.8 of what the text shows, so that some clip."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=dtype)
    seen = _observe_inputs(model, calibration)
    config_groups = {name: dict(group) for name, group in groups.items()}
    apply_quantization_config(model, QuantizationConfig(config_groups=config_groups, ignore=list(ignore)))
    for name, module in model.named_modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is None:
            continue
        scale, zero = calculate_qparams(*_extremes(module.weight.data, scheme.weights), scheme.weights)
        module.weight_scale.data.copy_(scale)
        module.weight_zero_point.data.copy_(zero)
        inputs = scheme.input_activations
        if inputs is not None and not inputs.dynamic:
            low, high = (torch.tensor([0.8 * end], dtype=dtype) for end in seen[name])
            scale, zero = calculate_qparams(low, high, inputs)
            module.input_scale.data.copy_(scale)
            module.input_zero_point.data.copy_(zero)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(str(out))


def reorder_groups(base: Path, out: Path, seed: int, group_size: int) -> None:
    """Turns a folder of write_compressed (4-bit, groups) into what older versions wrote for actorder "group".

    0.20 refuses that setting, so its config is edited; codes are quantized and packed by the library. The columns of a
    group lie apart: weight_g_idx names the group of each. Codes stay in the order of the columns.
    """
    config = json.loads((out / "config.json").read_text())
    (group,) = config["quantization_config"]["config_groups"].values()
    model = LlamaForCausalLM.from_pretrained(base)
    args = QuantizationConfig(config_groups={"group_0": dict(group)}).config_groups["group_0"].weights
    group["weights"]["actorder"] = "group"
    config["quantization_config"]["version"] = "0.9.4"
    tensors = load_file(out / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if f"{name}.weight_packed" not in tensors:
            continue
        weight = module.weight.data.to(tensors[f"{name}.weight_scale"].dtype)
        order = torch.randperm(weight.shape[1], generator=generator)
        scale, zero = calculate_qparams(*_extremes(weight[:, order], args), args)
        codes = torch.empty(weight.shape, dtype=torch.int8)
        codes[:, order] = quantize(weight[:, order], scale, zero, args, torch.int8)
        g_idx = torch.empty(weight.shape[1], dtype=torch.int32)
        g_idx[order] = torch.arange(weight.shape[1], dtype=torch.int32) // group_size
        tensors[f"{name}.weight_packed"] = pack_to_int32(codes, args.num_bits)
        tensors[f"{name}.weight_scale"] = scale
        tensors[f"{name}.weight_zero_point"] = pack_to_int32(zero, args.num_bits, packed_dim=0)
        tensors[f"{name}.weight_g_idx"] = g_idx
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))


def check_linears(model: torch.nn.Module, folder: Path, token_ids: Sequence[int]) -> float:
    """The largest |difference| of any linear layer's output between the library in float32 and the float64 definition
    on the very same float32 inputs, where every code is the same or they are not the same rule."""
    opened = open_quantized(folder, "compressed-tensors")
    worst = 0.0
    hooks = []

    def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor, name: str) -> None:
        nonlocal worst
        x = inputs[0][0].numpy()
        rule = opened.rules[name]
        weight, bias = opened.weights[f"{name}.weight"], opened.weights.get(f"{name}.bias", 0.0)
        exact = rule(x).values @ weight.T + bias
        worst = max(worst, float(np.abs(output[0].numpy() - exact).max()))

    for name, module in model.named_modules():
        if name in opened.rules:
            hooks.append(module.register_forward_hook(partial(hook, name=name)))
    with torch.inference_mode():
        model(torch.tensor([list(token_ids)]), use_cache=False)
    return worst


def _float_logits(folder: Path, unpacked: Mapping[str, torch.Tensor], token_ids: Sequence[int]) -> np.ndarray:
    """Logits in float64 of a Llama with these weights, the others as the folder stores them."""
    config = LlamaConfig.from_pretrained(folder)
    del config.quantization_config
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).double().eval()
    tensors = {**load_file(folder / "model.safetensors"), **unpacked}
    for name, parameter in model.named_parameters():
        parameter.data.copy_(tensors[name])
    with float64_throughout():
        return logits(model, list(token_ids))


def _unpack(tensors: Mapping[str, torch.Tensor], args: QuantizationArgs) -> dict[str, torch.Tensor]:
    """The library's weights of packed layers, with scales widened to float64 first, lest it round to their type."""
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weights = {}
    for name in tensors:
        layer, found, _ = name.partition(".weight_packed")
        if found:
            suffixes = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point")
            state = {key: tensors[f"{layer}.{key}"] for key in suffixes if f"{layer}.{key}" in tensors}
            state["weight_scale"] = state["weight_scale"].double()
            state["weight_shape"] = state.get("weight_shape", torch.tensor([0, 0]))
            weights[f"{layer}.weight"] = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    return weights


def unpacked_logits(folder: Path, token_ids: Sequence[int]) -> np.ndarray:
    """Logits of a pack-quantized folder in float64, by the library's unpacking."""
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    args = QuantizationArgs(**settings["config_groups"]["group_0"]["weights"])
    return _float_logits(folder, _unpack(load_file(folder / "model.safetensors"), args), token_ids)


def awq_logits(folder: Path, token_ids: Sequence[int]) -> np.ndarray:
    """Logits of an AutoAWQ folder in float64, by way of the library's converter to its own format."""
    converter = AutoAWQConverter.from_pretrained(str(folder))
    tensors = converter.process(load_file(folder / "model.safetensors"))
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=converter.group_size)
    return _float_logits(folder, _unpack(tensors, args), token_ids)
