"""Result tables in, numbers and pages out."""

from reports.load import NoRun, Run, load

__all__ = ["NoRun", "Run", "load"]
