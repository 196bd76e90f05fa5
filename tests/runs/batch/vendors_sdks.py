"""Imports, in the process that lives are forked from, what takes each of them a second; and the guard of addresses."""

from __future__ import annotations

from tests.guard.sitecustomize import refuse_all_but_loopback

refuse_all_but_loopback()

import anthropic  # noqa: E402, F401
import google.genai  # noqa: E402, F401
import httpx2  # noqa: E402, F401
import openai  # noqa: E402, F401

import llmswitch.layers.retry  # noqa: E402
import llmswitch.pricelist  # noqa: E402
import llmswitch.providers.anthropic_batch  # noqa: E402
import llmswitch.providers.chat_batch  # noqa: E402
import llmswitch.providers.gemini_batch  # noqa: E402, F401
