"""Reading and writing videos, audio and pictures."""
