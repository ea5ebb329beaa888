"""Counting a prompt before it is sent: by the model's own tokenizer where that is at hand, else by the estimate."""

from agents.llms.counting.counter import TokenCounter, counter_of

__all__ = ["TokenCounter", "counter_of"]
