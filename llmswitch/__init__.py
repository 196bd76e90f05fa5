"""llmswitch: every LLM vendor behind one switch."""

__version__ = "0.1.0"
