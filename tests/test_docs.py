"""What the documents say, where it can be checked cheaply: commands, links, flags, paths, the example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    'pip install ".[demo]" && python -m inferno generate "What is gravity?"',
    'pip install -e ".[test]" && pytest',
]
# What a placeholder of CONTRIBUTING's table may stand for: a path in it must exist for one of these.
EXAMPLES = {"<isa>": "avx2", "<op>": "rmsnorm", "<model_type>": "llama", "<verb>": "generate"}


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_two_commands_come_first_and_are_what_ci_runs():
    lines = README.read_text(encoding="utf-8").splitlines()
    code = [line.strip() for line in lines if line.startswith("    ")]
    assert code[:2] == COMMANDS
    assert lines.index(f"    {COMMANDS[1]}") < 10
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for command in COMMANDS:
        assert any(line.startswith(command) for line in script), command


def test_flags_of_the_readme_are_those_of_the_command():
    command = [sys.executable, "-m", "inferno", "generate", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    flag = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
    known = set(flag.findall(text))
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in flag.findall(row.split("|")[1])}
    assert told <= known
    # nothing that changes an answer is left out
    assert {name for name in known if name.startswith("--")} - told <= {
        *("--help", "--version", "--prompt"),
        *("--n-predict", "--max-new-tokens", "--temperature", "--repetition-penalty", "--max-model-len"),
    }


def test_paths_of_the_table_exist():
    rows = [line for line in CONTRIBUTING.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    paths = {path for row in rows for path in re.findall(r"`([\w./<>-]+)`", row)}
    assert len(paths) > 15
    for path in paths:
        for placeholder, example in EXAMPLES.items():
            path = path.replace(placeholder, example)
        assert (ROOT / path).exists(), path


def mapped_paths() -> set[Path]:
    """What the map in docs/architecture.md names: each name under the folder above it that stands less far in."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths: set[Path] = set()
    folders = [ROOT]
    for line in text.split("## The map")[1].split("\n\n")[1].splitlines():
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        for name in re.split(r",? ", re.split(r" {2,}", line.strip())[0]):
            del folders[depth + 1 :]
            found = set(folders[depth].glob(name.rstrip("/")))
            assert found, f"{name} is not in {folders[depth]}"
            paths |= found
            folders.append(folders[depth] / name)
    return paths


def test_the_map_is_that_of_the_tree():
    mapped = mapped_paths()
    for folder in (ROOT / "csrc", ROOT / "csrc" / "kernels", ROOT / "python" / "inferno"):
        for path in folder.iterdir():
            by_itself = path.name.startswith(("_", ".")) or path.suffix in (".so", ".typed")
            a_contract = folder.name == "kernels" and path.suffix == ".h"
            assert by_itself or a_contract or path in mapped, f"docs/architecture.md: its map lacks {path}"


def test_paths_in_the_architecture_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:csrc|python|tests|bench|\.ci)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_example_of_the_readme_runs(demo_folder, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    printed = capsys.readouterr().out
    assert "Gravity" in printed
    assert "Paris" in printed
    assert names["logits"].shape == (3, 49152)
