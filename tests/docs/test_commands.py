"""The commands on the pages are ones that the program takes: commands, options, shipped configurations."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import data_modules
import mtdense.models
from mtdense.cli.configs import merged_configs, take_option
from mtdense.cli.main import LIGHTNING, command_parser
from mtdense.core.experiments import resolve_experiment
from mtdense.models import DenseModule

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/mtdense/models/*/README.md")],
    key=lambda page: page.as_posix(),
)
FENCE = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)

INLINE = re.compile(r"`(mtdense [^`]+)`")

# Options of the run itself, which only a parser of five seconds knows.
RUN_OPTIONS = {
    "config",
    "ckpt_path",
    "run_dir",
    "resume",
    "log_dir",
    "out",
    "overwrite",
    "variant",
    "images",
    "size",
    "per_image",
    "figures",
}


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of each `mtdense` command in a block of code."""
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("mtdense "):
                    words = shlex.split(line, comments=True)[1:]
                    # What follows is the shell's.
                    end = next((i for i, word in enumerate(words) if word in {">", "&&", "|", "2>&1"}), len(words))
                    yield page.relative_to(ROOT).as_posix(), words[:end]


def inline_commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of each `mtdense` command in the text, as in docs/questions.md; arguments may be left out."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for span in INLINE.findall(text):
            if not re.search(r"[|…]|\.\.\.|, ", re.sub(r"'[^']*'|\[[^]]*\]|\{[^}]*\}", "", span)):  # several at once
                yield page.relative_to(ROOT).as_posix(), shlex.split(" ".join(span.split()))[1:]


ALL = list(commands())
INLINE_ALL = list(inline_commands())


def test_there_are_commands_on_the_pages() -> None:
    assert len(ALL) >= 50


@pytest.mark.parametrize("page, words", ALL, ids=[f"{page}-{number}" for number, (page, _) in enumerate(ALL)])
def test_a_command_on_a_page_is_one(page: str, words: list[str]) -> None:
    for name in take_option(words, "--config", "-c")[0]:
        if "/" in name and not name.startswith(("runs/", "my", "~", "RUN/")):
            resolve_experiment(name)
    if words[0] in LIGHTNING:
        check_lightning(words)
        return
    # argparse ends the process at a word that it does not know.
    parsed, options = command_parser().parse_known_args(words)
    assert not options or getattr(parsed, "takes_options", False), f"{page}: {options} of {words}"


def check_lightning(words: list[str]) -> None:
    """Options of fit, validate, test and predict: of the run, or of the class that the configuration names."""
    names, rest = take_option(words[1:], "--config", "-c")
    shipped = [name for name in names if "/" in name and not name.startswith(("runs/", "my", "~", "RUN/"))]
    config = merged_configs(shipped)
    for word in rest:
        if not word.startswith("--"):
            continue
        section, _, key = word[2:].split("=")[0].replace("-", "_").partition(".")
        if section in {"model", "data"} and key and key != "help":
            path = (config.get(section) or {}).get("class_path")
            assert key.split(".")[0].rstrip("+") in arguments(section, path), word
        else:
            assert section in {*RUN_OPTIONS, "model", "data", "trainer", "seed_everything", "help", "allow_module"}, (
                word
            )


@pytest.mark.parametrize(
    "page, words", INLINE_ALL, ids=[f"{page}-{number}" for number, (page, _) in enumerate(INLINE_ALL)]
)
def test_a_command_in_the_text_is_one(page: str, words: list[str]) -> None:
    for name in take_option(words, "--config", "-c")[0]:
        if "/" in name and not name.startswith(("runs/", "my", "~", "RUN/")):
            resolve_experiment(name)
    if words[0] in LIGHTNING:
        check_lightning(words)
    else:
        check_words(words)


def check_words(words: list[str]) -> None:
    """Actions and options are ones that the command has."""
    parser, rest = command_parser(), list(words)
    while actions := [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]:
        if not rest or rest[0].startswith("-") or rest[0].isupper():  # TASK stands for any
            break
        assert rest[0] in actions[0].choices, words
        parser = actions[0].choices[rest.pop(0)]
    for word in rest:
        if word.startswith("--"):
            foreign = parser.get_default("takes_options") and word.split(".")[0] in {"--model", "--data", "--trainer"}
            assert foreign or word.split("=")[0] in parser._option_string_actions, f"{word} of {words}"


def arguments(section: str, path: str | None) -> set[str]:
    """Names that the class, or any of its kind where none is named, takes."""
    module, base = (mtdense.models, DenseModule) if section == "model" else (data_modules, data_modules.DenseDataModule)
    kinds = [getattr(module, name) for name in module.__all__]
    classes = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, base)]
    if path is not None:
        classes = [kind for kind in classes if kind.__name__ == path.split(".")[-1]]
    found = {name for kind in classes for parent in kind.__mro__ for name in inspect.signature(parent).parameters}
    return found | {"class_path", "init_args"}


def test_an_unknown_option_would_be_found() -> None:
    assert len(INLINE_ALL) >= 50
    for wrong in (["score", "edge"], ["score", "edges", "--nonsense"], ["tables"], ["predict", "--model.nonsense"]):
        with pytest.raises(AssertionError):
            check_words(wrong) if wrong[0] not in LIGHTNING else check_lightning(wrong)
    with pytest.raises(SystemExit):
        command_parser().parse_args(["score", "edges", "--nonsense"])
    with pytest.raises(AssertionError):
        check_lightning(["fit", "--config", "pascal_context/full/tif-swin_t.yaml", "--model.nonsense", "3"])
    with pytest.raises(AssertionError):
        check_lightning(["test", "--nonsense", "3"])
