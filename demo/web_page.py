"""The web page of `demo/app.py`: a form, the results, and the limits of a request."""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from ovavss_d2.errors import USER_ERRORS, one_line
from ovavss_d2.inference.contact_sheet import format_time
from ovavss_d2.inference.results import Span
from ovavss_d2.inference.writing import WrittenResults
from ovavss_d2.media.source import open_source
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.vocabulary import display_name, parse_vocabulary

logger = logging.getLogger(__name__)

KEPT_SECONDS = 3600  # of results
TITLE = "What sounds in this video?"
HELP = (
    "Upload a video or choose a sample, and enter names of objects that may sound in it. The "
    "sounding objects are painted and named. `car|automobile` is one class with two names; "
    "`everyday`, `avsbench` and `toy` are lists of names."
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
        names: of a vocabulary.
    """

    megabytes: int = 200
    seconds: float = 300.0
    fps: float = 8.0
    waiting: int = 20
    names: int = 300


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
        self.folder = Path(tempfile.mkdtemp(prefix="ovavss_page_"))
        self._default_names = ", ".join(segmenter.names)

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
        if self.samples:
            gr.Examples(self.samples, inputs=video, label="Samples", cache_examples=False)
        names = gr.Textbox(self._default_names, label="Names", lines=3, elem_id="names")
        threshold = gr.Slider(
            0, 1, self.segmenter.threshold, step=0.01, label="Threshold", elem_id="threshold"
        )
        fps = gr.Slider(
            0.5, self.limits.fps, 1, step=0.5, label="Segmented frames per second", elem_id="fps"
        )
        return [video, names, threshold, fps]

    def _build_results(self) -> list[gr.components.Component]:
        return [
            gr.Markdown("", elem_id="status"),
            gr.Video(show_label=False, interactive=False, elem_id="painted"),
            gr.Dataframe(headers=COLUMNS, label="Sounding objects", elem_id="table"),
            gr.Files(label="Downloads", elem_id="files"),
        ]

    def paint(
        self,
        video: str | None,
        names: str | None,
        threshold: float,
        fps: float,
        progress: Callable[..., object] = gr.Progress(),  # noqa: B008
    ) -> tuple[str, str | None, list[list[str]], list[str] | None]:
        """Process a request: status or error, painted video, rows of the table, and files."""
        self._delete_old_results()
        start = time.monotonic()
        try:
            written = self._write(video, names or "", threshold, fps, progress)
        except USER_ERRORS as error:
            return f"**Error.** {self._public_message(error)}", None, [], None
        seconds = time.monotonic() - start
        found = ", ".join(dict.fromkeys(span.name for span in written.spans)) or "nothing"
        status = f"**{found}** sounded. Processed in {seconds:.1f} s."
        files = [str(_zipped(path)) for path in written.paths.values()]
        return status, str(written.paths["video"]), [_row(span) for span in written.spans], files

    def _write(
        self,
        video: str | None,
        names: str,
        threshold: float,
        fps: float,
        progress: Callable[..., object],
    ) -> WrittenResults:
        limits = self.limits
        if not video:
            raise ValueError("the video is missing: upload one, or choose a sample")
        vocabulary = parse_vocabulary(names)
        if len(vocabulary) > limits.names:
            raise ValueError(f"{len(vocabulary)} names are too many, the limit is {limits.names}")
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

    def _public_message(self, error: Exception) -> str:
        """An error's message as a sentence without the folders of the server."""
        logger.warning("A request failed: %s", one_line(error))
        text = re.sub(r"'[^']*/([^'/]+)'", r"'\1'", one_line(error))
        return text[:1].upper() + text[1:] + "."

    def _delete_old_results(self) -> None:
        for folder in self.folder.iterdir():
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete all results."""
        shutil.rmtree(self.folder, ignore_errors=True)


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
    blocks = page.build()
    _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        footer_links=[],
        max_file_size=page.limits.megabytes * 10**6,
        allowed_paths=[str(page.folder), *page.samples],
        theme=gr.themes.Default(  # without fonts from the internet
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
    )
    return blocks, url
