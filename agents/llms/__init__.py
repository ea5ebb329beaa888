"""The one door to models: providers, their clients, and what is known of the servers they reach."""

from agents.llms.clients import PROVIDERS, Clients, probe
from agents.llms.counting import TokenCounter, counter_of
from agents.llms.door import ask, worst_case
from agents.llms.ollama_pull import pull
from agents.llms.provider import ModelReport, ServerReport, Warmth
from agents.llms.tokens import estimate_parts, estimate_request, estimate_tokens

__all__ = [
    "PROVIDERS",
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
    "probe",
    "pull",
    "worst_case",
]
