"""Utilities: process communication, events, logs, files and visualization."""
