"""Any input: the frame with the flash is paired with the click, within the length of a frame."""

import os

import numpy as np
import pytest
from PIL import Image

from ovavss_d2.data.avsbench import frame_size
from ovavss_d2.media.audio_pairing import FrameAudio, pair_frames
from ovavss_d2.media.source import StillImage, expand_inputs, open_source
from ovavss_d2.media.video import Video
from ovavss_d2.media.video_writer import VideoWriter
from tests.helpers.flash_videos import (
    SIZE,
    click,
    click_time,
    frame_image,
    write_cover_art,
    write_flash,
)

UNEVEN = (0, 0.04, 0.3, 0.33, 0.9, 1.1, 1.45, 1.5, 1.52, 2.6, 2.9)


def flash_and_click_times(source):
    """The time of the first bright frame, and that of the click in its audio."""
    for frame in pair_frames(source.frames(), FrameAudio(source.audio_track.seconds(), "time")):
        if frame.image[:, SIZE[1] // 2 :].mean() > 128:
            return frame.time, frame.time + click_time(frame.audio)
    raise AssertionError("no flash")


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("plain.mp4", {"tracks": [{}]}),
        ("uneven.mkv", {"times": UNEVEN, "flash": 1.45, "tracks": [{"at": 1.45}]}),
        ("ntsc.mp4", {"rate": 24, "tracks": [{"rate": 48000, "layout": "stereo"}]}),
        ("surround.mkv", {"tracks": [{"codec": "ac3", "rate": 48000, "layout": "5.1(side)"}]}),
        ("surround.wav.mkv", {"tracks": [{"codec": "pcm_f32le", "rate": 96000, "layout": "5.1"}]}),
        ("telephone.mkv", {"tracks": [{"codec": "pcm_s16le", "rate": 8000}]}),
        ("odd.mkv", {"tracks": [{"codec": "pcm_s16le", "rate": 11111}]}),
        ("late.mkv", {"tracks": [{"codec": "pcm_s16le", "begin": 1.0}]}),
        ("early.mp4", {"tracks": [{"end": 1.6}]}),
        ("offset.mkv", {"start": 0.7, "tracks": [{"at": 2.1}]}),
        ("turned.mp4", {"turn": 90, "tracks": [{}]}),
        ("old.avi", {"codec": "mpeg4", "tracks": [{"codec": "mp3"}]}),
        ("web.webm", {"codec": "libvpx-vp9", "tracks": [{"codec": "libopus", "rate": 48000}]}),
        ("stream.ts", {"rate": 25, "tracks": [{"codec": "mp2"}]}),
    ],
)
def test_the_flash_is_paired_with_the_click(tmp_path, name, video):
    length = 1 / video.get("rate", 10)
    source = open_source(write_flash(tmp_path / name, **video))
    flash, click_at = flash_and_click_times(source)
    assert flash == pytest.approx(video.get("flash", 1.4), abs=length)
    assert click_at == pytest.approx(flash, abs=length)
    with VideoWriter(
        tmp_path / "copy.mp4", rate=source.rate, audio_track=source.audio_track
    ) as writer:
        for time, image in source.frames():
            writer.write(image, time)
    copy = open_source(tmp_path / "copy.mp4")
    assert (copy.height, copy.width) == (source.height, source.width)
    assert flash_and_click_times(copy) == pytest.approx((flash, click_at), abs=length)


def test_the_default_audio_track_is_used_or_the_requested_one(tmp_path, caplog):
    tracks = [{"at": 0.5}, {"at": 1.4}]
    path = write_flash(tmp_path / "two.mkv", tracks=tracks)
    assert click_time(open_source(path).audio_track.read()) == pytest.approx(0.5, abs=0.03)
    assert caplog.messages == [f"'{path}' has 2 audio tracks: number 0 is used."]
    second = open_source(path, audio_index=1)
    assert click_time(second.audio_track.read()) == pytest.approx(1.4, abs=0.03)
    with pytest.raises(ValueError, match="has 2 audio tracks, numbered from 0; 2 was requested"):
        open_source(path, audio_index=2)


def test_one_frame_is_a_video(tmp_path):
    source = open_source(write_flash(tmp_path / "one.mp4", times=[0.0], flash=0, tracks=()))
    assert source.audio_track is None
    assert [time for time, _ in source.frames(fps=1)] == [0]


def write_images(folder, count, flash, ending=".jpg"):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(frame_image(i == flash)).save(folder / f"{i}{ending}")


@pytest.mark.parametrize("inner", ["", "frames"])
def test_a_folder_of_frames_with_an_audio_file(tmp_path, wav, inner):
    folder = tmp_path / "clip"
    write_images(folder / inner, 12, flash=10)  # after "9", not after "1"
    wav(folder / "audio.wav", 32767 * click(3, 1.0, 16000))
    source = open_source(folder, image_rate=10)
    assert (source.height, source.width) == SIZE
    assert flash_and_click_times(source) == pytest.approx((1.0, 1.0), abs=0.05)
    assert [time for time, _ in source.frames(fps=5)] == pytest.approx(np.arange(6) / 5)


def test_an_image_lasts_as_long_as_its_audio(tmp_path, wav):
    Image.fromarray(frame_image(True)).save(tmp_path / "dog.png")
    assert [time for time, _ in open_source(tmp_path / "dog.png").frames(fps=1)] == [0]
    wav(tmp_path / "dog.wav", 32767 * click(4, 0.0, 16000))
    wav(tmp_path / "other.wav", np.zeros(16000 * 2))
    source = open_source(tmp_path / "dog.png")
    assert source.audio_track.path == str(tmp_path / "dog.wav")
    assert [time for time, _ in source.frames(fps=1)] == [0, 1, 2, 3]
    assert len(list(source.frames())) == 40
    assert open_source(tmp_path / "dog.png", audio=tmp_path / "other.wav").duration == 2


@pytest.mark.parametrize("ending", [".mp3", ".m4a"])
def test_audio_with_a_cover_image_is_a_still_with_its_audio(tmp_path, ending):
    path = tmp_path / f"song{ending}"
    write_cover_art(path, frame_image(True), seconds=2.0)
    source = open_source(path)
    assert isinstance(source, StillImage)
    assert (source.image == frame_image(True)).all()
    assert [time for time, _ in source.frames(fps=1)] == [0, 1]
    assert click_time(source.audio_track.read()) == pytest.approx(1.0, abs=0.06)


def test_a_still_is_recognized_by_its_content_and_an_animation_is_a_video(tmp_path, wav):
    still, *more = (Image.new("RGB", (32, 32), (level,) * 3) for level in (240, 160, 80, 0))
    wav(tmp_path / "a.wav", np.zeros(16000 * 2))
    still.save(tmp_path / "a.avif")
    still.save(tmp_path / "a.data", format="JPEG")
    for name in ("a.avif", "a.data"):
        source = open_source(tmp_path / name)
        assert (type(source), source.duration) == (StillImage, 2)
    for name in ("b.avif", "b.png"):
        still.save(tmp_path / name, save_all=True, append_images=more, duration=100)
        source = open_source(tmp_path / name)
        assert isinstance(source, Video)
        brightness = [image.mean() for _, image in source.frames()]
        assert brightness == pytest.approx([240, 160, 80, 0], abs=4)


@pytest.mark.parametrize("name", ["0.jpg", "9.jpg", "a.wav"])
def test_a_fifo_or_a_dangling_link_in_a_folder_gives_one_line(tmp_path, name):
    write_images(tmp_path / "in", 3, 0)
    (tmp_path / "in" / name).unlink(missing_ok=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("gone"), os.mkdir):
        make(tmp_path / "in" / name)
        with pytest.raises(ValueError, match=f"{name}': not a regular file; remove it"):
            open_source(tmp_path / "in")
        path = tmp_path / "in" / name
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1)])
def test_images_of_extreme_shape_give_one_line(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "0.png")
    for path in (tmp_path, tmp_path / "0.png"):
        with pytest.raises(ValueError, match="pixels are too narrow, expected at most 1000 times"):
            open_source(path)
    with pytest.raises(ValueError, match="too narrow"):
        frame_size(tmp_path / "0.png")


def test_a_video_gets_the_audio_of_another_file(tmp_path, wav):
    path = write_flash(tmp_path / "v.mp4", tracks=[{"at": 0.2}])
    wav(tmp_path / "a.wav", 32767 * click(3, 1.4, 16000))
    source = open_source(path, audio=tmp_path / "a.wav")
    assert flash_and_click_times(source) == pytest.approx((1.4, 1.4), abs=0.1)


def test_images_become_upright_and_sizes_may_differ(tmp_path):
    upright = frame_image(False)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: viewers rotate it back
    Image.fromarray(np.rot90(upright)).save(tmp_path / "0.jpg", exif=exif, quality=95)
    Image.fromarray(frame_image(True, (16, 16))).save(tmp_path / "1.jpg")
    source = open_source(tmp_path)
    (_, first), (_, second) = source.frames()
    assert first.shape == second.shape == (*SIZE, 3)
    assert first[:, :8].mean() < 10 < 20 < first[:, 24:].mean()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "in").write_bytes(b"?" * 50), "not a readable video file"),
        (lambda p: write_images(p / "in", 0, 0), "contains no images"),
        (lambda p: ((p / "in").mkdir(), (p / "in" / "a.png").write_bytes(b"?")), "not a readable"),
    ],
)
def test_wrong_inputs_give_a_one_line_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        list(open_source(tmp_path / "in").frames())
    assert "\n" not in str(error.value)


def test_a_truncated_image_and_two_audio_files_give_a_one_line_error(tmp_path, wav):
    write_images(tmp_path / "in", 2, 0, ".png")
    whole = (tmp_path / "in" / "1.png").read_bytes()
    (tmp_path / "in" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1\.png': damaged image"):
        list(open_source(tmp_path / "in").frames())
    for name in ("a.wav", "b.wav"):
        wav(tmp_path / "in" / name, np.zeros(9))
    with pytest.raises(ValueError, match="contains 2 audio files; name one with --sound"):
        open_source(tmp_path / "in")


def test_an_unknown_codec_gives_a_one_line_error(tmp_path):
    path = write_flash(tmp_path / "v.avi", codec="mpeg4", tracks=())
    data = path.read_bytes()
    path.write_bytes(data.replace(b"FMP4", b"ZZZ9"))
    with pytest.raises(ValueError, match=r"v\.avi'") as error:
        open_source(path)
    assert "\n" not in str(error.value)


def test_glob_patterns_give_files_in_order(tmp_path):
    for name in ("b.mp4", "a.mp4", "c[1].mp4"):
        (tmp_path / name).touch()
    found = expand_inputs([f"{tmp_path}/?.mp4", f"{tmp_path}/c[1].mp4", f"{tmp_path}/a.mp4"])
    assert found == [f"{tmp_path}/{name}" for name in ("a.mp4", "b.mp4", "c[1].mp4")]
    assert expand_inputs(["missing.mp4"]) == ["missing.mp4"]  # an error when it is opened
    with pytest.raises(FileNotFoundError, match="matches no file"):
        expand_inputs([f"{tmp_path}/*.mkv"])
