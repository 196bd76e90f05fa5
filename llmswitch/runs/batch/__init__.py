"""Many prompts at the vendors' batch rates: read, sent as jobs, looked after, brought home."""
