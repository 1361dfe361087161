"""Rules on the files around a chat: tokenizer, chat template, sampling settings."""

from __future__ import annotations

from collections.abc import Iterator

from inferno.config.lint.rules import Facts, Told, quoted, rule
from inferno.findings import Finding


@rule("text-file-broken", "warning")
def broken_files(facts: Facts) -> Iterator[Told]:
    """A file of the text layer cannot be read, or not be followed. Prompts as text need it; token ids do not."""
    for fault in facts.text.faults:
        finding = Finding.from_error(fault, facts.text.folder)
        yield Told(finding.where, finding.message, finding.repair)


@rule("tokenizer-missing", "warning")
def no_tokenizer(facts: Facts) -> Iterator[Told]:
    """No tokenizer: prompts can be given as token ids only."""
    if facts.text.tokenizer_file is None:
        yield Told(
            str(facts.path.parent),
            "holds no tokenizer.json and no tokenizer.model; prompts can be given as token ids only",
            "put the model's tokenizer.json beside its weights",
        )


@rule("chat-template-missing", "note")
def no_template(facts: Facts) -> Iterator[Told]:
    """No chat template, as for every base model: prompts are continued, not answered."""
    if facts.text.tokenizer_file is not None and facts.text.template is None and not facts.text.faults:
        yield Told(str(facts.path.parent), "holds no chat template: prompts are continued as raw text")


@rule("chat-templates-differ", "note")
def two_templates(facts: Facts) -> Iterator[Told]:
    """chat_template.jinja (newer) and the one in tokenizer_config.json (older) differ."""
    if facts.text.template_replaces:
        yield Told(
            facts.text.template_replaces, f"differs from {facts.text.template_origin}, which is used", "remove one"
        )


@rule("turn-end-not-a-stop", "warning")
def turn_end(facts: Facts) -> Iterator[Told]:
    """The chat template ends turns with a token that ends no answer: the model will go on, and answer itself."""
    tokenizer, stops = facts.text.tokenizer, facts.stop_ids()
    ends = {text: facts.text.id_of(text) for text in facts.text.turn_ends}
    ids = {text: token_id for text, token_id in ends.items() if token_id is not None}
    if tokenizer is None or not stops or not ids or stops & set(ids.values()):
        return
    listed = ", ".join(f"{quoted(text)} ({token_id})" for text, token_id in ids.items())
    yield Told(
        facts.text.template_origin,
        f"ends turns with {listed}, but an answer ends at {', '.join(map(facts.named, sorted(stops)))} only",
        f"add {next(iter(ids.values()))} to eos_token_id in generation_config.json",
    )


@rule("turn-end-not-a-token", "warning")
def turn_end_unknown(facts: Facts) -> Iterator[Told]:
    """The chat template ends turns with a text that is no token of this tokenizer: it is another model's template."""
    ends = facts.text.turn_ends
    tokenizer = facts.text.tokenizer
    if tokenizer is None or tokenizer.model_type == "Unigram" or not ends:
        return
    if all(facts.text.id_of(text) is None for text in ends):
        yield Told(
            facts.text.template_origin,
            f"ends turns with {', '.join(map(quoted, ends))}, which is no token of tokenizer.json, so that it is "
            "written in pieces and ends no answer",
            "take tokenizer and template from the same model",
        )


@rule("bos-twice", "note")
def bos_twice(facts: Facts) -> Iterator[Told]:
    """Template and tokenizer both put BOS before a chat. Inferno adds none to what the template printed."""
    if facts.text.template_prints_bos and facts.text.adds_bos:
        yield Told(
            facts.text.template_origin,
            "prints the begin token, and the tokenizer adds it too; Inferno does not add it to a chat, so that it "
            "comes once, but engines that encode the printed text as a prompt have it twice",
        )


@rule("chat-without-bos", "note")
def no_bos(facts: Facts) -> Iterator[Told]:
    """The tokenizer begins raw prompts with BOS, and the template prints none."""
    if facts.text.template is not None and facts.text.adds_bos and not facts.text.template_prints_bos:
        yield Told(
            facts.text.template_origin,
            "prints no begin token, though the tokenizer begins every text with one; a chat begins without it, as "
            "with transformers",
        )


@rule("generation-setting-ignored", "warning")
def ignored_settings(facts: Facts) -> Iterator[Told]:
    """generation_config.json asks for something that Inferno does not do."""
    ignored = () if facts.parsed is None else facts.parsed.generation.ignored
    for key in ignored:
        yield Told(
            f"{facts.beside('generation_config.json')}: {key}",
            f"is {quoted(str(facts.generation.get(key)))}, which Inferno does not implement, and ignores",
        )
