"""The model client: providers, the servers that they reach, and `ask`."""

from agents.llms.clients import Clients, ask, preload, probe, worst_case
from agents.llms.ollama_server import pull
from agents.llms.provider import ModelReport, ServerReport, Warmth
from agents.llms.request_fingerprint import request_fingerprint
from agents.llms.tokens import TokenCounter, counter_of, estimate_parts, estimate_request, estimate_tokens

__all__ = [
    "Clients",
    "ModelReport",
    "ServerReport",
    "TokenCounter",
    "Warmth",
    "ask",
    "counter_of",
    "estimate_parts",
    "estimate_request",
    "estimate_tokens",
    "preload",
    "probe",
    "pull",
    "request_fingerprint",
    "worst_case",
]
