"""The plans of the stamps data set's demo videos."""

from ovavss_d2.toy.videos import VideoPlan

STAMPS_VIDEO_SIZE = (288, 432)

STAMPS_VIDEOS = {
    "look_alikes": VideoPlan(
        ("tiger", "zebra", "donkey"), ((3, ("donkey",)), (2, ()), (3, ("tiger",)), (2, ("zebra",)))
    ),
    "duet": VideoPlan(
        ("cello", "trumpet", "guitar classical", "teapot"),
        ((2, ("cello",)), (3, ("cello", "trumpet")), (2, ()), (3, ("trumpet",))),
    ),
    "off_screen": VideoPlan(
        ("duck", "pigeon", "truck"), ((3, ("duck",)), (2, ("cuckoo",)), (2, ()), (3, ("duck",)))
    ),
    # rooster, elephant, fire truck and drum kit are novel
    "novel": VideoPlan(
        ("rooster", "hen", "sedan"), ((3, ("rooster",)), (2, ()), (2, ("hen",)), (3, ("rooster",)))
    ),
    "novel_duet": VideoPlan(
        ("elephant", "fire truck", "basketball", "drum kit"),
        ((3, ("elephant",)), (3, ("elephant", "drum kit")), (2, ()), (2, ("fire truck",))),
    ),
}
