"""Addresses as environment variables hold them."""

from __future__ import annotations

import pytest

from domain.addresses import http_url, ollama_url


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11701", "http://127.0.0.1:11701"),
        (":11701", "http://127.0.0.1:11701"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("localhost", "http://localhost:11434"),
        ("gpu-box:11701", "http://gpu-box:11701"),
        ("gpu-box/", "http://gpu-box:11434"),
        ("gpu-box:11701/ollama/", "http://gpu-box:11701/ollama"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("https://gpu-box:8443/ollama", "https://gpu-box:8443/ollama"),
        ("http://0.0.0.0:11701", "http://127.0.0.1:11701"),
        ("http://:11701", "http://127.0.0.1:11701"),
        ("ollama.com", "https://ollama.com:443"),
        ("::", "http://[::1]:11434"),
        ("[::]:11701", "http://[::1]:11701"),
        ("fd00::5", "http://[fd00::5]:11434"),
        ("[fd00::5]:11701", "http://[fd00::5]:11701"),
        ("gpu-box:port", "http://gpu-box:11434"),
        ("gpu-box:66000", "http://gpu-box:11434"),
        (' "0.0.0.0:11701" ', "http://127.0.0.1:11701"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(written: str, url: str) -> None:
    assert ollama_url(written) == url
    assert ollama_url(url) == url


def test_an_address_of_another_server_may_lack_its_scheme() -> None:
    assert http_url("0.0.0.0:4000/v1") == "http://127.0.0.1:4000/v1"
    assert http_url(" https://gateway.example/v1 ") == "https://gateway.example/v1"
