"""The plans of the stamps data set's demo videos."""

from ovavss_d2.toy.videos import VideoPlan

STAMPS_VIDEO_SIZE = (288, 432)

STAMPS_VIDEOS = {
    "look_alikes": VideoPlan(
        ("tiger", "zebra", "donkey"), ((3, ("donkey",)), (2, ()), (3, ("tiger",)), (2, ("zebra",)))
    ),
    "duet": VideoPlan(
        ("teapot", "guitar classical", "cello", "trumpet"),
        ((2, ("cello",)), (3, ("cello", "trumpet")), (2, ()), (3, ("trumpet",))),
    ),
    "off_screen": VideoPlan(
        ("truck", "pigeon", "duck"), ((3, ("duck",)), (2, ("cuckoo",)), (2, ()), (3, ("duck",)))
    ),
    # rooster, elephant, fire truck and drum kit are novel
    "novel": VideoPlan(
        ("sedan", "rooster", "hen"), ((3, ("rooster",)), (2, ()), (2, ("hen",)), (3, ("rooster",)))
    ),
    "novel_duet": VideoPlan(
        ("basketball", "elephant", "fire truck", "drum kit"),
        ((3, ("elephant",)), (3, ("elephant", "drum kit")), (2, ()), (2, ("fire truck",))),
    ),
}
