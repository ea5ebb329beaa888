"""Cells of a run that wait for deferred calls: who sends them, and what must be known of them after Redis was lost."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from domain.lanes import LANES
from harness.admission.keys import SHARED, Keys
from harness.admission.ledger import pico
from harness.deferred.coordinator import Coordinator
from harness.deferred.mailbox import Mailbox, SuspendedCell, decoded
from harness.deferred.stage_progress import CallStage
from harness.deferred.submissions import Pace
from harness.experiment import servers
from harness.experiment.spec import Experiment
from harness.terminal import duration, number_of

_CANCEL_S = 30.0

if TYPE_CHECKING:
    from redis import Redis

    from harness.cells import Cell
    from harness.experiment.servers import ServerSpec
    from harness.planning.workload import PlannedCall
    from harness.runs.progress import Progress
    from harness.storage.run_folder import RunFolder
    from harness.storage.store import Store


def coordinator(
    store: Store,
    specs: Mapping[str, ServerSpec],
    run_id: str,
    unfinished: Mapping[str, Cell],
    planned: Mapping[str, Sequence[PlannedCall]],
) -> Coordinator | None:
    """Who sends the deferred calls of these cells; None if no model is in a deferred lane, and none was.

    `planned`: arm -> the calls of one cell."""
    mailbox = Mailbox(store.folder)
    deferring = {cell_id for cell_id, cell in unfinished.items() if is_deferring(cell)}
    deferring |= set(mailbox.suspended_ids()) & unfinished.keys()
    if not deferring and not any(True for _ in mailbox.submissions()):
        return None
    reached = {name: spec.as_agents_server() for name, spec in specs.items() if spec.is_hosted}
    stages = _planned_stages(Counter(cell.arm for cell in unfinished.values()), planned)
    return Coordinator(mailbox, reached, Pace.of(os.environ), run_id, deferring, planned=stages)


def _planned_stages(cells: Mapping[str, int], planned: Mapping[str, Sequence[PlannedCall]]) -> Counter[CallStage]:
    """Deferred calls of these cells (arm -> how many), stages in the order in which they follow."""
    stages: Counter[CallStage] = Counter()
    for arm, calls in planned.items():
        for call in calls:
            if call.model.lane.is_deferred and not call.is_second:
                stages[CallStage.of(call.role, call.model.name, call.model.lane.name)] += cells.get(arm, 0)
    return stages


def cancel_left(run: RunFolder, servers_file: Path | None = None) -> str | None:
    """Cancel what a run that is not executed has left with a provider: a sentence on it; None if there is nothing.

    Raises InvalidInput if its servers cannot be read any more."""
    mailbox = Mailbox(run.store.folder)
    if not any(True for _ in mailbox.submissions()):
        return None
    experiment = Experiment.model_validate(yaml.safe_load(run.store.folder.read("experiment.yaml")))
    folder = run.store.manifest().get("experiment_dir")
    specs = servers.load(servers_file, experiment, Path(folder) if folder and Path(folder).is_dir() else None)
    reached = {name: spec.as_agents_server() for name, spec in specs.items() if spec.is_hosted}
    deferring = Coordinator(mailbox, reached, Pace.of(os.environ), run.run_id, ())
    deferring.other_cells = (mailbox.progress() or {}).get("cells", 0)
    deferring.cancel()
    deferring.start()
    try:
        return cancelled(deferring)
    finally:
        deferring.close()


def cancelled(deferring: Coordinator) -> str:
    """Wait until what is with the provider is cancelled; a sentence on what it may still cost."""
    calls = deferring.calls_out
    deferring.wait_cancelled(_CANCEL_S)
    if not deferring.calls_out:
        subject = "the only request is not" if calls == 1 else f"none of the {calls:,} requests is"
        return f"cancelled: {subject} with the provider any more; what it answered is kept"
    return (
        f"cancelled: {with_provider(deferring.calls_out)}; what it has begun is still billed, at most "
        f"${deferring.reserved_usd:.4f}, and the same command fetches it"
    )


def of_other_lanes(deferring: Coordinator, experiment: Experiment, run: str) -> list[str]:
    """One sentence for each lane that a model was in before and is not in now, while its requests are with the provider."""
    sentences = []
    for (alias, lane), calls in deferring.calls_out_by_lane.items():
        model = experiment.models.get(alias)
        lane_now = (model.lane if model else None) or "now"
        if lane_now != lane:
            sentences.append(
                f"{alias}: lane {lane_now} from here on; {with_provider(calls)} in lane {lane}, and its cells wait for these "
                f"answers first. To ask in lane {lane_now} instead: Ctrl-C, `python -m harness stop {run}`, the same command"
            )
    return sentences


def with_provider(calls: int) -> str:
    return "1 request is with the provider" if calls == 1 else f"{calls:,} requests are with the provider"


def is_deferring(cell: Cell) -> bool:
    """Whether some role of the cell is played by a model in a deferred lane."""
    return any(LANES[str(model.params.get("lane") or "now")].is_deferred for model in cell.lineup.values())


def restore_ledger(client: Redis, run_id: str, store: Store, cells: Mapping[str, Cell], hosted: Collection[str]) -> None:
    """Count what the run's files say was paid, and reserve for what is with the provider, if Redis has lost the ledger.

    What suspended cells have paid is in no receipt yet. `cells`: those of this session by their ids; of others it is not known
    which model's budget they count to."""
    from harness.admission.scripts import source

    keys, mailbox = Keys(run_id), Mailbox(store.folder)
    if client.exists(keys.ledger):
        return
    receipts = store.receipts().values()
    paid_usd = sum((row["api_cost_usd"] or 0.0) - (row["reused_api_usd"] or 0.0) for row in receipts)
    sums = Counter({"run|settled": pico(max(0.0, paid_usd))})
    sums["run|calls"] = sum(row["llm_calls"] or 0 for row in receipts)
    for name in ("input_tokens", "output_tokens"):
        sums[f"run|{name}"] = sum(row[name] or 0 for row in receipts)
    script: Any = client.register_script(source("hold"))
    for cell_id in mailbox.suspended_ids():
        suspended = mailbox.read_cell(cell_id)
        if suspended is None:
            continue
        paid_pico = _count_suspended(sums, suspended, cells.get(cell_id), run_id, hosted)
        if paid_pico:
            client.hset(keys.cell(cell_id), "cell|settled", paid_pico)
        held = [word for call in suspended.waiting for word in (call.call_id, call.worst_pico, call.model_alias)]
        script(keys.of_call(cell_id, ""), [SHARED, "", *held])
    for name, amount in sums.items():
        if amount:
            client.hincrby(keys.ledger, name, amount)


def _count_suspended(
    sums: Counter[str], suspended: SuspendedCell, cell: Cell | None, run_id: str, hosted: Collection[str]
) -> int:
    """Add the calls that a suspended cell has recorded to the sums of the ledger; returns what they cost in pico-dollars."""
    from harness.admission.journal import JournalEntry
    from reports.tables import CALLS

    paid_pico = 0
    for entry in suspended.entries.values():
        row = JournalEntry.decode(decoded(entry), CALLS.names).row
        sums["run|calls"] += 1
        sums["run|input_tokens"] += row["input_tokens"] or 0
        sums["run|output_tokens"] += row["output_tokens"] or 0
        if row["server"] in hosted and row["run_id"] == run_id:
            cost_pico = pico(row["cost_usd"])
            paid_pico += cost_pico
            sums["run|settled"] += cost_pico
            if cell and row["role"] in cell.lineup:
                sums[f"model:{cell.lineup[row['role']].alias}|settled"] += cost_pico
    return paid_pico


def lines(deferred: Mapping[str, Any], *, is_followed: bool = True) -> list[str]:
    """Stage by stage what is with a provider, as sentences; `is_followed`: whether a command fetches the answers now."""
    sentences = []
    for stage in deferred.get("stages") or ():
        submitted = f"{stage['submitted']:,} of {stage['calls']:,} submitted, {stage['back']:,} back"
        sentences.append(f"{stage['name']}: {submitted} ({stage['model']}, lane {stage['lane']}: {stage['status']})")
    if is_followed and (collecting := deferred.get("collecting")):
        wait = "waits" if collecting == 1 else "wait"
        sentences.append(f"{number_of(collecting, 'call')} {wait} until the other cells have reached their next call")
    if is_followed and (backing_off := deferred.get("backing_off")):
        sentences.append(f"{number_of(backing_off, 'call')} {'waits' if backing_off == 1 else 'wait'} for the next try")
    if deferred.get("oldest_s") is not None:
        next_look = f"next look in {duration(deferred.get('next_poll_s') or 0.0)}"
        next_look = next_look if is_followed else "the same command fetches its answer"
        cells = "1 cell waits" if deferred["cells"] == 1 else f"{deferred['cells']:,} cells wait"
        sentences.append(f"{cells}; oldest request {duration(deferred['oldest_s'])} old, {next_look}")
    return sentences


def progress_now(store: Store) -> dict[str, Any]:
    """What the runner last wrote of deferred calls, its ages and waits as of now; empty if there was none."""
    written = Mailbox(store.folder).progress() or {}
    since_s = max(0.0, time.time() - written.get("written_at", 0.0))
    if written.get("oldest_s") is not None:
        written["oldest_s"] += since_s
    if written.get("next_poll_s") is not None:
        written["next_poll_s"] = max(0.0, written["next_poll_s"] - since_s)
    return written


def see(progress: Progress, deferring: Coordinator) -> None:
    """Take what the coordinator reports into the progress of the run."""
    progress.deferred = {name: value for name, value in deferring.progress.items() if name != "so_far"}
    for note in list(deferring.notes):
        progress.note(note)
