"""The file tree of the README: every file with the sentence that it opens with.

python docs/tree.py            writes it into README.md
python docs/tree.py --check    fails when README.md is not current
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"
FOLDERS = ("harness", "agents", "reports", "experiments", "benchmarks", "docs", "tests")
TOP = {
    "Makefile": "The commands: demo, demo-replay, test, lock.",
    "pyproject.toml": "Dependencies, tools and the contracts between rooms.",
    "docker-compose.gpu.yml": "One GPU machine: Redis, Ollama, both kinds of workers, the runner.",
    "Dockerfile": "The slim, non-root image of runner and workers.",
    "requirements/": "Lock files with hashes, and the script that renews them.",
    "CHANGELOG.md": "What changed for users.",
    "CONTRIBUTING.md": "How to work on it.",
}


def tree() -> str:
    lines = [f"{name:32} {purpose}" for name, purpose in TOP.items()]
    for folder in FOLDERS:
        lines += ["", f"{folder}/"]
        lines += [f"  {name:42} {purpose}" for name, purpose in _files(folder)]
    return "\n".join(line.rstrip() for line in lines)


def _files(folder: str) -> list[tuple[str, str]]:
    # Also what git does not track yet: the tree is written before the commit that brings a file.
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", folder]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in sorted(listed.stdout.splitlines()) if (ROOT / name).is_file()]
    said = [(name.removeprefix(f"{folder}/"), _purpose(ROOT / name)) for name in names]
    return [(name, purpose) for name, purpose in said if purpose]


def _purpose(path: Path) -> str:
    if path.suffix == ".py":
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        return doc.partition("\n")[0]
    if path.suffix in (".yaml", ".yml") and "tests" not in path.parts:
        comments = [line for line in path.read_text().splitlines()[:4] if line.startswith("# ") and "$schema" not in line]
        return comments[0].removeprefix("# ") if comments else ""
    if path.suffix == ".md" and path.parent.name == "docs":
        return path.read_text().partition("\n")[0].removeprefix("# ")
    return ""


def written(text: str) -> str:
    """The README with today's tree between its marks."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n```text\n{tree()}\n```\n{END}{tail}"


def main() -> None:
    old = README.read_text()
    new = written(old)
    if "--check" in sys.argv and old != new:
        sys.exit("README.md: its file tree is not current; run: python docs/tree.py")
    README.write_text(new)


if __name__ == "__main__":
    main()
