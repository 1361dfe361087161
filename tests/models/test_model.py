"""What a loaded model promises beside its numbers: bound weights, bounded memory, errors before any work."""

from __future__ import annotations

import re

import numpy as np
import pytest

from inferno import errors
from inferno.checkpoint import Checkpoint
from inferno.config import LlamaConfig
from inferno.kv_cache import KvCache, Sequence, kv_bytes_per_token
from inferno.models import load_model
from inferno.models.llama import Llama, expected_tensors
from inferno.models.weights import Weights
from inferno.rope import rope_frequencies
from tiny import write_tiny


def load(folder, **options):
    return load_model(folder, **{"ctx_size": 64, "threads": 1, **options})


@pytest.fixture
def folder(tmp_path):
    return write_tiny(tmp_path / "tiny", dtype="BF16")


def test_bound_weights_are_the_map(tmp_path):
    folder = write_tiny(tmp_path / "tiny", {"attention_bias": True, "mlp_bias": True}, "BF16")
    ckpt, config = Checkpoint.open(folder), LlamaConfig.from_folder(folder)
    cache = KvCache(config.num_hidden_layers, config.num_key_value_heads, config.head_dim, 64, "f16")
    rope = rope_frequencies(config.rope, config.head_dim, config.max_position_embeddings, 64)
    from inferno.checkpoint import resolve_head

    head = resolve_head(ckpt, config.tie_word_embeddings, ckpt.folder)
    llama = Llama(config, Weights(ckpt, {}), head, cache.layers, rope)
    bound = [llama.embed_tokens, llama.norm, llama.lm_head.weight]
    for layer in llama.layers:
        linears = [layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj]
        linears += [layer.gate_proj, layer.up_proj, layer.down_proj]
        bound += [layer.input_layernorm, layer.post_attention_layernorm]
        bound += [array for linear in linears for array in (linear.weight, linear.bias)]
    (file,) = ckpt.maps()
    for array in bound:
        assert np.shares_memory(array, file)
        assert not array.flags.writeable
    assert sum(array.nbytes for array in bound) == ckpt.nbytes == sum(tensor.nbytes for tensor in ckpt.values())


def test_forward_refuses_what_does_not_fit(folder):
    model = load(folder)
    sequence = model.new_sequence()
    with pytest.raises(errors.ContextLengthError, match="must fit a context of 64 tokens; got 65"):
        model.forward(sequence, [1] * 65)
    with pytest.raises(errors.UsageError, match="at least one token"):
        model.forward(sequence, [])
    with pytest.raises(errors.UsageError, match=re.escape("token ids must be in [0, 131); got 131")):
        model.forward(sequence, [131])
    with pytest.raises(errors.UsageError, match=re.escape("must be in [0, 131); got -1")):
        model.forward(sequence, [-1])
    for bad in ([1.7], np.array([2**32 + 5]), [2**40], [[1, 2]], ["a"]):
        with pytest.raises(errors.UsageError, match="must be one row of integers from 0 to 2147483647"):
            model.forward(sequence, bad)
    with pytest.raises(errors.UsageError, match="outputs must be one of last, all, none; got 'foo'"):
        model.forward(sequence, [1], "foo")
    model.forward(sequence, [1] * 64)
    with pytest.raises(errors.ContextLengthError, match="got 65"):
        model.forward(sequence, [1])


def test_failed_forward_leaves_the_sequence_as_it_was(folder):
    model = load(folder)
    sequence = model.new_sequence()
    model.forward(sequence, [5, 6])
    with pytest.raises(errors.UsageError):
        model.forward(sequence, [131])
    after = model.forward(sequence, [7]).copy()
    np.testing.assert_array_equal(after, model.forward(model.new_sequence(), [5, 6, 7]))


def test_released_blocks_serve_again(folder):
    model = load(folder)
    for _ in range(5):
        sequence = model.new_sequence()
        model.forward(sequence, [1] * 64)
        sequence.release()


def test_all_blocks_in_use(folder):
    model = load(folder)
    model.forward(model.new_sequence(), [1] * 64)
    with pytest.raises(errors.ContextLengthError, match="all 2 blocks of 32 positions are in use"):
        model.forward(model.new_sequence(), [1])


def test_reserve_takes_nothing_when_it_fails():
    cache = KvCache(1, 1, 2, 64, "f32")
    sequence = Sequence(cache, 64)
    with pytest.raises(errors.ContextLengthError):
        sequence.reserve(65)
    assert cache.free_blocks == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ctx_size": 0}, errors.UsageError, "ctx_size: must be from 1 to"),
        ({"ctx_size": True}, errors.UsageError, "ctx_size: must be from 1 to"),
        ({"ctx_size": 1 << 25}, errors.UsageError, "ctx_size: must be from 1 to"),
        ({"threads": 0}, errors.UsageError, "threads: must be from 1 to 1024; got 0"),
        ({"threads": 1025}, errors.UsageError, "threads: must be from 1 to 1024; got 1025"),
        ({"threads": "2"}, errors.UsageError, "threads: must be from 1 to 1024; got '2'"),
        ({"kv_cache_type": "int8"}, errors.UsageError, "kv_cache_type: must be one of f32, f16, bf16; got 'int8'"),
        ({"isa": "avx512"}, errors.HardwareError, "isa=avx512: this CPU has no avx512"),
    ],
)
def test_bad_options(folder, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        load(folder, **options)


def test_head_dim_beyond_the_kernels(tmp_path):
    folder = write_tiny(tmp_path / "wide", {"head_dim": 516, "num_attention_heads": 1, "num_key_value_heads": 1})
    with pytest.raises(errors.UnsupportedError, match=r"config.json: head_dim must be at most 512; got 516"):
        load(folder)


def test_context_beyond_the_models_own_warns(folder):
    assert load(folder, ctx_size=512).plan.findings == ()
    (finding,) = load(folder, ctx_size=513).plan.findings
    assert str(finding).startswith("context: 513 tokens are more than the 512 that the model was made for")
    assert str(finding) in load(folder, ctx_size=513).plan.warnings


def test_default_context_is_what_memory_allows(tmp_path):
    from inferno.hardware import available_memory

    config = {
        "max_position_embeddings": (1 << 31) - 1,
        "num_hidden_layers": 16,
        "num_key_value_heads": 4,
        "head_dim": 64,
    }
    folder = write_tiny(tmp_path / "long", config)
    model = load(folder, ctx_size=None)
    assert model.kv_bytes <= available_memory() * 0.6
    (finding,) = model.plan.findings
    assert str(finding).startswith(f"context: {model.ctx_size} tokens instead of the model's {1 << 24}")


def test_context_that_memory_does_not_hold(tmp_path):
    folder = write_tiny(tmp_path / "long", {"num_hidden_layers": 64, "num_key_value_heads": 4, "head_dim": 512})
    with pytest.raises(errors.HardwareError, match=r"need .* GB for keys and values, and .* GB are available"):
        load(folder, ctx_size=1 << 24)


def test_a_stored_head_is_used_where_the_config_ties_it(tmp_path):
    folder = write_tiny(tmp_path / "untied")
    untied = load(folder).forward(load(folder).new_sequence(), [1, 2, 3]).copy()
    config = (folder / "config.json").read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    (folder / "config.json").write_text(config)
    tied = load(folder)
    assert tied.plan.head.reason.startswith("tie_word_embeddings is true, yet lm_head.weight is stored")
    np.testing.assert_array_equal(tied.forward(tied.new_sequence(), [1, 2, 3]), untied)


def test_kv_bytes_per_token():
    assert kv_bytes_per_token(22, 4, 64, "f16") == 22 * 4 * 64 * 2 * 2


def test_expected_tensors_are_those_of_the_checkpoint(folder):
    ckpt = Checkpoint.open(folder)
    assert set(expected_tensors(LlamaConfig.from_folder(folder))) == set(ckpt)
