"""Tool calls that a model writes as text, so that nothing runs them.

Small models do this, and a server does it to any model if its parser does not match the chat template.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_MARKER = re.compile(
    r"<\|?/?(?:tool_calls?|function_calls?|python_tag)\b|<[|｜]tool[_▁]call|\[TOOL_CALLS\]"
    r"|<function=|<invoke name=|functools\[",
    re.IGNORECASE,
)
"""How the chat templates of Qwen, Hermes, Llama, Mistral, DeepSeek and others introduce a call."""
_NAME = re.compile(r"""["'](?:name|function|tool|tool_name|function_name|action)["']\s*:\s*["']([\w.]+)["']""")
_ARGUMENTS = re.compile(r"""["'](?:arguments|parameters|args|params|input|action_input)["']\s*:""")
_PYTHON = re.compile(r"(?:print\()?(\w+)\([^()]*\)\)?")
_FENCE = re.compile(r"^```\w*\s*|\s*```$")


def count(text: str, tools: Collection[str]) -> int:
    """Number of tool calls that a text consists of or contains; 0 for a report.

    A call of a known tool counts anywhere; of another one only if the whole text is JSON.
    """
    bare = _FENCE.sub("", text.strip())
    names = _NAME.findall(bare)
    known_names = [name for name in names if name in tools]
    is_json, has_arguments = bare.startswith(("{", "[")), _ARGUMENTS.search(bare) is not None
    if known_names and (has_arguments or is_json):
        return len(known_names)
    if names and has_arguments and is_json:
        return len(names)
    lines = [line.strip() for line in bare.splitlines() if line.strip()]
    calls = [match for line in lines if (match := _PYTHON.fullmatch(line)) and match[1] in tools]
    if lines and len(calls) == len(lines):
        return len(calls)
    return int(_MARKER.search(text) is not None)
