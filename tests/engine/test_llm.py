"""LLM: what generate, stream, chat and logits give back, and what they refuse."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from inferno import LLM, RequestOutput, SamplingParams
from inferno.engine.outputs import CompletionOutput
from inferno.errors import CheckpointError, ContextLengthError, ModelNotFoundError, TextError, UsageError
from model_edits import edit_tensors
from speaker import END, write_speaker

SPOKEN = "Hey, wörd!😀"
SPOKEN_TOKENS = len(SPOKEN.encode())
USER = [{"role": "user", "content": "Hi"}]
DRAWN = {"temperature": 1.5, "max_tokens": 20, "ignore_eos": True}


def one(outputs: list[RequestOutput]) -> CompletionOutput:
    (request,) = outputs
    (completion,) = request.outputs
    return completion


def blocks_in_use(llm: LLM) -> int:
    cache = llm.model._cache
    return cache.blocks - cache.free_blocks


def test_it_says_the_text_and_ends(speaker):
    (request,) = speaker.generate("a>")
    completion = request.outputs[0]
    assert completion.text == SPOKEN
    assert completion.token_ids[-1] == END
    assert len(completion.token_ids) == SPOKEN_TOKENS + 1
    assert (completion.finish_reason, completion.stop_reason) == ("stop", None)
    assert (completion.index, completion.seed, completion.logprobs) == (0, None, None)
    assert request.prompt == "a>"
    assert request.prompt_token_ids == speaker.tokenizer.encode("a>")
    assert request.finished
    assert blocks_in_use(speaker) == 0


def test_metrics(speaker):
    (request,) = speaker.generate("a>")
    m = request.metrics
    assert (m.prompt_tokens, m.prefilled_tokens) == (2, 2)
    assert (m.generated_tokens, m.decoded_tokens) == (SPOKEN_TOKENS + 1, SPOKEN_TOKENS)
    assert 0 < m.prefill_seconds <= m.time_to_first_token
    assert m.prompt_tokens_per_second == 2 / m.prefill_seconds
    assert m.generation_tokens_per_second == m.decoded_tokens / m.decode_seconds


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("logprobs", [None, 2])
def test_logits_that_are_no_numbers_are_told_as_a_damaged_model(tiny_folder, tmp_path, value, logprobs):
    folder = shutil.copytree(tiny_folder, tmp_path / "damaged")
    norm = np.full(64, value, np.float32)
    edit_tensors(lambda tensors: tensors.update({"model.norm.weight": ("F32", [64], norm.tobytes())}))(folder)
    with LLM(folder, threads=1) as llm:
        message = (
            f"{re.escape(str(folder))}: must compute finite logits; got NaN or infinity at position 0; "
            "`inferno inspect --deep` shows whether weights are damaged"
        )
        with pytest.raises(CheckpointError, match=f"^{message}$"):
            llm.generate([1], SamplingParams(logprobs=logprobs))
        assert blocks_in_use(llm) == 0


def test_streamed_pieces_are_the_text(speaker):
    pieces = list(speaker.stream("a>"))
    # One token a byte: the two of "ö" and the four of the emoji come out with their last.
    expected = [*"Hey, w", "", *"örd!", "", "", "", "😀", ""]
    assert [piece.text for piece in pieces] == expected
    assert [piece.finish_reason for piece in pieces] == [None] * SPOKEN_TOKENS + ["stop"]
    assert [token for piece in pieces for token in piece.token_ids] == one(speaker.generate("a>")).token_ids


@pytest.mark.parametrize(
    ("params", "text", "reason", "stop_reason"),
    [
        ({"max_tokens": 3}, "Hey", "length", None),
        ({"max_tokens": 7}, "Hey, w\ufffd", "length", None),
        ({"max_tokens": SPOKEN_TOKENS}, SPOKEN, "length", None),
        ({"max_tokens": SPOKEN_TOKENS + 1}, SPOKEN, "stop", None),
        ({"stop": "wör"}, "Hey, ", "stop", "wör"),
        ({"stop": ["zzz", ","]}, "Hey", "stop", ","),
        ({"stop": "rd!?"}, SPOKEN, "stop", None),
        ({"stop": "!😀!", "max_tokens": 10}, "Hey, wörd", "length", None),
        ({"stop": "😀"}, "Hey, wörd!", "stop", "😀"),
        ({"stop": "wx", "max_tokens": 6}, "Hey, w", "length", None),
        ({"stop": "\ufffd", "max_tokens": 7}, "Hey, w", "stop", "\ufffd"),
        ({"stop_token_ids": [END]}, SPOKEN, "stop", None),
        ({"stop_token_ids": [END], "ignore_eos": True}, SPOKEN, "stop", END),
    ],
)
def test_ends(speaker, params, text, reason, stop_reason):
    completion = one(speaker.generate("a>", SamplingParams(**params)))
    assert (completion.text, completion.finish_reason, completion.stop_reason) == (text, reason, stop_reason)
    assert "".join(piece.text for piece in speaker.stream("a>", SamplingParams(**params))) == text


def test_a_stop_token_is_not_part_of_the_text(speaker):
    (w,) = speaker.tokenizer.encode("w")
    completion = one(speaker.generate("a>", SamplingParams(stop_token_ids=[w])))
    assert (completion.text, completion.finish_reason, completion.stop_reason) == ("Hey, ", "stop", w)
    assert completion.token_ids[-1] == w


def test_special_tokens_can_be_shown(tmp_path):
    folder = write_speaker(tmp_path / "m", "ab<|im_start|>c")
    llm = LLM(folder, threads=1)
    assert one(llm.generate("a>")).text == "abc"
    shown = one(llm.generate("a>", SamplingParams(skip_special_tokens=False)))
    assert shown.text == "ab<|im_start|>c"


def test_every_end_token_counts(tmp_path):
    """Those of config.json, of generation_config.json and of the tokenizer."""
    folder = write_speaker(tmp_path / "m", "abcdefgh")
    (config, generation) = (folder / "config.json", folder / "generation_config.json")
    ids = {letter: LLM(folder).tokenizer.encode(letter)[0] for letter in "ceg"}
    settings = json.loads((folder / "tokenizer_config.json").read_text())

    def says(in_config: str, in_generation: str, in_tokenizer: str) -> str:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": ids[in_config]}))
        generation.write_text(json.dumps({"eos_token_id": [ids[in_generation]], "do_sample": False}))
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": in_tokenizer}))
        return one(LLM(folder, threads=1).generate("a>")).text

    assert says("c", "e", "g") == "ab"
    assert says("g", "c", "e") == "ab"
    assert says("e", "g", "c") == "ab"


def test_the_context_is_the_end(tmp_path):
    llm = LLM(write_speaker(tmp_path / "m", "abc", ends=False), threads=1, ctx_size=12)
    (request,) = llm.generate("a>")
    assert request.outputs[0].finish_reason == "length"
    assert len(request.prompt_token_ids) + len(request.outputs[0].token_ids) == 12
    longest = llm.generate({"prompt_token_ids": [5] * 11})[0].outputs[0]
    assert len(longest.token_ids) == 1


@pytest.mark.parametrize("tokens", [512, 513, 2000])
def test_a_prompt_without_room_for_an_answer(speaker, tokens):
    message = f"prompt: must be at most 511 tokens, one less than the context; got {tokens} tokens; .*-c, ctx_size"
    with pytest.raises(ContextLengthError, match=message):
        speaker.stream([5] * tokens)
    assert blocks_in_use(speaker) == 0


def test_many_prompts_in_their_order(speaker):
    outputs = speaker.generate(["a>", [1, 2], {"prompt": "b>"}], SamplingParams(max_tokens=2))
    assert [output.prompt for output in outputs] == ["a>", None, "b>"]
    assert outputs[1].prompt_token_ids == [1, 2]
    assert speaker.generate([]) == []
    each = speaker.generate(["a>", "a>"], [SamplingParams(max_tokens=1), SamplingParams(max_tokens=3)])
    assert [output.outputs[0].text for output in each] == ["H", "Hey"]


def test_chat_goes_through_the_template(speaker):
    (request,) = speaker.chat(USER)
    assert request.outputs[0].text == SPOKEN
    assert request.prompt_token_ids == speaker.tokenizer.encode_chat(USER)
    assert request.prompt is None
    assert len(speaker.chat([USER, USER], SamplingParams(max_tokens=1))) == 2
    assert "".join(piece.text for piece in speaker.stream_chat(USER)) == SPOKEN


def test_the_day_of_a_chat(tmp_path):
    from datetime import date

    llm = LLM(write_speaker(tmp_path / "m", "abc", chat_template="{{ strftime_now('%d.%m.%Y') }}>"), threads=1)
    (request,) = llm.chat(USER, date=date(2026, 1, 31))
    assert llm.tokenizer.decode(request.prompt_token_ids) == "31.01.2026>"


def test_special_tokens_count_in_prompts_and_not_in_messages(speaker):
    (request,) = speaker.generate("<|im_end|>>", SamplingParams(max_tokens=1))
    assert request.prompt_token_ids[0] == END
    with_end = [{"role": "user", "content": "<|im_end|>"}]
    (request,) = speaker.chat(with_end, SamplingParams(max_tokens=1))
    assert request.prompt_token_ids.count(END) == 1


def test_samples_differ_and_a_seed_repeats_them(tiny):
    params = SamplingParams(n=3, **DRAWN)
    (request,) = tiny.generate("abc", params)
    seeds = {completion.seed for completion in request.outputs}
    assert len(seeds) == 1
    texts = [completion.token_ids for completion in request.outputs]
    assert len({tuple(text) for text in texts}) == 3
    assert [completion.index for completion in request.outputs] == [0, 1, 2]
    assert request.metrics.generated_tokens == 60
    (again,) = tiny.generate("abc", SamplingParams(n=3, seed=seeds.pop(), **DRAWN))
    assert [completion.token_ids for completion in again.outputs] == texts


def test_a_draw_depends_on_the_place_in_the_sequence(tiny):
    """An answer that is cut and put behind its prompt goes on as it did."""
    params = SamplingParams(seed=3, **DRAWN)
    (request,) = tiny.generate("abc", params)
    ids = request.outputs[0].token_ids
    rest = one(tiny.generate([*request.prompt_token_ids, *ids[:5]], dataclasses.replace(params, max_tokens=15)))
    assert rest.token_ids == ids[5:]
    assert len(set(ids)) > 10


def test_prompts_without_a_seed_get_one_each(tiny):
    outputs = tiny.generate(["abc", "abc"], SamplingParams(**DRAWN))
    assert outputs[0].outputs[0].seed != outputs[1].outputs[0].seed
    assert outputs[0].outputs[0].token_ids != outputs[1].outputs[0].token_ids


def test_threads_and_company_change_no_token(tiny_folder, tiny):
    params = SamplingParams(seed=1, **DRAWN)
    alone = one(LLM(tiny_folder, threads=1, isa=tiny.model.isa).generate("abc", params)).token_ids
    assert one(tiny.generate("abc", params)).token_ids == alone
    one_by_one = [tiny.stream("abc", params), tiny.stream("xyz", params)]
    interleaved = [[], []]
    for pieces in zip(*one_by_one, strict=True):
        for tokens, piece in zip(interleaved, pieces, strict=True):
            tokens.extend(piece.token_ids)
    assert interleaved[0] == alone


def test_logprobs(tiny):
    params = SamplingParams(temperature=0, max_tokens=5, logprobs=3, ignore_eos=True)
    (request,) = tiny.generate("abc", params)
    completion = request.outputs[0]
    logits = tiny.logits([*request.prompt_token_ids, *completion.token_ids]).astype(np.float64)
    assert len(completion.logprobs) == 5
    for step, found in enumerate(completion.logprobs):
        row = logits[len(request.prompt_token_ids) + step - 1]
        expected = row - row.max() - math.log(np.exp(row - row.max()).sum())
        assert found.token_id == completion.token_ids[step] == found.top[0][0]
        assert found.logprob == pytest.approx(expected[found.token_id], abs=1e-5)
        assert [token for token, _ in found.top] == list(np.argsort(-expected, kind="stable")[:3])
        assert [value for _, value in found.top] == pytest.approx(sorted(expected, reverse=True)[:3], abs=1e-5)
    assert completion.cumulative_logprob == pytest.approx(sum(found.logprob for found in completion.logprobs))


@pytest.mark.parametrize("penalty", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_penalties_reach_the_sampler(tiny, penalty):
    greedy = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
    # A prompt that holds what the model would like to say next.
    prompt = [5, *one(tiny.generate([5], greedy)).token_ids]
    ids = one(tiny.generate(prompt, dataclasses.replace(greedy, **{penalty: 1.7}))).token_ids
    assert ids != one(tiny.generate(prompt, greedy)).token_ids
    logits = tiny.logits([*prompt, *ids])
    for step, token in enumerate(ids):
        row = logits[len(prompt) + step - 1].copy()
        counts = np.bincount(ids[:step], minlength=row.size)
        if penalty == "repetition_penalty":
            seen = (counts + np.bincount(prompt, minlength=row.size)) > 0
            row[seen] = np.where(row[seen] > 0, row[seen] / np.float32(1.7), row[seen] * np.float32(1.7))
        else:
            row -= np.float32(1.7) * (counts if penalty == "frequency_penalty" else counts > 0)
        assert row[token] == row.max()


def test_values_beyond_float32_are_refused(tiny):
    with pytest.raises(UsageError, match="repetition_penalty must be above 0, finite and within float32; got 1e"):
        tiny.generate("abc", SamplingParams(repetition_penalty=1e300))


def test_tiny_temperatures_are_nearly_greedy(tiny):
    greedy = one(tiny.generate("abc", SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)))
    for temperature in (1e-30, 1e-300, 5e-324):
        params = SamplingParams(temperature=temperature, max_tokens=8, ignore_eos=True)
        assert one(tiny.generate("abc", params)).token_ids == greedy.token_ids
    one(tiny.generate("abc", SamplingParams(temperature=1e308, max_tokens=8)))


def test_logits(tiny):
    ids = [int(i) for i in np.arange(400) % 300]
    whole = tiny.logits(ids)
    assert whole.shape == (400, 320)
    assert whole.dtype == np.float32
    assert np.array_equal(whole[:3], tiny.logits(ids[:3]))
    sequence = tiny.model.new_sequence()
    assert np.array_equal(whole[-1], tiny.model.prefill(sequence, ids))
    sequence.release()
    assert np.array_equal(tiny.logits(np.array(ids[:3])), whole[:3])
    assert blocks_in_use(tiny) == 0


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([], UsageError, "tokens: must hold at least one token; got none"),
        ([1, 320], UsageError, "tokens: token ids must be from 0 to 319, the model's vocabulary; got 320 at 1"),
        ([-1], UsageError, "tokens: token ids must be from 0 to 319, the model's vocabulary; got -1 at 0"),
        ([2**40], UsageError, "got 1099511627776 at 0"),
        ([1.0], UsageError, r"tokens\[0\]: a token id must be an integer; got 1.0"),
        ([1] * 513, ContextLengthError, "tokens: must be at most 512, the context; got 513 tokens"),
    ],
)
def test_logits_refuses(tiny, tokens, error, message):
    with pytest.raises(error, match=message):
        tiny.logits(tokens)


def test_generate_refuses(speaker):
    with pytest.raises(UsageError, match="prompt: must hold at least one token; got none"):
        speaker.generate("")
    with pytest.raises(UsageError, match=r"prompt: token ids must be from 0 to 319.*got 999 at 1"):
        speaker.generate([1, 999])
    with pytest.raises(UsageError, match="params: must be SamplingParams or a list of them; got"):
        speaker.generate("a", {"temperature": 0})
    with pytest.raises(UsageError, match="params: must be one SamplingParams, or one for each of 2 prompts; got 1"):
        speaker.generate(["a", "b"], [SamplingParams()])
    with pytest.raises(UsageError, match="n must be 1 to be streamed; got 2; use generate or chat"):
        speaker.stream("a", SamplingParams(n=2))
    with pytest.raises(UsageError, match="messages: must be one chat to be streamed; got a list of 2"):
        speaker.stream_chat([USER, USER])
    with pytest.raises(TextError, match="messages"):
        speaker.chat("Hi")


def test_a_bad_prompt_stops_the_others_before_anything_runs(speaker):
    seen = []
    forward = speaker.model.forward
    speaker.model.forward = lambda *a, **k: seen.append(1) or forward(*a, **k)
    try:
        with pytest.raises(ContextLengthError):
            speaker.generate(["a>", [5] * 600])
    finally:
        del speaker.model.forward
    assert seen == []


def test_an_empty_prompt_is_one_where_a_bos_is_added(tmp_path):
    folder = write_speaker(tmp_path / "m", "abc")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))
    (request,) = LLM(folder, threads=1).generate("", SamplingParams(max_tokens=1))
    assert request.prompt_token_ids == [1]


def test_no_chat_template(tmp_path):
    llm = LLM(write_speaker(tmp_path / "m", "abc", chat_template=None), threads=1)
    with pytest.raises(TextError, match=f"{tmp_path}/m: must have a chat template"):
        llm.chat(USER)
    assert one(llm.generate("x>")).text == "abc"


def test_no_tokenizer(tiny_folder, tmp_path):
    """Loading and logits need none; what needs it says which file it misses."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    llm = LLM(tmp_path)
    assert llm.logits([1, 2]).shape == (2, 320)
    with pytest.raises(TextError, match=f"{tmp_path}/tokenizer.json: must exist"):
        llm.generate("a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads: must be from 1 to"),
        ({"threads": "2"}, "threads: must be from 1 to"),
        ({"ctx_size": 0}, "ctx_size: must be from 1 to .*; got 0"),
        ({"kv_cache_type": "q8"}, "kv_cache_type: must be one of f32, f16, bf16; got 'q8'"),
        ({"revision": "main"}, "revision must be left out"),
    ],
)
def test_arguments(tiny_folder, options, message):
    with pytest.raises(UsageError, match=message):
        LLM(tiny_folder, **options)


def test_no_such_model():
    with pytest.raises(ModelNotFoundError, match="/no/such/model: no such folder"):
        LLM("/no/such/model")


def test_keys_of_the_config_that_are_not_known_are_told(tiny_folder, tmp_path):
    for path in tiny_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "wobble": 3}))
    with LLM(tmp_path) as llm:
        (warning,) = llm.warnings
        assert warning.startswith(f"{tmp_path}/config.json: ")
        assert "wobble = 3" in warning


def test_settings_that_are_ignored_are_told(tiny_folder, tmp_path):
    for path in tiny_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").write_text('{"num_beams": 4, "typical_p": 0.5}')
    warnings = LLM(tmp_path).warnings
    assert all(warning.startswith(f"{tmp_path}/generation_config.json: ") for warning in warnings)
    assert "num_beams" in "".join(warnings)
    assert "typical_p" in "".join(warnings)


def test_repr_and_facts(tiny_folder):
    llm = LLM(tiny_folder, threads=1, ctx_size=100, kv_cache_type="f32", isa="scalar")
    assert repr(llm) == (
        f"LLM({tiny_folder.name!r}, {llm.num_parameters} parameters, F32, isa='scalar', threads=1, ctx_size=100, "
        "kv_cache_type='f32')"
    )
    assert llm.num_parameters * 4 == llm.checkpoint.nbytes


def test_close(tiny_folder):
    with LLM(tiny_folder) as llm:
        llm.generate("a", SamplingParams(max_tokens=1))
    assert repr(llm) == f"LLM({tiny_folder.name!r}, closed)"
    for use in (lambda: llm.generate("a"), lambda: llm.logits([1]), lambda: llm.tokenizer, lambda: llm.checkpoint):
        with pytest.raises(UsageError, match="must be open; got one that was closed; make a new LLM"):
            use()
    llm.close()


def test_close_lets_go_of_the_weights(tmp_path):
    llm = LLM(write_speaker(tmp_path, "abc"))
    llm.generate("a>")
    weights = str(tmp_path / "model.safetensors")
    assert weights in Path("/proc/self/maps").read_text()
    llm.close()
    gc.collect()
    assert weights not in Path("/proc/self/maps").read_text()


class TestStreams:
    def test_closing_early_frees_the_cache(self, speaker):
        with speaker.stream("a>") as stream:
            next(stream)
            next(stream)
            assert blocks_in_use(speaker) == 1
        assert blocks_in_use(speaker) == 0
        assert stream.output.outputs[0].text == "He"
        assert stream.output.outputs[0].finish_reason == "abort"
        assert not stream.output.finished
        with pytest.raises(StopIteration):
            next(stream)

    def test_forgetting_frees_the_cache(self, speaker):
        gc.disable()  # a reference cycle would hide behind the collector
        try:
            for piece in speaker.stream("a>"):
                assert piece.text == "H"
                break
            assert blocks_in_use(speaker) == 0
        finally:
            gc.enable()

    def test_an_error_frees_the_cache(self, speaker):
        def fails(_done: int, _total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(speaker.stream("a>", progress=fails))
        assert blocks_in_use(speaker) == 0
        assert one(speaker.generate("a>")).text == SPOKEN

    def test_closing_before_the_beginning_and_after_the_end(self, speaker):
        stream = speaker.stream("a>")
        stream.close()
        assert stream.output.outputs[0].finish_reason == "abort"
        stream = speaker.stream("a>")
        list(stream)
        stream.close()
        assert stream.output.outputs[0].finish_reason == "stop"
        assert stream.output.finished

    def test_progress(self, tiny):
        told = []
        stream = tiny.stream([5] * 300, SamplingParams(max_tokens=1), progress=lambda *now: told.append(now))
        assert told == []
        list(stream)
        assert told == [(256, 300), (300, 300)]

    def test_a_second_stream_that_does_not_fit(self, speaker):
        """One thread cannot wait for itself."""
        with speaker.stream("a>") as first:
            next(first)
            with pytest.raises(ContextLengthError, match=r"512 more tokens must fit beside .*set max_tokens"):
                next(speaker.stream("a>"))
            assert next(first).text == "e"
        assert one(speaker.generate("a>")).text == SPOKEN

    def test_streams_that_fit_take_turns(self, speaker):
        params = SamplingParams(max_tokens=20)
        streams = [speaker.stream("a>", params), speaker.stream("b>", params)]
        texts = ["".join(piece.text for piece in pieces) for pieces in zip(*zip(*streams, strict=True), strict=True)]
        assert texts == [SPOKEN, SPOKEN]

    def test_who_has_ended_waits_again(self, speaker):
        results: list[str] = []
        first_is_over, ours = threading.Event(), speaker.stream("b>")

        def twice() -> None:
            results.append(one(speaker.generate("a>")).text)
            first_is_over.set()
            started.wait(20)
            results.append(one(speaker.generate("a>")).text)

        started, thread = threading.Event(), threading.Thread(target=twice)
        thread.start()
        assert first_is_over.wait(20)
        with ours:
            next(ours)
            started.set()
            thread.join(0.3)
            assert len(results) == 1
        thread.join(20)
        assert results == [SPOKEN, SPOKEN]

    def test_threads_wait_for_their_turn(self, speaker):
        results: list[str] = []
        threads = [threading.Thread(target=lambda: results.append(one(speaker.generate("a>")).text)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == [SPOKEN] * 6
        assert blocks_in_use(speaker) == 0
