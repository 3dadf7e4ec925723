"""The toy world's MP4 videos."""

import json

import numpy as np

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.video import open_video
from ovavss_d2.toy import videos
from ovavss_d2.toy.shapes_and_tones import TOY
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES, novel_ids

SHORT = videos.VideoPlan(
    ("red square", "blue star"), ((1, ("red square",)), (1, ()), (1, ("blue star",)))
)


def test_videos_have_frames_and_the_planned_audio_and_are_kept(tmp_path):
    videos.write_videos(TOY, tmp_path, {"short": SHORT}, (48, 64))
    folder = tmp_path / "toy" / "videos"
    assert sorted(path.name for path in folder.iterdir()) == ["short.mp4", "truth.json"]
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["short.mp4"]["sounding"] == [["red square"], [], ["blue star"]]
    video = open_video(folder / "short.mp4")
    assert (video.height, video.width, video.rate) == (48, 64, videos.FRAME_RATE)
    assert len(list(video.frames())) == 3 * videos.FRAME_RATE
    middle = video.audio_track.read()[: 3 * SAMPLE_RATE].reshape(3, SAMPLE_RATE)[:, 2000:-2000]
    loud = np.sqrt((middle**2).mean(1))
    assert loud[1] < 0.2 * min(loud[0], loud[2])

    (folder / "short.mp4").write_bytes(b"existing")
    videos.write_videos(TOY, tmp_path, {"short": SHORT}, (48, 64))
    assert (folder / "short.mp4").read_bytes() == b"existing"


def test_videos_have_silence_look_alikes_novel_and_off_screen_sounds():
    novel = {TOY_NAMES[i - 1] for i in novel_ids(TOY_NAMES, TOY_BASE_IDS)}
    for video in videos.TOY_VIDEOS.values():
        assert len(video.sounding()) == 10
        assert () in video.sounding()
        words = [word for name in video.visible for word in name.split()]
        assert len(set(words)) < len(words)
        assert {name for names in video.sounding() for name in names} <= set(TOY_NAMES)
    sounds = [(v.visible, now) for v in videos.TOY_VIDEOS.values() for now in v.sounding()]
    assert any(novel & set(now) for _, now in sounds)
    assert any(not set(now) <= set(visible) for visible, now in sounds)
