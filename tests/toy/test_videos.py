"""The toy world's MP4 videos."""

import json

import numpy as np

from ovavss_d2.media.audio_format import SAMPLE_RATE
from ovavss_d2.media.video import open_video
from ovavss_d2.toy import videos
from ovavss_d2.toy.schedule import NOVEL_IDS
from ovavss_d2.vocabulary import TOY_NAMES

STORY = videos.Story(
    ("red square", "blue star"), ((1, ("red square",)), (1, ()), (1, ("blue star",)))
)


def test_videos_have_pictures_and_the_sound_of_their_story(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "STORIES", {"short": STORY})
    monkeypatch.setattr(videos, "SIZE", (48, 64))
    videos.write_toy_videos(tmp_path)
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


def test_a_video_that_is_there_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "STORIES", {"short": STORY})
    path = tmp_path / "toy" / "videos" / "short.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    videos.write_toy_videos(tmp_path)
    assert path.read_bytes() == b"mine"


def test_the_stories_hold_silence_a_look_alike_a_novel_sound_and_one_from_outside():
    novel = {TOY_NAMES[i - 1] for i in NOVEL_IDS}
    for story in videos.STORIES.values():
        assert len(story.sounding()) == 10
        assert () in story.sounding()
        words = [word for name in story.visible for word in name.split()]
        assert len(set(words)) < len(words)
        assert {name for names in story.sounding() for name in names} <= set(TOY_NAMES)
    heard = {name for story in videos.STORIES.values() for now in story.sounding() for name in now}
    assert heard & novel
    assert any(
        not set(now) <= set(story.visible)
        for story in videos.STORIES.values()
        for now in story.sounding()
    )
