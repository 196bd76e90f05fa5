"""Runs: what a command does, without the command line; each returns a frozen result."""
