"""Meta's files: which belong together, how their pieces join, and every way in which they may not."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from containers import write_f32
from inferno.analysis import analyze_folder
from inferno.checkpoint.layouts import META
from inferno.checkpoint.meta import (
    find_meta_files,
    join_shards,
    open_weight_file,
    refuse_cut_lanes,
)
from inferno.checkpoint.survey import Survey, survey_weights
from inferno.checkpoint.tensor import JoinedTensor, Tensor
from inferno.config import LlamaConfig
from inferno.errors import CheckpointError, InfernoError, ModelNotFoundError, UnsupportedError
from inferno.joined import Joined
from inferno.model_folder import list_folder
from inferno.models.llama import expected_tensors
from meta_writer import meta_tensors, write_meta
from tiny import stored_tensors, tiny_config
from torch_writer import write_pth

CONFIG = tiny_config({"intermediate_size": 96, "vocab_size": 128})
HEAD_DIM = 16


def opened(folder: Path) -> Survey:
    survey = survey_weights(folder, list_folder(folder))
    for error in survey.errors:
        raise error
    assert survey.layout is META
    return survey


def write(folder: Path, **options: Any) -> Path:
    return write_meta(folder, stored_tensors(CONFIG, "F32", 0), CONFIG, "F32", **options)


def refuse(folder: Path, what: str, error: type[InfernoError] = CheckpointError) -> None:
    with pytest.raises(error, match=what) as caught:
        opened(folder)
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert text.isprintable()
    assert text.isascii()


def change(path: Path, **tensors: np.ndarray | None) -> None:
    """Rewrites a .pth shard with F32 tensors replaced, added or, for None, removed; "__" stands for a dot."""
    held = {name: (found.dtype, np.array(found.array)) for name, found in open_weight_file(path).items()}
    for name, value in tensors.items():
        stored = name.replace("__", ".")
        held.pop(stored, None)
        if value is not None:
            held[stored] = ({2: "F16", 4: "F32"}[value.itemsize], value)
    write_pth(path, held)


def whole(tensor: Tensor | JoinedTensor) -> np.ndarray:
    if isinstance(tensor, Tensor):
        return tensor.array
    return np.concatenate(tensor.matrix.parts, tensor.matrix.axis)


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize("embedding_axis", [0, 1])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_pieces_join_to_the_model(tmp_path: Path, shards: int, embedding_axis: int, form: str) -> None:
    weights = opened(write(tmp_path, shards=shards, form=form, embedding_axis=embedding_axis))
    config = LlamaConfig.from_folder(tmp_path)
    assert {name: tensor.shape for name, tensor in weights.tensors.items()} == {
        name: spec.shape for name, spec in expected_tensors(config).items()
    }
    stored = meta_tensors(stored_tensors(CONFIG, "F32", 0), HEAD_DIM)
    for name, tensor in weights.tensors.items():
        expected = stored[weights.stored_names[name]]
        assert (tensor.name, tensor.dtype, tensor.nbytes) == (name, "F32", expected.nbytes)
        np.testing.assert_array_equal(whole(tensor), expected)
        joined = shards > 1 and expected.ndim == 2
        assert isinstance(tensor, JoinedTensor if joined else Tensor)
        assert len(tensor.parts) == len(tensor.files) == (shards if joined else 1)
        assert tensor.file == tensor.files[0] == tmp_path / f"consolidated.00.{form}"
    embedding = weights.tensors["model.embed_tokens.weight"]
    assert not isinstance(embedding, JoinedTensor) or embedding.axis == embedding_axis


def test_a_joined_tensor_is_views(tmp_path: Path) -> None:
    tensor = opened(write(tmp_path, shards=2)).tensors["model.layers.1.mlp.down_proj.weight"]
    assert isinstance(tensor, JoinedTensor)
    assert [part.name for part in tensor.parts] == ["layers.1.feed_forward.w2.weight"] * 2
    matrix = tensor.matrix
    assert isinstance(matrix, Joined)
    assert (matrix.shape, matrix.axis) == ((64, 96), 1)
    for part, tensor_part in zip(matrix.parts, tensor.parts, strict=True):
        assert part.shape == (64, 48)
        assert np.shares_memory(part, tensor_part.file_bytes)


def test_constants_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    for shard in range(2):
        change(tmp_path / f"consolidated.0{shard}.pth", rope__freqs=np.ones(8, np.float16))
    weights = opened(tmp_path)
    assert weights.ignored == ("rope.freqs",)
    assert "rope.freqs" not in weights.tensors


def test_unknown_names_keep_their_names(tmp_path: Path) -> None:
    write(tmp_path)
    change(tmp_path / "consolidated.00.pth", layers__0__attention__wq__bias=np.ones(8, np.float32))
    weights = opened(tmp_path)
    assert weights.tensors["layers.0.attention.wq.bias"].shape == (8,)
    assert weights.stored_names["layers.0.attention.wq.bias"] == "layers.0.attention.wq.bias"


# Files


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["consolidated.00.pth"], ["consolidated.00.pth"]),
        (["consolidated.pth", "tokenizer.model"], ["consolidated.pth"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["consolidated.01.pth", "consolidated.00.pth"], ["consolidated.00.pth", "consolidated.01.pth"]),
        (["consolidated.00.pth", "consolidated.00.safetensors"], ["consolidated.00.safetensors"]),
        ([f"consolidated.{i:02d}.pth" for i in range(11)], [f"consolidated.{i:02d}.pth" for i in range(11)]),
    ],
)
def test_files(tmp_path: Path, names: list[str], files: list[str]) -> None:
    found = find_meta_files(tmp_path, names)
    assert [path.name for path in found.paths] == files
    assert found.error is None
    assert found.missing == frozenset()


@pytest.mark.parametrize(
    ("present", "what"),
    [
        ([1], "from consolidated.00.pth to consolidated.01.pth; got no consolidated.00.pth; download the rest"),
        ([0, 2, 3], "from consolidated.00.pth to consolidated.03.pth; got no consolidated.01.pth; "),
        ([0, 7], r"got no consolidated.01.pth, consolidated.02.pth, consolidated.03.pth and 3 more; "),
    ],
)
def test_a_gap(tmp_path: Path, present: list[int], what: str) -> None:
    for number in present:
        (tmp_path / f"consolidated.{number:02d}.pth").touch()
    (tmp_path / "params.json").write_text("{}")
    refuse(tmp_path, rf"^{tmp_path}: must hold its shards {what}".replace("shards got", "shards .*got"))
    found = find_meta_files(tmp_path, list_folder(tmp_path))
    assert len(found.paths) == max(present) + 1
    assert {int(path.name[13:15]) for path in found.missing} == set(range(max(present))) - set(present)


def test_one_or_numbered(tmp_path: Path) -> None:
    what = "must hold consolidated.pth or numbered shards; got both; keep those that are the whole model"
    with pytest.raises(CheckpointError, match=what):
        find_meta_files(tmp_path, ["consolidated.00.pth", "consolidated.pth"])


def test_nothing_to_open(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{}")
    refuse(tmp_path, "must hold weights; got params.json; a model folder in Meta's layout holds ", ModelNotFoundError)
    (tmp_path / "x.gguf").touch()
    with pytest.raises(UnsupportedError, match="must be safetensors; got a GGUF file"):
        opened(tmp_path)


def test_files_must_lie_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    folder = write(tmp_path / "m")
    (folder / "consolidated.00.pth").unlink()
    (folder / "consolidated.00.pth").symlink_to(tmp_path / "elsewhere" / "consolidated.00.pth")
    refuse(folder, "files must lie in .*; got consolidated.00.pth, a link to .*elsewhere")


# The number of shards


@pytest.mark.parametrize(
    ("kept", "got"),
    [
        (3, "got 3; download consolidated.03.pth"),
        (2, "got 2; download consolidated.02.pth, consolidated.03.pth"),
        (1, "got 1; download consolidated.01.pth, consolidated.02.pth, consolidated.03.pth"),
    ],
)
@pytest.mark.parametrize("embedding_axis", [0, 1])
def test_the_last_shards_are_missing(tmp_path: Path, kept: int, got: str, embedding_axis: int) -> None:
    write(tmp_path, shards=4, embedding_axis=embedding_axis)
    for number in range(kept, 4):
        (tmp_path / f"consolidated.{number:02d}.pth").unlink()
    what = (
        r"must hold 4 shards, for dim is 64 in params.json and layers.0.attention.wq.weight has 16 rows in "
        rf"consolidated.00.pth; {got}$"
    )
    refuse(tmp_path, what)


def test_a_shard_too_many(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    (tmp_path / "consolidated.01.pth").rename(tmp_path / "consolidated.02.pth")
    (tmp_path / "consolidated.01.pth").write_bytes((tmp_path / "consolidated.00.pth").read_bytes())
    refuse(
        tmp_path, "must hold 2 shards, .*; got 3; these are shards of several models, or of a larger one: download all"
    )


# Shards that do not fit


def test_a_name_that_one_shard_lacks(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    change(tmp_path / "consolidated.01.pth", layers__0__attention__wk__weight=None, norm__weight=None)
    what = (
        r"consolidated.01.pth: must hold the same names as the other shards; got no layers.0.attention.wk.weight, "
        r"norm.weight; the shards are not of one model: download all of them again"
    )
    refuse(tmp_path, what)


def test_types_that_differ(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    change(tmp_path / "consolidated.01.pth", output__weight=np.zeros((64, 64), np.float16))
    refuse(
        tmp_path, r"consolidated.01.pth: output.weight must fit that of consolidated.00.pth, which is F32; got F16; "
    )


@pytest.mark.parametrize(
    ("name", "shape", "first"),
    [
        ("layers__0__attention__wq__weight", (32, 60), r"\[32, 64\]"),
        ("layers__0__attention__wo__weight", (60, 32), r"\[64, 32\]"),
        ("layers__1__ffn_norm__weight", (60,), r"\[64\]"),
        ("layers__1__attention__wv__weight", (16,), r"\[16, 64\]"),
        ("tok_embeddings__weight", (64, 32), r"\[64, 64\]"),
    ],
)
def test_shapes_that_differ(tmp_path: Path, name: str, shape: tuple[int, ...], first: str) -> None:
    write(tmp_path, shards=2)
    change(tmp_path / "consolidated.01.pth", **{name: np.zeros(shape, np.float32)})
    stored = name.replace("__", ".")
    refuse(tmp_path, rf"consolidated.01.pth: {stored} must fit that of consolidated.00.pth, which is {first}; got \[")


def test_a_vector_cannot_be_split(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    for shard in range(2):
        change(tmp_path / f"consolidated.0{shard}.pth", output__weight=np.zeros(64, np.float32))
    refuse(tmp_path, r"output.weight must be a matrix, for it is split over shards; got shape \[64\]")


def test_names_of_the_other_layout(tmp_path: Path) -> None:
    """Taken as they are, q and k would be rotated in the wrong order."""
    write(tmp_path)
    change(
        tmp_path / "consolidated.00.pth", **{"model.layers.0.self_attn.q_proj.weight": np.ones((64, 64), np.float32)}
    )
    what = "tensors must have Meta's names; got model.layers.0.self_attn.q_proj.weight, a name of Hugging Face's layout"
    refuse(tmp_path, what)


@pytest.mark.parametrize("params", [None, "{}", "[]", '{"dim": "wide"}', '{"dim": true}', '{"dim": null}'])
@pytest.mark.parametrize("embedding_axis", [0, 1])
def test_a_senseless_dim_is_left_to_the_config(tmp_path: Path, params: str | None, embedding_axis: int) -> None:
    """The axis of the embedding then comes from the width of the norm."""
    write(tmp_path, shards=2, embedding_axis=embedding_axis)
    if params is None:
        (tmp_path / "params.json").unlink()
    else:
        (tmp_path / "params.json").write_text(params)
    tensors = opened(tmp_path).tensors
    assert len(tensors) == 21
    assert tensors["model.embed_tokens.weight"].shape == (128, 64)


def test_what_is_there_of_a_model_with_a_gap(tmp_path: Path) -> None:
    """Neither the pieces nor the number of shards are complained of beside the file that is missing."""
    write(tmp_path, shards=4)
    (tmp_path / "consolidated.02.pth").unlink()
    survey = survey_weights(tmp_path, list_folder(tmp_path))
    (error,) = survey.errors
    assert "got no consolidated.02.pth" in str(error)
    assert [file.nbytes is None for file in survey.files] == [False, False, True, False]
    assert survey.tensors["model.embed_tokens.weight"].shape == (96, 64)


def test_all_faults_are_collected(tmp_path: Path) -> None:
    shards = {}
    for i, width in enumerate((64, 32)):
        shapes = {
            "output.weight": (4, width),
            "layers.0.ffn_norm.weight": (width,),
            "layers.1.ffn_norm.weight": (width,),
        }
        shapes["layers.0.attention.wq.weight"] = (16, 64)
        shards[f"consolidated.0{i}.safetensors"] = open_weight_file(
            write_f32(tmp_path / f"consolidated.0{i}.safetensors", shapes)
        )
    errors = [str(error) for error in join_shards(tmp_path, shards, 64).errors]
    # the count first, then one of each kind
    assert ["must hold 4 shards" in errors[0], "output.weight" in errors[1], "layers.0.ffn_norm" in errors[2]] == [
        True
    ] * 3
    assert len(errors) == 3


# Copies


def test_copies_in_the_shards(tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    replicas = opened(tmp_path).replicas
    assert set(replicas) == {name for name in expected_tensors(LlamaConfig.from_folder(tmp_path)) if "norm" in name}
    assert all(len(copies) == 2 for copies in replicas.values())


# Lanes


def test_cuts_between_groups_of_eight(tmp_path: Path) -> None:
    refuse_cut_lanes(opened(write(tmp_path, shards=4)).tensors)


def test_a_cut_inside_a_group_of_eight(tmp_path: Path) -> None:
    config = tiny_config({"intermediate_size": 72})
    write_meta(tmp_path, stored_tensors(config, "F32", 0), config, "F32", shards=2)
    what = (
        rf"^{tmp_path}/consolidated.00.pth: layers.0.feed_forward.w2.weight \(model.layers.0.mlp.down_proj.weight\) "
        r"must end at a multiple of 8 columns, for kernels add in 8 lanes; got a boundary at column 36 of 72; merge "
        r"the shards, or convert the model to Hugging Face's layout$"
    )
    weights = opened(tmp_path)
    with pytest.raises(UnsupportedError, match=what):
        refuse_cut_lanes(weights.tensors)


def test_the_last_piece_may_end_anywhere(tmp_path: Path) -> None:
    """As k may, in a matrix of one piece."""
    paths = [
        write_f32(tmp_path / f"consolidated.0{i}.safetensors", {"x": (3, columns)})
        for i, columns in enumerate((16, 8, 5))
    ]
    parts = tuple(open_weight_file(path)["x"] for path in paths)
    refuse_cut_lanes({"x": JoinedTensor.of("x", parts, 1)})
    with pytest.raises(UnsupportedError, match="boundary at column 13 of 29"):
        refuse_cut_lanes({"x": JoinedTensor.of("x", (parts[1], parts[2], parts[0]), 1)})
    refuse_cut_lanes({"x": JoinedTensor.of("x", (parts[2], parts[2]), 0)})


@pytest.mark.parametrize("dim", [32 * 10**7, 2**31, 2**63, 32 * 10**15])
def test_a_dim_beyond_reason_names_few_shards(tmp_path: Path, dim: int) -> None:
    """The number comes from a file: nothing may be made for each of the shards that it asks for."""
    tracemalloc.start()
    shard = {"layers.0.attention.wq.weight": np.zeros((16, 64), np.float32)}
    save_file(shard, tmp_path / "consolidated.00.safetensors")
    (tmp_path / "params.json").write_text(json.dumps({"dim": dim, "n_layers": 1, "n_heads": 4, "vocab_size": 8}))
    error = next(f.error for f in analyze_folder(tmp_path).findings if f.error is not None)
    assert len(str(error)) < 600
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
