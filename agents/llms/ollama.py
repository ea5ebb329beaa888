"""Ollama's native API through langchain-ollama."""
