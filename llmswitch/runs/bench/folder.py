"""A run's folder: where it is, what stands in it, and that one process writes to it.

`run.json` is written whole, at the start and again and again; `samples.jsonl` grows by a line for each sample.
Everything else can be made from these two.
"""
