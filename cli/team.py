"""`deeptrader ask`, `chat` and `instructions`: the team on the command line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..core.errors import DeepTraderError, InvalidInput
from ..core.formats import duration_text
from ..core.settings import load_settings
from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import console, plain_table, print_error, print_json, print_lines, sources_table

if TYPE_CHECKING:
    from ..agents.ask import Answer

QUIT_WORDS = frozenset({"exit", "quit", "bye", ":q"})


def ask(
    question: Annotated[str, typer.Argument(help="A question about the market, in your own words.")],
    model: Annotated[str | None, typer.Option("--model", help="e.g. openai:gpt-5-mini, ollama:qwen3")] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Answer from memory alone, by code: no model is asked.")
    ] = False,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Ask the team; with --memory, or with no model set, memory alone answers."""
    from ..agents.ask import answer_question

    if not question.strip():
        raise InvalidInput("The question is empty.", hint='Ask something, e.g. deeptrader ask "is bitcoin oversold?".')
    with runtime_for(data_dir, market, as_of, reading=True, model=model) as runtime:
        answer = answer_question(question, runtime, memory_only=memory)
        if json:
            print_json({"schema_version": 2, "question": question, "answer": answer})
            return
        print_answer(answer)


def print_answer(answer: Answer) -> None:
    """An answer with its sources, what it rests on and what it cost."""
    if answer.served_from == "team":
        from rich.markdown import Markdown

        console.print(Markdown(answer.text))
    else:
        print_lines(answer.text)
    if answer.sources:
        console.print(sources_table(answer.sources))
    if answer.suggestions:
        console.print(Text(f"Ask instead: {'  '.join(answer.suggestions)}", style="dim"))
    if answer.not_in_memory:
        console.print(Text(f"Not in memory: {', '.join(answer.not_in_memory)}", style="yellow"))
    who = f"by {answer.model}" if answer.served_from == "team" and answer.model else "from memory, written by code"
    tokens = f", {answer.tokens_in:,} tokens in, {answer.tokens_out:,} out" if answer.tokens_in else ""
    problem = f" ({answer.problem})" if answer.problem else ""
    console.print(Text(f"{who}{problem} in {duration_text(answer.seconds)}{tokens}", style="dim"))


def chat(
    model: Annotated[str | None, typer.Option("--model", help="e.g. openai:gpt-5-mini, ollama:qwen3")] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
) -> None:
    """Talk with the team until you say exit."""
    from ..agents.ask import Conversation

    with runtime_for(data_dir, market, as_of, model=model) as runtime:
        conversation = Conversation(runtime)
        console.print(Text(f"{conversation.introduction} Say exit to leave.", style="dim"))
        while True:
            try:
                question = console.input("[bold]you[/bold]  ").strip()
            except EOFError:
                break
            if question.lower() in QUIT_WORDS:
                break
            if not question:
                continue
            try:
                print_answer(conversation.ask(question))
            except DeepTraderError as error:
                print_error(error.message, error.hint)


def instructions(
    copy: Annotated[str | None, typer.Option("--copy", help="Copy this agent's file out for editing.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to copy into.")] = None,
    json: Json = False,
) -> None:
    """List which instructions file each agent uses, or copy one out for editing."""
    from ..instructions import copy_out, list_instructions

    settings = load_settings()
    if copy is not None:
        folder = to or settings.instructions_dir or Path("instructions")
        path = copy_out(copy, folder)
        if json:
            print_json({"schema_version": 1, "copied": str(path)})
            return
        console.print(Text(f"Copied to {path}. Edits there take effect on the next run"), end="")
        if settings.instructions_dir is None:
            console.print(Text(f" once DEEPTRADER_INSTRUCTIONS_DIR={folder.resolve()} is set"), end="")
        console.print(".")
        return
    found = list_instructions(settings)
    if json:
        print_json({"schema_version": 1, "instructions": [asdict(item) | {"path": str(item.path)} for item in found]})
        return
    table = plain_table("Name", "Agent", "Whose", "File")
    for item in found:
        file = Text(str(item.path), overflow="fold")  # a path is copied whole or is of no use
        if item.problem:
            file.append(f"  {item.problem}", style="bold red")
        table.add_row(Text(item.name), Text(item.agent), Text(item.origin), file)
    console.print(table)
    console.print("Copy one out for editing: deeptrader instructions --copy NAME --to FOLDER", style="dim")
