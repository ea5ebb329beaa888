"""The face of the pipeline: decide one case with a lineup of models over a frozen snapshot."""

from agents.contract.answer import CAUSES, Answer, Failure, Timing
from agents.contract.gate import Call, Gate, Permit, WorstCase
from agents.contract.lineup import Lineup, Model, Server
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part, Place, Request, ToolCall, ToolSpec
from agents.contract.result import DECISION_STATUSES, Decision, Result, ToolSkill
from agents.deciding import decide
from agents.decisions.decision import Reading, decision_of, fill_in
from agents.decisions.forms import DECISION, FORMS, Form
from agents.errors import (
    AgentsError,
    BadArchive,
    Halt,
    LookAhead,
    ModelCallError,
    NoSuchCase,
    PipelineError,
    PromptTooLong,
    SnapshotError,
    SourceFailed,
    Unsupported,
)
from agents.flow import DEPTHS, INPUTS
from agents.identity import earlier_fingerprints, fingerprint, judge_fingerprint
from agents.inputs.adjust import held
from agents.inputs.freezing import decision_time, freeze_case, recipe
from agents.inputs.sessions import close_of, is_session, next_session, previous_session, sessions_between
from agents.inputs.snapshot import Snapshot, load_snapshot
from agents.inputs.views import instrument, view
from agents.judging import Contest, Entry, Hidden, judge
from agents.llms import (
    Clients,
    ModelReport,
    ServerReport,
    TokenCounter,
    Warmth,
    ask,
    counter_of,
    estimate_tokens,
    probe,
    pull,
)
from agents.planned import PlannedPrompt, prompts_of
from agents.preload import preload
from agents.replaying import Recorded, replay
from agents.roles import analyst_names, deep_roles, role_names
from agents.rules import rule_names
from agents.sources import Desk, History, Source, open_sources, source_names
from agents.sources.archive_check import ArchiveReport, check_archive
from agents.sources.grow import grow, live_sources, today_rows
from agents.version_0_1_0 import fingerprint_0_1_0, is_read_as_0_1_0, judge_fingerprint_0_1_0, recipe_0_1_0
from domain.usage import Usage

__all__ = [
    "CAUSES",
    "DECISION",
    "DECISION_STATUSES",
    "DEPTHS",
    "FORMS",
    "INPUTS",
    "AgentsError",
    "Answer",
    "ArchiveReport",
    "BadArchive",
    "Call",
    "Clients",
    "Contest",
    "Decision",
    "Desk",
    "Entry",
    "Failure",
    "Form",
    "Gate",
    "Halt",
    "Hidden",
    "History",
    "Lineup",
    "LookAhead",
    "Model",
    "ModelCallError",
    "ModelReport",
    "NoSuchCase",
    "Part",
    "Permit",
    "Pipeline",
    "PipelineError",
    "Place",
    "PlannedPrompt",
    "PromptTooLong",
    "Reading",
    "Recorded",
    "Request",
    "Result",
    "Server",
    "ServerReport",
    "Snapshot",
    "SnapshotError",
    "Source",
    "SourceFailed",
    "Timing",
    "TokenCounter",
    "ToolCall",
    "ToolSkill",
    "ToolSpec",
    "Unsupported",
    "Usage",
    "Warmth",
    "WorstCase",
    "analyst_names",
    "ask",
    "check_archive",
    "close_of",
    "counter_of",
    "decide",
    "decision_of",
    "decision_time",
    "deep_roles",
    "earlier_fingerprints",
    "estimate_tokens",
    "fill_in",
    "fingerprint",
    "fingerprint_0_1_0",
    "freeze_case",
    "grow",
    "held",
    "instrument",
    "is_read_as_0_1_0",
    "is_session",
    "judge",
    "judge_fingerprint",
    "judge_fingerprint_0_1_0",
    "live_sources",
    "load_snapshot",
    "next_session",
    "open_sources",
    "preload",
    "previous_session",
    "probe",
    "prompts_of",
    "pull",
    "recipe",
    "recipe_0_1_0",
    "replay",
    "role_names",
    "rule_names",
    "sessions_between",
    "source_names",
    "today_rows",
    "view",
]
