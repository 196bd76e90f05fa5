"""Suites: what a bench asks and how it grades, from YAML, JSON, JSONL or CSV, in promptfoo's words."""

from llmswitch.suites.load import Loading, load_suite
from llmswitch.suites.model import Case, Fault, Suite, SuiteError, SuiteTarget

__all__ = ["Case", "Fault", "Loading", "Suite", "SuiteError", "SuiteTarget", "load_suite"]
