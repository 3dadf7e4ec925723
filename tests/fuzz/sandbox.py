"""Runs cases in a worker process, which may crash, hang or use too much memory.

The worker is forked from a server that has imported everything; after a fault another one starts.
"""

import faulthandler
import hashlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.case import ANY, PORT, REFUSED, Case
from tests.helpers.paths import REPOSITORY

CPU_SECONDS = 8  # of a case
WAIT_SECONDS = 120  # for a case that waits for something; other programs may use the processor
MEMORY_BYTES = 1 << 30  # more than before the case
FILE_BYTES = 64 << 20
MESSAGE_LENGTH = 500
CASES_PER_WORKER = 20  # threads of decoders end when garbage is collected
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_ALLOWED = (sys.executable, "fc-list")  # matplotlib asks fontconfig for the installed fonts
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")


@dataclass(frozen=True)
class Outcome:
    """What a case led to.

    Attributes:
        status: "ok", "refused" (one line of error) or the name of a fault.
        text: message or traceback.
        error: class of the exception.
        location: function of the package in which a fault happened.
    """

    status: str
    text: str = ""
    error: str = ""
    location: str = ""

    @property
    def is_fault(self) -> bool:
        return self.status not in ("ok", "refused")

    @property
    def signature(self) -> tuple[str, str, str]:
        """Equal for two occurrences of the same fault."""
        return self.status, self.error, self.location


class Sandbox:
    """A worker for cases; use it in a `with` block."""

    def __enter__(self) -> "Sandbox":
        # For the server, which imports the kinds; arenas of threads would fill the address space.
        os.environ.update(PYTHONPATH=str(REPOSITORY), MALLOC_ARENA_MAX="2")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.fuzz.kinds"])
        self._folder = tempfile.mkdtemp(prefix="ovavss_fuzz_")
        self._worker: Any = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self._folder)

    def run(self, kind: str, case: Case) -> Outcome:
        """Run a case and judge what happened."""
        if self._worker is None:
            self._pipe, end = self._context.Pipe()
            self._worker = self._context.Process(target=_work, args=(end, Path(self._folder)))
            self._worker.start()
            end.close()
            self._cases = 0
        self._pipe.send((kind, case))
        try:
            outcome = self._pipe.recv()
        except EOFError:
            outcome = self._crash()
        self._cases += 1
        if outcome.is_fault or self._cases == CASES_PER_WORKER:
            self._stop()
        return outcome

    def _crash(self) -> Outcome:
        self._worker.join()
        log = Path(self._folder, "log").read_text(errors="replace")
        code = self._worker.exitcode
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        place = re.search(r'/ovavss_d2/(.*)", line \d+ in (\w+)', log)
        is_endless = name == "SIGXCPU" or "Timeout (" in log
        status = "endless" if is_endless else "crash"
        return Outcome(status, log[:3000], name, " ".join(place.groups()) if place else "")

    def _stop(self) -> None:
        if self._worker is not None:
            self._pipe.close()  # ends the worker
            self._worker.join()
            self._worker = None


def _work(pipe: Connection, folder: Path) -> None:
    """Run cases until the pipe is closed."""
    from tests.fuzz.kinds import KINDS

    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    faulthandler.enable()
    faulthandler.register(signal.SIGXCPU, chain=True)  # says where, then ends the process
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _limit_resources()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "temporary")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    seen: list[str] = []
    sys.addaudithook(lambda event, args: _refuse(event, args, seen))
    with suppress(EOFError):
        while True:
            kind, case = pipe.recv()
            os.ftruncate(log, 0)
            seen.clear()
            outcome = _run(KINDS[kind].check, case, folder, listener.getsockname()[1])
            with suppress(BlockingIOError):
                listener.accept()[0].close()
                seen.append("network: a server that a file names")
            if seen:
                fault, _, what = seen[0].partition(": ")
                outcome = Outcome(fault, f"{what}; {outcome.text}", what[:60])
            pipe.send(outcome)


def _limit_resources() -> None:
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    addresses += 3 * MEMORY_BYTES  # threads reserve some
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, args: tuple, seen: list[str]) -> None:
    """Refuse network access and programs, except Unix sockets and `_ALLOWED`."""
    is_network = event in _NETWORK and not isinstance(args[-1], str | bytes)
    if is_network or (event in _PROGRAMS and args[0] not in _ALLOWED):
        seen.append(f"{'network' if is_network else 'program started'}: {event} {args[:2]}")
        raise PermissionError(f"a fuzz case may not do this: {event}")


def write_files(case: Case, folder: Path, port: int = 0) -> None:
    """Write the files of a case to a folder."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content.replace(PORT, b"%05d" % port))


def _run(check: Callable[..., None], case: Case, folder: Path, port: int) -> Outcome:
    for name in ("case", "temporary"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    os.chdir(folder / "case")
    write_files(case, folder / "case", port)
    before, memory = _digests(folder), _peak_memory(reset=True)
    seconds = int(time.process_time()) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    faulthandler.dump_traceback_later(WAIT_SECONDS, exit=True)
    outcome = _call(check, case)
    faulthandler.cancel_dump_traceback_later()
    memory = _peak_memory() - memory
    problem = _file_problem(before, _digests(folder), outcome.status)
    if outcome.is_fault:
        return outcome
    if memory > MEMORY_BYTES:
        return Outcome("memory", f"{memory >> 20} MiB; {outcome.text}")
    if problem:
        return Outcome("files", f"{problem}; {outcome.text}", problem.partition(":")[0])
    if outcome.status == "refused" and case.expected not in (ANY, REFUSED):
        return Outcome("valid input refused", outcome.text, " ".join(outcome.text.split()[-4:]))
    if outcome.status == "ok" and case.expected == REFUSED:
        return Outcome("wrong input accepted", str(case))
    return outcome


def _call(check: Callable[..., None], case: Case) -> Outcome:
    from ovavss_d2.errors import USER_ERRORS

    try:
        check(None if case.expected in (ANY, REFUSED) else case.expected, **case.arguments)
        return Outcome("ok")
    except BaseException as error:  # noqa: BLE001 - whatever a case raises is its outcome
        if _is_memory_error(error):
            return _fault("memory", error)
        if isinstance(error, AssertionError):
            return _fault("wrong result", error)
        if not isinstance(error, USER_ERRORS):
            return _fault("exception", error)
        if "\n" in str(error).strip() or len(str(error)) > MESSAGE_LENGTH:
            return _fault("message is not one short line", error)
        return Outcome("refused", str(error) or type(error).__name__)


def _is_memory_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fault(status: str, error: BaseException) -> Outcome:
    frames = traceback.extract_tb(error.__traceback__)
    place = ([frame for frame in frames if "/ovavss_d2/" in frame.filename] or frames)[-1]
    what = place.line if status == "wrong result" else place.name
    text = "".join(traceback.format_exception(error))[-4000:]
    location = f"{Path(place.filename).name} {(what or '')[:50]}"
    return Outcome(status, text, type(error).__name__, location)


def _peak_memory(reset: bool = False) -> int:
    """The most memory that was in use since the last reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


def _digests(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).digest()
        for part in ("case", "temporary")
        for path in (folder / part).rglob("*")
        if path.is_file()
    }


def _file_problem(before: dict[str, bytes], after: dict[str, bytes], status: str) -> str:
    """What a case did to files that it must not do, or an empty text."""
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    new = sorted(after.keys() - before.keys())
    if changed:
        return f"a file of the user is changed or gone: {changed[:3]}"
    if new and status == "refused":
        return f"files are left after an error: {new[:3]}"
    if any("/." in name or "partial" in name or name.startswith("temp") for name in new):
        return f"temporary files are left: {new[:3]}"
    return ""
