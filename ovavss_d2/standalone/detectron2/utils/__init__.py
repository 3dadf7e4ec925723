"""Helpers shared by all parts of the runtime: processes, events, logs, files, pictures."""
