"""docs/troubleshooting.md lists every message that the harness declares, with its fix.

Messages are read from the source: what is passed to Problem, fail and warn as text, or as a name that the same function gives a
text. Messages that repeat another error's text (`str(error)`) have none of their own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from harness import errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
_DECLARED = {"Problem": 1, "fail": 1, "warn": 1, "StoreError": 0, "BrokenFile": 0, "Stopped": 0}
"""Name of what declares a message -> index of its argument; the fix is the next one."""
_MIN_LETTERS = 8


def messages() -> dict[str, str]:
    """Message -> its fixes, as rows of the page have them."""
    fixes: dict[str, dict[str, None]] = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        if path.parts[-2] == "deferred":  # Its `fail` ends a submission.
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for message, fixes_here in _declared(function):
                    fixes.setdefault(message, {}).update(dict.fromkeys(fixes_here))
    return {message: "; or ".join(filter(None, each)) for message, each in fixes.items()}


def _declared(function: ast.AST) -> Iterator[tuple[str, list[str]]]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and _name(node.func) in _DECLARED]
    since = 0
    for call in sorted(calls, key=lambda call: call.lineno):
        index = _DECLARED[_name(call.func)]
        lines = range(since, (call.end_lineno or call.lineno) + 1)
        fixes = list(_texts(call.args[index + 1], function, lines)) if len(call.args) > index + 1 else []
        for message in _texts(call.args[index], function, lines) if len(call.args) > index else ():
            if len(re.sub(r"[^a-z]", "", message)) >= _MIN_LETTERS:
                yield message, fixes
        since = call.lineno


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def _texts(node: ast.expr, function: ast.AST, lines: range) -> Iterator[str]:
    """The texts that an expression may have; placeholders as capitals."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield _shown(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield _shown("".join(str(part.value) if isinstance(part, ast.Constant) else _placeholder(part) for part in node.values))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, function, lines)
        yield from _texts(node.orelse, function, lines)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _texts(node.left, function, lines)
    elif isinstance(node, ast.Name):
        values = list(_assigned(node.id, function))
        for value in [value for value in values if value.lineno in lines] or [
            value for value in values if value.lineno < lines.stop
        ]:
            yield from _texts(value, function, lines)


def _assigned(name: str, function: ast.AST) -> Iterator[ast.expr]:
    for node in [node for node in ast.walk(function) if isinstance(node, ast.Assign)]:
        for target in node.targets:
            pairs: list[tuple[ast.expr, ast.expr]] = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            yield from (value for each, value in pairs if isinstance(each, ast.Name) and each.id == name and _has_text(value))


def _has_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant | ast.JoinedStr | ast.IfExp | ast.BinOp)


def _placeholder(part: ast.expr) -> str:
    value = part.value if isinstance(part, ast.FormattedValue) else part
    while isinstance(value, ast.Call | ast.Subscript) and not isinstance(value, ast.Name):
        value = value.func if isinstance(value, ast.Call) else value.value
    return (_name(value).strip("_") or "...").upper().replace("_", " ")


def _shown(text: str) -> str:
    """As in a cell of the page's tables, in backticks."""
    return " ".join(text.replace("`", "'").replace("|", "/").split())


def test_the_troubleshooting_page_lists_every_message_with_its_fix() -> None:
    declared = messages()
    assert len(declared) > 120
    missing = [
        f"| `{message}` | {fix or 'see the message'} |" for message, fix in declared.items() if f"`{message}`" not in PAGE
    ]
    assert not missing, "add to docs/troubleshooting.md:\n" + "\n".join(missing)


def test_the_page_lists_no_message_that_is_no_longer_declared() -> None:
    listed = PAGE.partition("## All messages")[2]
    declared = messages()
    old = [message for message in re.findall(r"^\| `([^`]+)` \|", listed, re.M) if message not in declared]
    assert not old, "remove from the table of all messages:\n" + "\n".join(old)


def test_the_page_explains_every_error_code() -> None:
    kinds: list[type[errors.HarnessError]] = [errors.HarnessError, *errors.HarnessError.__subclasses__()]
    codes = {kind.code for kind in kinds}
    assert not [code for code in codes if f"`{code}`" not in PAGE]
