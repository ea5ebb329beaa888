"""The model client: providers, the servers that they reach, and `ask`."""

from agents.llms.clients import Clients, ask, preload, probe, worst_case
from agents.llms.embeddings import embed
from agents.llms.ollama_server import pull
from agents.llms.openai_later import MOST_BYTES, MOST_REQUESTS, BatchState, LaterState, OpenAILater, read_deferred
from agents.llms.provider import ModelReport, ServerReport, Warmth
from agents.llms.request_fingerprint import request_fingerprint
from agents.llms.tokens import TokenCounter, counter_of, estimate_parts, estimate_request, estimate_tokens

__all__ = [
    "MOST_BYTES",
    "MOST_REQUESTS",
    "BatchState",
    "Clients",
    "LaterState",
    "ModelReport",
    "OpenAILater",
    "ServerReport",
    "TokenCounter",
    "Warmth",
    "ask",
    "counter_of",
    "embed",
    "estimate_parts",
    "estimate_request",
    "estimate_tokens",
    "preload",
    "probe",
    "pull",
    "read_deferred",
    "request_fingerprint",
    "worst_case",
]
