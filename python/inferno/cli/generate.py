"""`inferno generate`: one prompt, one answer, streamed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inferno.cli.common import add_machine, add_model, chosen_model, machine
from inferno.cli.flags import Flags, day, integer, number
from inferno.cli.prompt import read_prompt
from inferno.cli.terminal import say, use_utf8, write
from inferno.errors import UsageError
from inferno.progress import Progress, SilentProgress, stderr_progress

if TYPE_CHECKING:
    from inferno.engine.generation import Generation
    from inferno.engine.llm import LLM
    from inferno.engine.sampling import SamplingParams

NAME = "generate"
HELP = "answer a prompt"
DESCRIPTION = """Answers a prompt: the text alone on stdout, everything else on stderr.

  inferno generate "What is gravity?"
  inferno generate -m ./my-model --temp 0 -n 200 "Write a haiku."
  cat notes.txt | inferno generate -s "Summarize." -

What is not given of the sampling is taken from the model's generation_config.json. A model that
says nothing is run greedily, as transformers runs it, or at temperature 1 if --top-p, --top-k,
--min-p or --seed is given.

Every flag can also be set as a variable, --max-tokens as INFERNO_MAX_TOKENS;
the command line comes first."""

# Work, in multiplications, from which reading a prompt is worth a progress bar: about a second on two old cores.
_LONG_PREFILL = 2e10


def add_flags(flags: Flags) -> None:
    flags.parser.add_argument("prompt_argument", nargs="?", metavar="PROMPT", help='"-" or a pipe: read from stdin')
    flags.add("-p", "--prompt", metavar="PROMPT", help="the same as a flag")
    add_model(flags)
    flags.add("-s", "--system", metavar="TEXT", help="system message of the chat")
    flags.add("--raw", action="store_true", help="continue the prompt as it is, without the model's chat template")
    flags.add("--date", type=day, help="the day that the chat template shows, like 2026-01-31; default: today")
    _add_sampling(flags)
    add_machine(flags)
    flags.add("--json", action="store_true", help="one JSON object on stdout, when all is done, instead of the text")


def _add_sampling(flags: Flags) -> None:
    flags.add("-n", "--max-tokens", "--n-predict", "--max-new-tokens", type=integer, metavar="N",
              help="at most N tokens; default: until the context is full")  # fmt: skip
    flags.add("--temp", "--temperature", type=number, metavar="T", help="0 is greedy; default: the model's, see above")
    flags.add("--top-p", type=number, metavar="P", help="keep the likeliest tokens that together reach P")
    flags.add("--top-k", type=integer, metavar="K", help="keep the K likeliest tokens; 0 keeps all")
    flags.add("--min-p", type=number, metavar="P", help="keep tokens at least P times as likely as the likeliest")
    flags.add("--repeat-penalty", "--repetition-penalty", type=number, metavar="X",
              help="makes tokens of prompt and answer less likely; 1 is off")  # fmt: skip
    flags.add("--presence-penalty", type=number, metavar="X", help="taken from tokens that the answer has already")
    flags.add("--frequency-penalty", type=number, metavar="X", help="the same, for each time that it has them")
    flags.add("--seed", type=integer, metavar="N", help="repeats an answer; drawn and told if not given")
    flags.add("--stop", action="append", metavar="TEXT", help="end before TEXT; may be given several times")


def run(args: argparse.Namespace) -> None:
    from inferno.cli import report

    use_utf8()
    prompt = read_prompt(args.prompt_argument, args.prompt)
    params = _sampling(args)
    notes: Any = (lambda _: None) if args.quiet else say
    llm = _load(args, notes)
    notes(report.load_line(llm))
    for warning in llm.warnings:
        notes(f"warning: {warning}")
    bar = _PromptBar(SilentProgress() if args.quiet else stderr_progress())
    if _is_greedy(args, llm):
        params = replace(params, temperature=0.0)
    generation = _begin(args, llm, prompt, params, bar, notes)
    with generation:
        _stream(generation, bar, llm, show=not args.json)
    metrics = generation.output.metrics
    measured = None if args.quiet else report.measure_bandwidth(llm, metrics)
    comparison = None if args.quiet and not args.json else report.compare_with_forecast(llm, metrics)
    if args.json:
        write(report.json_text(llm, generation, measured, comparison) + "\n")
    notes(report.closing_line(generation, measured, comparison))


def _sampling(args: argparse.Namespace) -> SamplingParams:
    from inferno.engine.sampling import SamplingParams

    return SamplingParams(
        temperature=args.temp,
        top_p=args.top_p,
        top_k=args.top_k,
        min_p=args.min_p,
        repetition_penalty=args.repeat_penalty,
        presence_penalty=args.presence_penalty or 0.0,
        frequency_penalty=args.frequency_penalty or 0.0,
        seed=args.seed,
        stop=args.stop,
        max_tokens=args.max_tokens,
    )


def _is_greedy(args: argparse.Namespace, llm: LLM) -> bool:
    """Whether nobody, neither user nor model, has asked for anything to be drawn."""
    given = (args.temp, args.top_p, args.top_k, args.min_p, args.seed)
    defaults = llm.config.generation
    return not defaults.do_sample and defaults.temperature is None and all(value is None for value in given)


def _load(args: argparse.Namespace, notes: Any) -> LLM:
    from inferno.engine.llm import LLM

    return LLM(
        chosen_model(args, notes),
        **machine(args),
        revision=args.revision,
        progress=stderr_progress(quiet=bool(args.quiet)),
    )


def _begin(
    args: argparse.Namespace, llm: LLM, prompt: str, params: SamplingParams, bar: _PromptBar, notes: Any
) -> Generation:
    has_template = llm.tokenizer.chat_template is not None
    if has_template and not args.raw:
        messages = [{"role": "user", "content": prompt}]
        if args.system is not None:
            messages.insert(0, {"role": "system", "content": args.system})
        return llm.stream_chat(messages, params, date=args.date, progress=bar)
    for name in ("system", "date"):
        if getattr(args, name) is not None:
            why = "--raw is given" if has_template else f"{llm.name} has none"
            raise UsageError(f"--{name}: must come with a chat template; {why}; leave it out")
    if not args.raw:
        notes(f"{llm.name} has no chat template: the prompt is continued as it is")
    return llm.stream(prompt, params, progress=bar)


def _stream(generation: Generation, bar: _PromptBar, llm: LLM, show: bool) -> None:
    tokens = len(generation.output.prompt_token_ids)
    last = ""
    try:
        if 2 * tokens * llm.num_parameters > _LONG_PREFILL:
            bar.start(tokens)
        for piece in generation:
            bar.finish()
            if show and piece.text:
                write(piece.text)
                last = piece.text
    finally:
        bar.finish()
        if show and (last or generation.output.finished) and not last.endswith("\n"):
            write("\n")


class _PromptBar:
    """Progress of the prefill, as the engine tells of it. Says nothing unless it was started."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self._started = False

    def start(self, tokens: int) -> None:
        self._progress.start(f"Reading the prompt ({tokens} tokens)", tokens)
        self._started = True

    def __call__(self, done: int, total: int) -> None:
        if self._started:
            self._progress.advance(done - self._done)
            self._done = done

    def finish(self) -> None:
        if self._started:
            self._progress.finish()
            self._started = False
