"""A video's results on disk: all or none, with its times and audio, in bounded memory."""

import os
import signal
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from ovavss_d2.inference.results import FrameResult, Segment
from ovavss_d2.inference.writing import OUTPUTS, output_paths, write_results
from ovavss_d2.media.source import Source, open_source
from tests.helpers.flash_videos import write_flash

NAMES = ("cat", "dog")


def results_of(source, fps=1.0, broken_at=None):
    """The left half is a cat in every other second."""
    for i, (time, image) in enumerate(source.frames(fps)):
        if i == broken_at:
            raise OSError("no space left on device")
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : image.shape[1] // 2] = i % 2 == 0
        segments = (Segment("cat", 0.8, mask),) if mask.any() else ()
        yield FrameResult(i, time, image, NAMES, mask.astype(np.int32), segments)


def write(source, folder, fps=1.0, broken_at=None, **options):
    found = results_of(source, fps, broken_at)
    return write_results(source, found, folder, names=NAMES, fps=fps, **options)


def sound_packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("times", [None, (0, 0.04, 0.3, 0.33, 0.9, 1.1, 1.45, 1.5, 1.52, 2.6, 2.9)])
def test_times_size_and_audio_are_those_of_the_input(tmp_path, times):
    path = write_flash(tmp_path / "a.mp4", times=times, size=(33 * 2, 50), tracks=[{}])
    source = open_source(path)
    written = write(source, tmp_path / "out")
    painted = open_source(written.paths["video"])
    assert (painted.height, painted.width) == (66, 50)
    found = [time for time, _ in painted.frames()]
    assert found == pytest.approx([time for time, _ in source.frames()], abs=1e-3)
    copied, own = sound_packets(written.paths["video"]), sound_packets(path)
    assert set(copied) <= set(own) and len(copied) >= len(own) - 1  # all but the encoder's lead-in
    assert [(span.name, span.start, span.end) for span in written.spans] == [
        ("cat", 0, 1), ("cat", 2, 3)
    ]  # fmt: skip


def test_the_pixel_aspect_ratio_is_kept(tmp_path):
    source = open_source(write_flash(tmp_path / "a.mp4", tracks=()))
    wide = replace(source, aspect=Fraction(4, 3))
    assert open_source(write(wide, tmp_path / "out").paths["video"]).aspect == wide.aspect


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_output_can_be_written_alone(tmp_path, output):
    source = open_source(write_flash(tmp_path / "a.mp4", tracks=()))
    written = write(source, tmp_path / "out", outputs=(output,))
    assert list((tmp_path / "out").iterdir()) == list(written.paths.values())


def test_a_second_run_replaces_the_first_and_a_failing_one_leaves_it(tmp_path):
    source = open_source(write_flash(tmp_path / "a.mp4", tracks=()))
    write(source, tmp_path / "out", fps=2.0)
    written = write(source, tmp_path / "out")
    assert len(list(written.paths["labels"].iterdir())) == 3
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="no space"):
        write(source, tmp_path / "out", broken_at=2)
    after = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after == before


def tree(folder):
    """All paths below a folder, with the contents of files and the targets of links."""
    return {
        path: path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


def make_foreign(path, kind):
    """Put something at a path that the program did not write."""
    if kind == "folder":
        path.mkdir(parents=True)
    elif kind == "file in a folder":
        path.mkdir(parents=True)
        (path / "000000.png").write_bytes(b"mine")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "link":
        path.with_name("mine").write_bytes(b"mine")
        path.symlink_to("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"mine")


@pytest.mark.parametrize(
    "kind", ["folder", "file in a folder", "file", "link", "dangling link", "pipe"]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a.json", "a_labels", "a.partial.json"])
def test_what_the_program_did_not_write_is_kept_and_refused(tmp_path, name, kind):
    source, out = open_source(write_flash(tmp_path / "a.mp4", tracks=())), tmp_path / "out"
    out.mkdir()
    make_foreign(out / name, kind)
    before = tree(out)
    with pytest.raises(ValueError, match=r"exists and was not written by this program; move it"):
        write_results(source, iter(()), out, names=NAMES, fps=1.0, keep_partial=True)
    assert tree(out) == before


def test_a_file_of_the_user_in_own_label_maps_is_kept_and_refused(tmp_path):
    source, out = open_source(write_flash(tmp_path / "a.mp4", tracks=())), tmp_path / "out"
    labels = write(source, out).paths["labels"]
    for name, content in [("notes.txt", b"mine"), ("000001.png", b"mine"), ("7.png", b"")]:
        write(source, out)
        (labels / name).write_bytes(content)
        before = tree(out)
        with pytest.raises(ValueError, match=f"{name}' exists and was not written"):
            write(source, out)
        assert tree(out) == before
        (labels / name).unlink()


def test_a_linked_output_folder_is_written_to_and_other_paths_are_refused(tmp_path):
    source = open_source(write_flash(tmp_path / "a.mp4", tracks=()))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        write(source, tmp_path / "link")
    assert len(list((tmp_path / "real").iterdir())) == 4 and (tmp_path / "link").is_symlink()
    (tmp_path / "dangling").symlink_to("nowhere")
    for folder in (tmp_path / "dangling", tmp_path / "a.mp4", tmp_path / "a.mp4" / "out"):
        with pytest.raises(ValueError, match="not a folder that can be written to"):
            write(source, folder)


@pytest.mark.parametrize("failing", range(8))
def test_outputs_are_replaced_together_or_not_at_all(tmp_path, monkeypatch, failing):
    source, out = open_source(write_flash(tmp_path / "a.mp4", tracks=())), tmp_path / "out"
    write(source, out, fps=2.0)
    before, rename, calls = tree(out), os.rename, []

    def fail_once(*paths):
        calls.append(paths)
        if len(calls) == failing + 1:
            raise OSError("no space left on device")
        rename(*paths)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OSError, match="no space"):
        write(source, out)
    assert tree(out) == before


@pytest.mark.parametrize("moment", ["writing", "moving"])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path, moment):
    source, out = open_source(write_flash(tmp_path / "a.mp4", tracks=())), tmp_path / "out"
    options = {"outputs": ("labels", "json")}  # without OpenCV, whose threads a fork does not have

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        if moment == "moving":
            renames = iter([os.rename, die])
            os.rename = lambda *paths: next(renames)(*paths)
        write(source, out, **options, **({"progress": die} if moment == "writing" else {}))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len([path for path in out.iterdir() if path.name.startswith(".")]) == 1
    write(source, out, **options)
    write(source, tmp_path / "undisturbed", **options)
    found, expected = (
        {path.relative_to(folder): content for path, content in tree(folder).items()}
        for folder in (out, tmp_path / "undisturbed")
    )
    assert found == expected


def test_progress_ends_at_the_end(tmp_path):
    source, seen = open_source(write_flash(tmp_path / "a.mp4", tracks=())), []
    write(source, tmp_path / "out", progress=lambda *seconds: seen.append(seconds))
    assert seen == sorted(seen) and seen[-1] == pytest.approx((3, 3))


def test_unknown_outputs_are_errors(tmp_path):
    source = open_source(write_flash(tmp_path / "a.mp4", tracks=()))
    with pytest.raises(ValueError, match="outputs are gif: expected some of video, sheet"):
        output_paths(source, tmp_path / "out", ["gif"])


class Endless(Source):
    """A source of any length without a file."""

    def frames(self, fps=None):
        shade = np.zeros((self.height, self.width, 3), np.uint8)
        for k in range(round(self.duration * (fps or self.rate))):
            yield k / (fps or self.rate), shade + np.uint8(k % 200)


def test_memory_does_not_grow_with_the_video(tmp_path):
    def peak(seconds):
        source = Endless(path="endless.mp4", height=48, width=64, rate=2.0, duration=seconds)
        tracemalloc.start()
        write(source, tmp_path / str(seconds))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(30)  # one-time allocations
    assert peak(240) < 1.1 * peak(40)
