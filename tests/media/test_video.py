"""Reading videos by presentation time, and writing them with audio."""

import itertools
import os
from pathlib import Path

import av
import numpy as np
import pytest

from ovavss_d2.media.audio import AudioTrack
from ovavss_d2.media.video import open_video
from ovavss_d2.media.video_writer import VideoWriter
from tests.helpers.audio_files import wav_bytes
from tests.helpers.flash_videos import SIZE, click_time, set_display_matrix, write_flash


def brightness(image):
    return image[:, SIZE[1] // 2 :].mean()


def test_frames_are_those_displayed_at_their_times(tmp_path):
    video = open_video(write_flash(tmp_path / "a.mp4", flash=1.0))
    assert (video.height, video.width, video.rate) == (*SIZE, pytest.approx(10))
    times, images = zip(*video.frames(fps=1), strict=True)
    assert times == (0, 1, 2)
    assert [brightness(image) > 128 for image in images] == [False, True, False]
    assert len(list(video.frames())) == 30


def test_uneven_times_are_kept(tmp_path):
    times = [0, 0.1, 0.9, 1.3, 3.5]
    video = open_video(write_flash(tmp_path / "a.mkv", times=times, flash=0.9))
    displayed = [brightness(image) > 128 for _, image in itertools.islice(video.frames(fps=1), 4)]
    assert displayed == [False, True, False, False]
    assert [round(time, 3) for time, _ in video.frames()] == times


def test_frames_repeat_at_a_higher_rate(tmp_path):
    video = open_video(write_flash(tmp_path / "a.mp4", times=[0.0, 0.5], flash=0, tracks=()))
    times = [time for time, _ in video.frames(fps=20)]
    assert times[:12] == pytest.approx(np.arange(12) / 20)


def test_rotated_videos_become_upright(tmp_path):
    video = open_video(write_flash(tmp_path / "a.mp4", turn=90))
    assert (video.height, video.width) == SIZE[::-1]
    _, image = next(video.frames(fps=1))
    assert image.shape == (*SIZE[::-1], 3)
    # A counterclockwise quarter turn moves the left side to the bottom.
    assert image[-8:].mean() < 8 < image[:24].mean()


@pytest.mark.parametrize("angle", [0, 0.02])  # radians; tools write such small turns
@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].swapaxes(0, 1)),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_turned_and_mirrored_videos_become_upright(tmp_path, matrix, upright, angle):
    path = tmp_path / "a.mp4"
    with VideoWriter(path) as writer:  # four corners of different brightness
        quarters = np.array([[0, 80], [160, 240]], np.uint8)
        writer.write(quarters.repeat(16, axis=0).repeat(24, axis=1)[..., None].repeat(3, axis=2))
    (_, stored), *_ = open_video(path).frames()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a, c, b, d = (turn @ np.array([matrix[::2], matrix[1::2]])).flatten()
    set_display_matrix(path, (a, b, c, d))
    video = open_video(path)
    (_, image), *_ = video.frames()
    expected = upright(stored)
    assert (video.height, video.width) == expected.shape[:2]
    assert (image == expected).all()


@pytest.mark.parametrize(
    "name", ["12:30 party", "http:x", "concat:a.mp4|b", "file:a", "pipe:1", "-", "%03d", "a,b [c]"]
)
def test_no_name_of_a_file_is_a_protocol_or_a_pattern(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_flash(Path(f"{name}.mp4").absolute())
    video = open_video(f"{name}.mp4")
    with VideoWriter(f"{name} 2.mp4", audio_track=video.audio_track) as writer:
        for time, image in video.frames():
            writer.write(image, time)
    assert len(list(open_video(f"{name} 2.mp4").frames())) == 30
    assert sorted(os.listdir()) == sorted([f"{name}.mp4", f"{name} 2.mp4"])
    with pytest.raises(FileNotFoundError, match="no such video file"):
        open_video("http://127.0.0.1/a.mp4")


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n", "ffconcat version 1.0\nfile a.ts\n"],
)
def test_a_playlist_opens_no_other_file(tmp_path, playlist):
    write_flash(tmp_path / "a.ts", rate=25, tracks=())
    for name in ("b.mp4", "b.m3u8"):
        (tmp_path / name).write_text(playlist)
        with pytest.raises(ValueError, match="not a readable video file"):
            open_video(tmp_path / name)


def write_fast_start(path):
    """A noisy video of five seconds, its index (of MP4) at the beginning, as on web pages."""
    rng = np.random.default_rng(0)
    with VideoWriter(path.with_name("slow.mp4"), rate=10) as writer:
        for _ in range(50):
            writer.write(rng.integers(0, 255, (32, 48, 3), np.uint8))
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with (
        av.open(str(path.with_name("slow.mp4"))) as source,
        av.open(str(path), "w", options=options) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.flv"])
def test_a_video_that_was_cut_off_says_how_much_is_missing(tmp_path, caplog, name):
    path = write_fast_start(tmp_path / name)
    assert open_video(path).missing_seconds == 0 and not caplog.messages
    whole = path.read_bytes()
    for share in (0.8, 0.5):
        path.write_bytes(whole[: int(len(whole) * share)])
        caplog.clear()
        video = open_video(path)
        last = [time for time, _ in video.frames()][-1] + 0.1
        assert last == pytest.approx(5 * share, abs=0.5)
        assert video.duration == pytest.approx(last, abs=0.4)
        assert video.missing_seconds == pytest.approx(5 - last, abs=0.4)
        (message,) = caplog.messages
        assert message.endswith("seconds are missing.") and "\n" not in message


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv", "a.webm"])
def test_no_whole_video_is_reported_as_cut_off(tmp_path, caplog, name):
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx-vp9"}.get(name, "libx264")
    audio = {"a.avi": "mp3", "a.webm": "libopus"}.get(name, "aac")
    tracks = [{"codec": audio, "rate": 48000, "end": 6.0}]  # longer than the frames
    start = 0.0 if name == "a.avi" else 0.7
    path = write_flash(tmp_path / name, rate=25, start=start, codec=codec, tracks=tracks)
    assert open_video(path).missing_seconds == 0
    assert not caplog.messages


def test_unreadable_files_give_a_one_line_error(tmp_path, wav):
    with pytest.raises(FileNotFoundError, match="b.mp4': no such video file"):
        open_video(tmp_path / "b.mp4")
    wav(tmp_path / "a.wav", np.zeros(16000))
    with pytest.raises(ValueError, match="a.wav': has no video track, only audio"):
        open_video(tmp_path / "a.wav")
    path = write_flash(tmp_path / "c.mp4")
    for content in (b"", b"not a video" * 100, path.read_bytes()[:2000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="c.mp4': not a readable video file") as error:
            open_video(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "target", "copied"),
    [("a.mp4", "b.mp4", True), ("a.mkv", "b.mp4", False), ("a.mp4", "b.mkv", True)],
)
def test_written_videos_keep_frames_and_audio(tmp_path, source, target, copied):
    codec = "aac" if copied else "pcm_s16le"
    video = open_video(write_flash(tmp_path / source, tracks=[{"codec": codec}]))
    with VideoWriter(tmp_path / target, rate=video.rate, audio_track=video.audio_track) as writer:
        for time, image in video.frames():
            writer.write(image, time)
    written = open_video(tmp_path / target)
    assert sorted(os.listdir(tmp_path)) == sorted([source, target])
    for (time, image), (expected_time, expected) in zip(
        written.frames(), video.frames(), strict=True
    ):
        assert time == pytest.approx(expected_time)
        assert brightness(image) == pytest.approx(brightness(expected), abs=5)
    expected = click_time(video.audio_track.read())
    assert click_time(written.audio_track.read()) == pytest.approx(expected, abs=0.03)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"


def test_damaged_samples_are_written_as_silence(tmp_path):
    samples = np.full(16000, 0.25, np.float32)
    samples[8000:8004] = np.nan, np.inf, -np.inf, 1e38
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples.tobytes(), code=3, bits=32))
    with VideoWriter(tmp_path / "b.mp4", rate=1, audio_track=AudioTrack(tmp_path / "a.wav")) as w:
        w.write(np.zeros((*SIZE, 3), np.uint8), 0.0)
    audio = open_video(tmp_path / "b.mp4").audio_track.read()
    assert len(audio) >= 16000 and np.isfinite(audio).all() and audio[:4000].mean() > 0.1


RED_BLUE = {"BT.709": (0.2126, 0.0722), "BT.601": (0.299, 0.114)}  # shares of luma


def rgb_of_yuv(y, u, v, standard):
    """Colors of limited-range YUV by a standard's equations."""
    red_share, blue_share = RED_BLUE[standard]
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - red_share) * v, y + 2 * (1 - blue_share) * u
    green = (y - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return 255 * np.stack([red, green, blue], axis=-1)


@pytest.mark.parametrize(
    ("size", "standard"),
    [
        ((180, 320), "BT.601"),
        ((576, 1024), "BT.601"),
        ((720, 1280), "BT.709"),
        ((1024, 576), "BT.709"),
    ],
)
def test_written_colors_have_tags_and_are_read_back(tmp_path, size, standard):
    colors = np.array([[(200, 30, 30), (30, 180, 90)], [(40, 60, 220), (235, 225, 40)]], np.uint8)
    image = colors.repeat(size[0] // 2, axis=0).repeat(size[1] // 2, axis=1)
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(image)
    points = np.s_[size[0] // 4 :: size[0] // 2, size[1] // 4 :: size[1] // 2]
    (_, read), *_ = open_video(tmp_path / "a.mp4").frames()
    assert np.abs(read[points].astype(int) - colors).max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.colorspace == {"BT.709": 1, "BT.601": 6}[standard]
        assert (context.color_range, context.color_primaries, context.color_trc) == (1, 1, 1)
        frame = next(container.decode(video=0)).reformat(format="yuv444p", interpolation="POINT")
        yuv = frame.to_ndarray()[(slice(None), *points)].astype(float)
    assert np.abs(rgb_of_yuv(*yuv, standard) - colors).max() <= 3


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("tag", "standard"), [(1, "BT.709"), (5, "BT.601"), (6, "BT.601")])
def test_colors_are_read_by_the_tags_of_the_file(tmp_path, tag, standard, full_range):
    yuv = (80, 110, 190)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.colorspace = tag
        stream.codec_context.color_range = 2 if full_range else 1
        planes = [np.full((32 * 32 >> 2 * (i > 0),), yuv[i], np.uint8) for i in range(3)]
        frame = np.concatenate(planes).reshape(48, 32)
        frame = av.VideoFrame.from_ndarray(frame, format="yuv420p")
        frame.colorspace, frame.color_range = tag, 2 if full_range else 1
        container.mux([*stream.encode(frame), *stream.encode(None)])
    if full_range:
        yuv = 16 + yuv[0] * 219 / 255, *(128 + (x - 128) * 224 / 255 for x in yuv[1:])
    (_, image), *_ = open_video(tmp_path / "a.mp4").frames()
    assert np.abs(image[16, 16] - rgb_of_yuv(*yuv, standard)).max() <= 3


@pytest.mark.parametrize(("start", "end"), [(0, 6.0), (2.5, 5.5), (3, 6.0)])
def test_joined_recordings_keep_their_order_and_their_sound(tmp_path, start, end):
    tracks = [{"rate": 44100}, {"rate": 48000, "layout": "stereo"}]
    parts = [
        write_flash(
            tmp_path / f"{i}.ts",
            tracks=[track | {"end": 3.0 + i * start, "begin": i * start}],
            start=i * start,
            codec="mpeg4",
        )
        for i, track in enumerate(tracks)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = open_video(joined)
    times = [time for time, _ in video.frames()]
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(end - 0.1, abs=0.15)
    with VideoWriter(tmp_path / "b.mp4", rate=10, audio_track=video.audio_track) as writer:
        for time, image in video.frames():
            writer.write(image, time)
    for track in (video.audio_track, open_video(tmp_path / "b.mp4").audio_track):
        assert len(track.read()) / 16000 == pytest.approx(end, abs=0.2)


def test_odd_sizes_are_padded_to_even_ones(tmp_path):
    with VideoWriter(tmp_path / "b.mp4", rate=5) as writer:
        for _ in range(3):
            writer.write(np.full((33, 47, 3), 200, np.uint8))
    video = open_video(tmp_path / "b.mp4")
    assert (video.height, video.width) == (34, 48)
    assert [time for time, _ in video.frames()] == pytest.approx([0, 0.2, 0.4])


def test_frames_that_are_too_large_give_one_line(tmp_path):
    message = r"b\.mp4': frames of 16386 x 20 pixels are too large, H.264 allows sides of 16384"
    with pytest.raises(ValueError, match=message), VideoWriter(tmp_path / "b.mp4") as writer:
        writer.write(np.zeros((20, 16385, 3), np.uint8))


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
def test_a_path_that_cannot_hold_a_video_gives_a_one_line_error(tmp_path, name):
    with pytest.raises(ValueError, match=name) as error, VideoWriter(tmp_path / name):
        pass
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []
