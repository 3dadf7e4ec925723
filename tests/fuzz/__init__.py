"""Fuzz tests: valid, strange and damaged inputs for everything that reads what users have.

The property is the same everywhere: a right result or one line of error, in bounded time and
memory, with nothing half-written, no request to the network and no program started.

    case.py      an input with the facts of its right result, and ways to damage bytes and JSON
    media.py     videos, audio files and pictures
    data.py      lists, label folders, masks, metadata
    options.py   configs, vocabularies and command lines
    weights.py   weight files and checkpoints
    sandbox.py   runs cases in a process that may crash, and judges what happened

`test_fuzz.py` is a short run, the same every time. `python -m tests.fuzz --minutes 30` runs long.
"""
