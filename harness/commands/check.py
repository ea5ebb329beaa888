"""`check`: one case of an attached program against canned answers, before any model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import ExperimentFile, Results
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.gateway.check import CannedAnswers, CheckLine


def check(
    experiment: ExperimentFile,
    arm: Annotated[str | None, typer.Option(help="Arm to check; default: the first with an attached program.")] = None,
    results: Results = "results",
    as_json: Json = False,
) -> None:
    """Run the attached program once against canned answers: do its calls reach us, who speaks, what decides? Costs nothing."""
    import asyncio
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape

    from harness.errors import InvalidInput, Problem
    from harness.experiment import matrix, spec
    from harness.gateway import check as checking
    from harness.terminal import print_check, print_sentence

    loaded = spec.load(experiment)
    arms = {name: each for name, each in matrix.arms(loaded).items() if matrix.is_attached(loaded, each)}
    if not arms or (arm and arm not in arms):
        fix = f"name one of: {', '.join(arms)}" if arms else "add pipeline: {command: [...], folder: ...}; see docs/attach.md"
        raise InvalidInput([Problem(str(experiment), "no arm with an attached program" if not arm else f"no arm {arm!r}", fix)])
    name = arm or next(iter(arms))
    program = matrix.attached(loaded, arms[name], loaded.folder)
    cell = next(cell for cell in matrix.expand(loaded) if cell.arm == name)
    result, answers = asyncio.run(checking.run(program, cell))
    findings = list(checking.findings(result, answers))
    is_ready = not any(finding.status == "fail" for finding in findings)
    if result.error is None:
        findings += _kept(results, cell.fingerprint, answers)
    if as_json:
        emit("check/1", {"ready": is_ready, "findings": list(map(asdict, findings)), "program": result.program})
    else:
        console = Console()
        print_sentence(console, f"{name}, {cell.case_id}: {' '.join(program.command)} in {program.folder}")
        for finding in findings:
            print_check(console, finding.status, f"{finding.name}: {finding.found}", finding.fix)
        if not is_ready and (output := str(result.program.get("stderr") or result.program.get("stdout") or "").strip()):
            console.print(f"the end of its output:\n{escape(output[-1500:])}", soft_wrap=True)
    if not is_ready:
        raise typer.Exit(2)


def _kept(results: str, fingerprint: str, answers: CannedAnswers) -> Iterator[CheckLine]:
    """Keep the calls of the program for the next plan."""
    from harness.errors import StoreError
    from harness.gateway import check as checking
    from harness.planning import programs
    from harness.storage.folder import open_folder

    calls = [programs.ProgramCall(**size) for size in checking.sizes(answers)]
    if not calls:
        return
    try:
        programs.keep(open_folder(results), fingerprint, calls)
    except StoreError as error:
        yield checking.CheckLine("plan", "warn", f"the calls cannot be kept for `plan`: {error}", "pass --results FOLDER")
    else:
        yield checking.CheckLine("plan", "ok", f"`plan` now counts {len(calls)} calls a case ({results}/{programs.CHECKS})")
