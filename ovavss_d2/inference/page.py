"""The web page: a video in, the painted video, a table of what sounded when, and downloads out.

It needs Gradio (`pip install -e ".[app]"`). One visitor is served at a time, the others wait in a
queue; what was made for them is deleted after an hour.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from ovavss_d2.errors import USER_ERRORS, one_line
from ovavss_d2.inference.contact_sheet import clock
from ovavss_d2.inference.results import Span
from ovavss_d2.inference.writing import Written
from ovavss_d2.media.source import open_source
from ovavss_d2.segmenter import Segmenter
from ovavss_d2.vocabulary import display_name, parse_vocabulary

logger = logging.getLogger(__name__)

_KEPT_SECONDS = 3600
_TITLE = "What sounds in this video?"
_HELP = (
    "Upload a video or take a sample, type the names of things that may sound in it, and see them "
    "painted while they do. `car|automobile` is one thing with two names; `everyday`, `avsbench` "
    "and `toy` stand for lists."
)
_COLUMNS = ["name", "from", "to", "score"]


@dataclass(frozen=True)
class Limits:
    """What visitors may ask for.

    Attributes:
        megabytes: of an upload.
        seconds: of a video.
        fps: segmented frames a second, at most.
        waiting: visitors in the queue.
        names: in a vocabulary.
    """

    megabytes: int = 200
    seconds: float = 300.0
    fps: float = 8.0
    waiting: int = 20
    names: int = 300


class Page:
    """A segmenter behind a form."""

    def __init__(self, *, segmenter: Segmenter, samples: Sequence[str], limits: Limits):
        """
        Args:
            segmenter: serves one visitor after the other.
            samples: paths of videos to try.
            limits: what visitors may ask for.
        """
        self.segmenter = segmenter
        self.samples = [os.path.abspath(sample) for sample in samples]
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="ovavss_page_"))
        self._first_names = ", ".join(segmenter.names)

    def build(self) -> gr.Blocks:
        """Lay the page out."""
        blocks = gr.Blocks(
            title=_TITLE, analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)
        )
        with blocks:
            gr.Markdown(f"# {_TITLE}\n{_HELP}")
            with gr.Row():
                with gr.Column():
                    inputs = self._form()
                    button = gr.Button("Paint what sounds", variant="primary", elem_id="run")
                with gr.Column():
                    outputs = self._results()
            button.click(self.paint, inputs, outputs, api_name="paint")
        return blocks.queue(max_size=self.limits.waiting, default_concurrency_limit=1)

    def _form(self) -> list[gr.components.Component]:
        video = gr.Video(label="Video", sources=["upload"], elem_id="video")
        if self.samples:
            gr.Examples(self.samples, inputs=video, label="Samples", cache_examples=False)
        names = gr.Textbox(self._first_names, label="Names to look for", lines=3, elem_id="names")
        threshold = gr.Slider(
            0, 1, self.segmenter.threshold, step=0.01, label="Threshold", elem_id="threshold"
        )
        fps = gr.Slider(
            0.5, self.limits.fps, 1, step=0.5, label="Segmented frames a second", elem_id="fps"
        )
        return [video, names, threshold, fps]

    def _results(self) -> list[gr.components.Component]:
        return [
            gr.Markdown("", elem_id="status"),
            gr.Video(show_label=False, interactive=False, elem_id="painted"),
            gr.Dataframe(headers=_COLUMNS, label="What sounded when", elem_id="table"),
            gr.Files(label="Downloads", elem_id="files"),
        ]

    def paint(self, video, names, threshold, fps, progress=gr.Progress()):  # noqa: B008
        """Serve one visitor: status, video, table, and files; errors are sentences."""
        self._forget_the_old()
        start = time.monotonic()
        try:
            written = self._write(video, names, threshold, fps, progress)
        except USER_ERRORS as error:
            return f"**This did not work.** {self._sentence(error)}", None, [], None
        seconds = time.monotonic() - start
        found = ", ".join(dict.fromkeys(span.name for span in written.spans)) or "nothing"
        rows = [_row(span) for span in written.spans]
        files = [str(self._packed(path)) for path in written.paths.values()]
        status = f"**{found}** sounded. Painted in {seconds:.1f} s."
        return status, str(written.paths["video"]), rows, files

    def _write(self, video, names, threshold, fps, progress) -> Written:
        if not video:
            raise ValueError("there is no video yet: upload one, or take a sample")
        vocabulary = parse_vocabulary(names or "")
        if len(vocabulary) > self.limits.names:
            raise ValueError(f"{len(vocabulary)} names are too many, {self.limits.names} at most")
        self._check_size(video)
        source = open_source(video)
        if source.duration > self.limits.seconds:
            raise ValueError(
                f"the video lasts {clock(source.duration)}, "
                f"at most {clock(self.limits.seconds)} are taken; cut it"
            )
        self.segmenter.set_vocabulary(vocabulary)
        self.segmenter.set_threshold(threshold)

        def report(done: float, total: float) -> None:
            if done > self.limits.seconds + 1:  # a file that does not tell its length
                raise ValueError(f"the video is longer than {clock(self.limits.seconds)}; cut it")
            progress(min(done / (total or self.limits.seconds), 1.0), desc="painting")

        folder = tempfile.mkdtemp(dir=self.folder)
        return self.segmenter.write(source, folder, fps=fps, progress=report)

    def _check_size(self, video: str) -> None:
        megabytes = os.path.getsize(video) / 1e6
        if megabytes > self.limits.megabytes:
            raise ValueError(
                f"the video has {megabytes:.0f} MB, at most {self.limits.megabytes} are taken"
            )

    def _sentence(self, error: Exception) -> str:
        """An error without the paths of the server."""
        logger.warning("A visitor's request failed: %s", one_line(error))
        text = re.sub(r"'[^']*/([^'/]+)'", r"'\1'", one_line(error))
        return text[:1].upper() + text[1:] + "."

    def _packed(self, path: Path) -> Path:
        """A file to download: a folder becomes an archive."""
        if not path.is_dir():
            return path
        return Path(shutil.make_archive(str(path), "zip", path))

    def _forget_the_old(self) -> None:
        for folder in self.folder.iterdir():
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete what was made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _row(span: Span) -> list[str]:
    name = display_name(span.name)
    return [name, clock(span.start), clock(span.end), f"{span.score:.2f}"]


def launch(page: Page, *, host: str, port: int | None) -> tuple[gr.Blocks, str]:
    """Serve a page in the background.

    Args:
        page: what to serve.
        host: the address to bind to; "127.0.0.1" is this machine alone.
        port: None takes a free one from 7860 on.

    Returns:
        What is served (`block_thread` waits for its end), and its address.

    Raises:
        OSError: the port is taken.
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
        theme=gr.themes.Default(  # without fonts from the net
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
    )
    return blocks, url
