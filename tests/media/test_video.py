import itertools
import os
from fractions import Fraction

import av
import numpy as np
import pytest

from ovavss_d2.media.video import VideoWriter, open_video
from tests.helpers.flash_and_click import click_time

HEIGHT, WIDTH, RATE = 48, 64, 10


def grey(time, seconds=4.0):
    return int(30 + 190 * time / seconds)


def click_sound(rate, seconds=4.0, at=1.5):
    """A tone of 50 ms at `at`."""
    sound = np.zeros(int(rate * seconds), np.float32)
    n = rate // 20
    sound[int(at * rate) :][:n] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(n) / rate)
    return sound


def make_video(
    path, *, times=None, sound_rate=44100, sound_codec="aac", sound_start=0.0, start=0.0, turn=0
):
    """A video that grows brighter, its left quarter black, with a click at 1.5 s."""
    times = np.arange(0, 4, 1 / RATE) if times is None else times
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if turn:
            video.set_display_rotation(turn)
        sound = (
            container.add_stream(sound_codec, rate=sound_rate, layout="mono")
            if sound_codec
            else None
        )
        for time in times:
            image = np.full((HEIGHT, WIDTH, 3), grey(time), np.uint8)
            image[:, : WIDTH // 4] = 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round((time + start) * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            mux_sound(container, sound, sound_rate, sound_start)
    return path


def mux_sound(container, stream, rate, start):
    samples = click_sound(rate)[round(start * rate) :]
    if stream.format.name.startswith("s16"):
        samples = (samples * 32767).astype(np.int16)
    kind = "s16" if samples.dtype == np.int16 else "fltp"
    for i in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, i : i + 1024], format=kind, layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + i
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_frames_come_by_presentation_time(tmp_path):
    video = open_video(make_video(tmp_path / "a.mp4"))
    assert (video.height, video.width, video.has_sound) == (HEIGHT, WIDTH, True)
    assert video.rate == pytest.approx(RATE)
    frames = list(video.frames(fps=1))
    assert [time for time, _ in frames] == [0, 1, 2, 3]
    for time, image in frames:
        assert image[:, 32:].mean() == pytest.approx(grey(time), abs=4)
    assert len(list(video.frames())) == 4 * RATE


def test_uneven_times_show_the_frame_on_the_screen(tmp_path):
    times = [0, 0.1, 0.9, 1.3, 3.5]
    video = open_video(make_video(tmp_path / "a.mkv", times=times))
    shown = [image[:, 32:].mean() for _, image in itertools.islice(video.frames(fps=1), 4)]
    assert shown == pytest.approx([grey(t) for t in (0, 0.9, 1.3, 1.3)], abs=4)
    assert [round(t, 3) for t, _ in video.frames()] == times


def test_more_frames_than_there_are_repeat(tmp_path):
    video = open_video(make_video(tmp_path / "a.mp4", times=[0.0, 0.5], sound_codec=None))
    times = [time for time, _ in video.frames(fps=20)]
    assert times[:12] == pytest.approx(np.arange(12) / 20)


def test_rotated_videos_stand_upright(tmp_path):
    video = open_video(make_video(tmp_path / "a.mp4", turn=90))
    assert (video.height, video.width) == (WIDTH, HEIGHT)
    _, image = next(video.frames(fps=1))
    assert image.shape == (WIDTH, HEIGHT, 3)
    # A quarter turn anticlockwise takes the left side to the bottom.
    assert image[-10:].mean() < 8 < image[:30].mean()


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_is_on_the_clock_of_the_frames(tmp_path, name, rate):
    video = open_video(make_video(tmp_path / name, sound_rate=rate))
    sound = video.sound()
    assert sound.dtype == np.float32
    assert click_time(sound) == pytest.approx(1.5, abs=0.03)
    assert len(sound) == pytest.approx(64000, abs=3000)


def test_late_sound_is_preceded_by_silence(tmp_path):
    video = open_video(make_video(tmp_path / "a.mkv", sound_codec="pcm_s16le", sound_start=1.0))
    sound = video.sound()
    assert not sound[:15900].any()
    assert click_time(sound) == pytest.approx(1.5, abs=0.005)


def test_the_clock_starts_with_the_first_frame(tmp_path):
    video = open_video(make_video(tmp_path / "a.mkv", sound_codec="pcm_s16le", start=0.4))
    assert next(video.frames())[0] == 0
    # The sound stays where it was on the file's clock, the frames begin 0.4 s later.
    assert click_time(video.sound()) == pytest.approx(1.1, abs=0.005)


def test_a_video_without_sound_says_so(tmp_path):
    video = open_video(make_video(tmp_path / "a.mp4", sound_codec=None))
    assert not video.has_sound
    with pytest.raises(ValueError, match="a.mp4': this video has no sound"):
        video.sound()


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_broken_video_is_one_line(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError, match="a.mp4': not a readable video file") as error:
        open_video(tmp_path / "a.mp4")
    assert "\n" not in str(error.value)


def test_a_cut_off_video_is_one_line(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="a.mp4"):
        open_video(path)


def test_missing_video_and_sound_only_are_one_line(tmp_path, wav):
    with pytest.raises(FileNotFoundError, match="b.mp4': no such video file"):
        open_video(tmp_path / "b.mp4")
    wav(tmp_path / "a.wav", np.zeros(16000))
    with pytest.raises(ValueError, match="holds no picture"):
        open_video(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "source, target, copied",
    [("a.mp4", "b.mp4", True), ("a.mkv", "b.mp4", False), ("a.mp4", "b.mkv", True)],
)
def test_written_videos_keep_frames_and_sound(tmp_path, source, target, copied):
    codec = "aac" if copied else "pcm_s16le"
    video = open_video(make_video(tmp_path / source, sound_codec=codec))
    with VideoWriter(tmp_path / target, rate=video.rate, sound_of=video) as writer:
        for time, image in video.frames():
            writer.write(image, time)
    assert sorted(os.listdir(tmp_path)) == sorted([source, target])
    written = open_video(tmp_path / target)
    assert [t for t, _ in written.frames()] == pytest.approx([t for t, _ in video.frames()])
    for time, image in written.frames(fps=1):
        assert image[:, 32:].mean() == pytest.approx(grey(time), abs=5)
    assert click_time(written.sound()) == pytest.approx(click_time(video.sound()), abs=0.03)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"


def test_sound_follows_a_late_start_into_the_copy(tmp_path):
    video = open_video(make_video(tmp_path / "a.mkv", start=0.4))
    with VideoWriter(tmp_path / "b.mp4", rate=video.rate, sound_of=video) as writer:
        for time, image in video.frames():
            writer.write(image, time)
    assert click_time(open_video(tmp_path / "b.mp4").sound()) == pytest.approx(1.1, abs=0.04)


def test_odd_sizes_are_padded_to_even_ones(tmp_path):
    with VideoWriter(tmp_path / "b.mp4", rate=5) as writer:
        for _ in range(3):
            writer.write(np.full((33, 47, 3), 200, np.uint8))
    video = open_video(tmp_path / "b.mp4")
    assert (video.height, video.width) == (34, 48)
    times = [time for time, _ in video.frames()]
    assert times == pytest.approx([0, 0.2, 0.4])


def test_an_error_while_writing_leaves_nothing(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"of an earlier run")
    with pytest.raises(KeyError), VideoWriter(tmp_path / "b.mp4") as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
        raise KeyError("stop")
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(tmp_path / "c.mp4"):
        pass
    assert os.listdir(tmp_path) == ["b.mp4"]
    assert (tmp_path / "b.mp4").read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("name", ["b.nothing", "b.webm", "nowhere/b.mp4"])
def test_a_place_that_takes_no_video_is_one_line(tmp_path, name):
    with pytest.raises(ValueError, match=name) as error, VideoWriter(tmp_path / name):
        pass
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []
