"""Rules on token ids: what ends an answer, what begins a text, and whether tokenizer and model fit together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inferno.config.lint.rules import Facts, Told, quoted, rule

# A head is padded to a round number of rows, a few hundred more at most; beyond that, the tokenizer may be another's.
_PADDING = 1024
_GENERATION = "generation_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"


@rule("eos-missing", "warning")
def no_stop(facts: Facts) -> Iterator[Told]:
    """Neither config.json nor generation_config.json nor the tokenizer names an end token."""
    # A tokenizer.model names its end tokens itself.
    if facts.stop_ids() or facts.text.tokenizer_file == "tokenizer.model":
        return
    yield Told(
        facts.field("eos_token_id"),
        f"is not given, nor in {_GENERATION}, and the tokenizer names none either: no token ends an answer",
        "set it to the id that ends the model's answers",
    )


@rule("eos-differs", "warning")
def eos_of_both_files(facts: Facts) -> Iterator[Told]:
    """config.json and generation_config.json each name an end token that the other lacks."""
    own, other = (set(facts.ids(values, "eos_token_id")) for values in (facts.config, facts.generation))
    if own - other and other - own:
        yield Told(
            facts.field("eos_token_id"),
            f"is {_listed(facts, own)}, but {_GENERATION} has {_listed(facts, other)}; an answer ends at any of them",
            "keep those that the model ends its answers with, in both files",
        )


@rule("eos-not-the-tokenizers", "warning")
def eos_of_tokenizer(facts: Facts) -> Iterator[Told]:
    """The tokenizer's eos_token is no end token of the config files. It ends an answer here, and may not elsewhere."""
    eos, stops = facts.text.token_id("eos_token"), facts.configured_stops()
    if eos is not None and stops and eos not in stops:
        yield Told(
            facts.field("eos_token_id"),
            f"is {_listed(facts, stops)} (with {_GENERATION}), but the tokenizer's eos_token is {facts.named(eos)}; an "
            "answer ends at any of them",
            f"add {eos} to eos_token_id in {_GENERATION} if the model was trained to end with it, else set eos_token",
        )


@rule("token-id-outside-vocabulary", "warning")
def ids_outside(facts: Facts) -> Iterator[Told]:
    """A begin or end token that the model has no row for. It can neither be given nor come out."""
    vocab_size = facts.vocab_size
    if vocab_size is None:
        return
    for place, values in ((str(facts.path), facts.config), (facts.beside(_GENERATION), facts.generation)):
        for key in ("bos_token_id", "eos_token_id"):
            for token_id in facts.ids(values, key):
                if token_id >= vocab_size:
                    yield Told(
                        f"{place}: {key}",
                        f"is {facts.named(token_id)}, but the model's vocabulary ends at {vocab_size - 1}",
                        "take the id of the tokenizer's token, or the config of the model that the weights belong to",
                    )


@rule("bos-differs", "warning")
def bos_ids(facts: Facts) -> Iterator[Told]:
    """The begin token of config.json is not the tokenizer's, or not that of generation_config.json."""
    own = facts.ids(facts.config, "bos_token_id")[:1]
    if not own:
        return
    others = {
        f"the tokenizer's bos_token is {{}} ({_TOKENIZER_CONFIG})": facts.text.token_id("bos_token"),
        f"{_GENERATION} has {{}}": next(iter(facts.ids(facts.generation, "bos_token_id")), None),
    }
    for what, other in others.items():
        if other is not None and other != own[0]:
            yield Told(
                facts.field("bos_token_id"),
                f"is {facts.named(own[0])}, but {what.format(facts.named(other))}; texts begin with the tokenizer's",
                "make them agree with what the model was trained with",
            )


@rule("special-token-unknown", "warning")
def roles_without_token(facts: Facts) -> Iterator[Told]:
    """A begin or end token that tokenizer_config.json names is no token of tokenizer.json."""
    # A Unigram vocabulary is a list, in which single pieces are not looked up.
    if facts.text.tokenizer is None or facts.text.tokenizer.model_type == "Unigram":
        return
    for role in ("bos_token", "eos_token"):
        text = facts.text.special.roles.get(role)
        if text is not None and facts.text.id_of(text) is None:
            yield Told(
                f"{facts.beside(_TOKENIZER_CONFIG)}: {role}",
                f"is {quoted(text)}, which is no token of tokenizer.json",
                "take both files from the same revision of the model",
            )


@rule("vocabulary-too-small", "error")
def ordinary_tokens_outside(facts: Facts) -> Iterator[Told]:
    """Ordinary text becomes ids that the model has no row for: the tokenizer is another model's."""
    vocab_size, tokenizer = facts.vocab_size, facts.text.tokenizer
    if facts.parsed is not None and vocab_size is not None and tokenizer and tokenizer.ordinary_size > vocab_size:
        yield Told(
            facts.field("vocab_size"),
            f"must be at least {tokenizer.ordinary_size}, the vocabulary of {facts.beside('tokenizer.json')}; "
            f"got {vocab_size}",
            "take the tokenizer that belongs to the weights",
        )


@rule("added-tokens-outside-vocabulary", "warning")
def added_tokens_outside(facts: Facts) -> Iterator[Told]:
    """Added tokens that the model has no row for, such as a padding token that was never trained."""
    vocab_size, tokenizer = facts.vocab_size, facts.text.tokenizer
    if vocab_size is None or tokenizer is None or tokenizer.ordinary_size > vocab_size:
        return
    outside = sorted(token_id for token_id in tokenizer.added_tokens if token_id >= vocab_size)
    if outside:
        yield Told(
            facts.field("vocab_size"),
            f"is {vocab_size}, but tokenizer.json has added tokens beyond it: {_listed(facts, outside)}; a prompt that "
            "holds one is refused",
            "do not use them, or take the weights whose embedding was extended for them",
        )


@rule("vocabulary-padded", "note")
def padding(facts: Facts) -> Iterator[Told]:
    """The model has many more rows than the tokenizer has tokens."""
    vocab_size, tokenizer = facts.vocab_size, facts.text.tokenizer
    if vocab_size is not None and tokenizer is not None and vocab_size - tokenizer.vocab_size > _PADDING:
        yield Told(
            facts.field("vocab_size"),
            f"is {vocab_size}, {vocab_size - tokenizer.vocab_size} more than tokenizer.json has tokens: padding, or "
            "the tokenizer of another model; a token without text prints nothing",
        )


@rule("context-lengths-differ", "note")
def lengths(facts: Facts) -> Iterator[Told]:
    """The tokenizer's limit is not the model's."""
    length = facts.text.model_max_length
    config = facts.parsed
    if config is not None and length is not None and length != config.max_position_embeddings:
        yield Told(
            f"{facts.beside(_TOKENIZER_CONFIG)}: model_max_length",
            f"is {length}, but max_position_embeddings is {config.max_position_embeddings}; the latter counts",
        )


def _listed(facts: Facts, ids: Iterable[int]) -> str:
    ordered = sorted(ids)
    more = f" and {len(ordered) - 6} more" if len(ordered) > 6 else ""
    return ", ".join(map(facts.named, ordered[:6])) + more
