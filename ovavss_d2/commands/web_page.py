"""The web page of `demo/app.py`: a form, the results, and the limits of a request."""

import logging
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ovavss_d2.errors import USER_ERRORS, one_line
from ovavss_d2.files import hidden_folder
from ovavss_d2.inference.contact_sheet import format_time
from ovavss_d2.inference.request_guard import RequestGuard
from ovavss_d2.inference.results import Span
from ovavss_d2.inference.writing import WrittenResults
from ovavss_d2.media.source import open_source
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.vocabulary import display_name, format_names, parse_names, synonyms_of

logger = logging.getLogger(__name__)

KEPT_SECONDS = 3600  # of results
LOWEST_FPS = 0.5
_NAME_LENGTH = 100  # characters; on average, in the longest text that is read
TITLE = "What sounds in this video?"
HELP = (
    "Upload a video or choose a sample, and enter names of objects that may sound in it. The "
    "sounding objects are painted and named. `car|automobile` is one class with two names; "
    "`everyday`, `avsbench`, `toy` and `stamps` are lists of names."
)
COLUMNS = ["name", "from", "to", "score"]


@dataclass(frozen=True)
class Limits:
    """Limits of a request.

    Attributes:
        megabytes: of an upload.
        seconds: of a video.
        fps: segmented frames per second.
        waiting: requests in the queue.
        names: of a vocabulary, with synonyms.

    Raises:
        ValueError: a limit is not a positive number.
    """

    megabytes: int = 200
    seconds: float = 300.0
    fps: float = 8.0
    waiting: int = 20
    names: int = 300

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"the limit of {name} is {value}, expected a positive number")


class Page:
    """The web page of a segmenter."""

    def __init__(self, *, segmenter: Segmenter, samples: Sequence[str], limits: Limits):
        """
        Args:
            segmenter: processes one request at a time.
            samples: paths of videos to choose from.
            limits: of a request.
        """
        self.segmenter = segmenter
        self.samples = [os.path.abspath(sample) for sample in samples]
        self.limits = limits
        self._open = ExitStack()
        parent = self._open.enter_context(hidden_folder(tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(dir=parent))
        self.uploads = Path(tempfile.mkdtemp(dir=parent))
        self._default_names = format_names(segmenter.names)

    def build(self) -> gr.Blocks:
        """Lay out the page."""
        blocks = gr.Blocks(
            title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
        )
        with blocks:
            gr.Markdown(f"# {TITLE}\n{HELP}")
            with gr.Row():
                with gr.Column():
                    inputs = self._build_form()
                    button = gr.Button("Paint", variant="primary", elem_id="run")
                with gr.Column():
                    outputs = self._build_results()
            button.click(self.paint, inputs, outputs, api_name="paint")
        return blocks.queue(max_size=self.limits.waiting, default_concurrency_limit=1)

    def _build_form(self) -> list[gr.components.Component]:
        video = gr.Video(label="Video", sources=["upload"], elem_id="video")
        video.async_move_resource_to_block_cache = _without_downloads(  # type: ignore
            video.async_move_resource_to_block_cache
        )
        if self.samples:
            gr.Examples(self.samples, inputs=video, label="Samples", cache_examples=False)
        names = gr.Textbox(self._default_names, label="Names", lines=3, elem_id="names")
        threshold = gr.Slider(
            0, 1, self.segmenter.threshold, step=0.01, label="Threshold", elem_id="threshold"
        )
        fps = gr.Slider(
            LOWEST_FPS,
            self.limits.fps,
            1,
            step=0.5,
            label="Segmented frames per second",
            elem_id="fps",
        )
        return [video, names, threshold, fps]

    def _build_results(self) -> list[gr.components.Component]:
        has_heard = self.segmenter.has_audio_classifier
        return [
            gr.Markdown("", elem_id="status"),
            gr.Video(show_label=False, interactive=False, elem_id="painted"),
            gr.Dataframe(headers=COLUMNS, label="Painted objects", elem_id="table"),
            gr.Dataframe(headers=COLUMNS, label="Heard names", elem_id="heard", visible=has_heard),
            gr.Files(label="Downloads", elem_id="files"),
        ]

    def paint(
        self,
        video: str | None,
        names: str | None,
        threshold: float,
        fps: float,
        progress: Callable[..., object] = gr.Progress(),  # noqa: B008
    ) -> tuple[str, str | None, list[list[str]], list[list[str]], list[str] | None]:
        """Process a request: status or error, painted video, rows of the tables, and files."""
        self._delete_old_results()
        start = time.monotonic()
        try:
            written = self._write(video, names or "", threshold, fps, progress)
        except USER_ERRORS as error:
            return f"**Error.** {self._public_message(error)}", None, [], [], None
        seconds = time.monotonic() - start
        found = ", ".join(dict.fromkeys(span.name for span in written.spans)) or "nothing"
        status = f"**{found}** sounded. Processed in {seconds:.1f} s."
        files = [str(_zipped(path)) for path in written.paths.values()]
        painted, heard = map(_row, written.spans), map(_row, written.heard)
        return status, str(written.paths["video"]), list(painted), list(heard), files

    def _write(
        self,
        video: str | None,
        names: str,
        threshold: float,
        fps: float,
        progress: Callable[..., object],
    ) -> WrittenResults:
        limits = self.limits
        if not video or not os.path.isfile(video):
            raise ValueError("the video is missing: upload one, or choose a sample")
        _check_number(threshold, 0, 1, "the threshold")
        _check_number(fps, LOWEST_FPS, limits.fps, "fps")
        vocabulary = self._read_names(names)
        megabytes = os.path.getsize(video) / 1e6
        if megabytes > limits.megabytes:
            raise ValueError(f"the video has {megabytes:.0f} MB, the limit is {limits.megabytes}")
        source, limit = open_source(video), format_time(limits.seconds)
        if source.duration > limits.seconds:
            duration = format_time(source.duration)
            raise ValueError(f"the video lasts {duration}, the limit is {limit}; cut it")
        self.segmenter.set_vocabulary(vocabulary)
        self.segmenter.set_threshold(threshold)

        def report(done: float, total: float) -> None:
            if done > limits.seconds + 1:  # of a file without a known duration
                raise ValueError(f"the video lasts longer than the limit of {limit}; cut it")
            progress(min(done / (total or limits.seconds), 1.0), desc="painting")

        folder = tempfile.mkdtemp(dir=self.folder)
        return self.segmenter.write(source, folder, fps=fps, progress=report)

    def _read_names(self, text: str) -> tuple[str, ...]:
        limit = self.limits.names
        if len(text) > limit * _NAME_LENGTH:
            raise ValueError(
                f"{len(text)} characters are too many for names, the limit is {limit} names"
            )
        names = parse_names(text)
        count = sum(len(synonyms_of(name)) for name in names)
        if count > limit:
            raise ValueError(f"{count} names are too many, the limit is {limit}")
        return names

    def _public_message(self, error: Exception) -> str:
        """An error's message as a sentence without the folders of the server."""
        logger.warning("A request failed: %s", one_line(error))
        text = re.sub(r"""(['"])[^'"]*/([^'"/]+)\1""", r"\1\2\1", one_line(error))
        return text[:1].upper() + text[1:] + "."

    def _delete_old_results(self) -> None:
        for folder in self.folder.iterdir():
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete all files of visitors."""
        self._open.close()


def _without_downloads(
    load: Callable[[str | Path | None], Coroutine[Any, Any, str | None]],
) -> Callable[[str | Path | None], Coroutine[Any, Any, str | None]]:
    """Gradio's function that loads a file for a component, for files only."""

    async def load_file(path: str | Path | None) -> str | None:
        if path is not None and re.match(r"\s*\w+:", str(path)):
            raise gr.Error("Addresses are not downloaded: upload a video.", print_exception=False)
        return await load(path)

    return load_file


def _check_number(value: object, lowest: float, highest: float, name: str) -> None:
    if not isinstance(value, int | float) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value}, expected {lowest:g} to {highest:g}")


def _zipped(path: Path) -> Path:
    """A file for download: folders are zipped."""
    return Path(shutil.make_archive(str(path), "zip", path)) if path.is_dir() else path


def _row(span: Span) -> list[str]:
    times = format_time(span.start), format_time(span.end)
    return [display_name(span.name), *times, f"{span.score:.2f}"]


def launch(page: Page, *, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Serve a page in the background.

    Args:
        page: to serve.
        host: address to bind to; "127.0.0.1" is reachable from this machine only.
        port: None: the first free one from 7860 on.

    Returns:
        The served blocks (`block_thread` waits until they are stopped), and their address.

    Raises:
        OSError: the port is in use.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(page.uploads)
    blocks = page.build()
    _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        footer_links=[],
        app_kwargs={"middleware": [Middleware(RequestGuard, host=host)]},
        max_file_size=page.limits.megabytes * 10**6,
        allowed_paths=[str(page.folder), *page.samples],
        theme=gr.themes.Default(  # without fonts from the internet
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
    )
    return blocks, url
