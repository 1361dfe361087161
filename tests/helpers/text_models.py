"""Small tokenizers of every kind that Llama checkpoints use, and folders that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = [
    "the system answers the user, and the assistant answers the system",
    "caf\u00e9 na\u00efve \u4f60\u597d\u4e16\u754c \u0442\u0435\u043a\u0441\u0442 1234 < b | c > d_e",
    "<s> [INST] hello world [/INST] im_start im_end </s> user assistant",
]
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA2 = ("<unk>", "<s>", "</s>")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPIECE = "\u2581"


def special(text: str, **flags: bool) -> AddedToken:
    return AddedToken(text, special=True, normalized=flags.pop("normalized", False), **flags)


def byte_level(specials: Sequence[str | AddedToken] = CHATML) -> Tokenizer:
    """As GPT-2, Llama 3 and SmolLM2: bytes as visible characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=[special(token) if isinstance(token, str) else token for token in specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _pieces() -> list[str]:
    """Single characters of the lines, with the space as SentencePiece writes it, and a few longer pieces."""
    characters = sorted({character for line in LINES for character in line.replace(" ", SPIECE)} - {SPIECE})
    return [SPIECE, *characters]


def llama2(normalized: bool = False, legacy: bool = True) -> Tokenizer:
    """As Llama 2 and TinyLlama: BPE with byte fallback; a normalizer (legacy) or a pre-tokenizer marks spaces."""
    pieces = [*LLAMA2, *BYTES, *_pieces()]
    merges = [("t", "h"), ("th", "e"), (SPIECE, "the"), ("e", "r"), ("u", "s"), ("us", "er"), (SPIECE, "user")]
    vocab = {piece: index for index, piece in enumerate([*pieces, *("".join(merge) for merge in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPIECE), normalizers.Replace(" ", SPIECE)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPIECE, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPIECE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([special(token, normalized=normalized) for token in LLAMA2])
    add_bos(tokenizer, "<s>")
    return tokenizer


def unigram(byte_fallback: bool = True) -> Tokenizer:
    """A Unigram model, whose own vocabulary holds the special tokens' texts too."""
    scored = [(token, 0.0) for token in LLAMA2]
    scored += [(token, -12.0) for token in BYTES] if byte_fallback else []
    scored += [(piece, -6.0) for piece in _pieces()] + [(SPIECE + "the", -2.0), (SPIECE + "user", -2.0), ("er", -3.0)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPIECE, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(SPIECE)])
    tokenizer.add_special_tokens([special(token) for token in LLAMA2])
    return tokenizer


def wordpiece() -> Tokenizer:
    """Whole words and ##pieces; its decoder repairs spaces before punctuation."""
    letters = "abcdefghijklmnopqrstuvwxyz.,!?'"
    vocab = ["[UNK]", "[CLS]", *letters, *("##" + letter for letter in letters), "user", "the", "do", "not", "n't"]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([special("[UNK]"), special("[CLS]")])
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "llama2_legacy": llama2,
    "llama2_normalized_specials": lambda: llama2(normalized=True),
    "llama2_metaspace": lambda: llama2(legacy=False),
    "unigram": unigram,
    "unigram_unk": lambda: unigram(byte_fallback=False),
    "wordpiece": wordpiece,
}


def add_bos(tokenizer: Tokenizer, token: str) -> None:
    """Lets the post-processor begin every text with `token`."""
    token_id = tokenizer.token_to_id(token)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A $B", special_tokens=[(token, token_id)]
    )


def write_folder(folder: Path, library: Tokenizer | None = None, **config: Any) -> Path:
    """A folder with tokenizer.json and, if anything is given, tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (library or byte_level()).save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
