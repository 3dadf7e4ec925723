"""Who is seen and who is heard, second by second, in a clip of the toy world.

Silence takes a quarter of the seconds; in some others only something outside the frame sounds, so
that there is nothing to paint although there is something to hear. Visible look-alikes share the
shape or the colour of what sounds, never both.
"""

from dataclasses import dataclass

import numpy as np

from ovavss_d2.toy.scene import color_of, shape_of
from ovavss_d2.vocabulary import TOY_BASE_IDS, TOY_NAMES, novel_ids

BASE_IDS = TOY_BASE_IDS
NOVEL_IDS = novel_ids(TOY_NAMES, TOY_BASE_IDS)
VIEWS = (
    "base",
    "novel_silent",
    "novel_sounding",
)  # of the test split; the others hold base classes only

SILENT = 0.25  # share of the seconds in which nothing sounds
OFF_SCREEN = 0.12  # share of the seconds in which only something outside the frame sounds
TWO_AT_ONCE = 0.6  # of the remaining seconds, where two visible objects may sound
LOOK_ALIKE = 0.8  # probability that a further object looks like one that sounds

_OBJECTS = {2: 0.35, 3: 0.4, 4: 0.25}  # probability of each number of visible objects


@dataclass(frozen=True)
class Cast:
    """Class ids of one clip."""

    visible: tuple[int, ...]  # one object each, all different
    sounding: tuple[tuple[int, ...], ...]  # for each second: which of `visible` sound
    off_screen: tuple[tuple[int, ...], ...]  # for each second: what sounds outside the frame

    def heard(self) -> list[tuple[int, ...]]:
        """Return for each second the ids of all sources."""
        return [a + b for a, b in zip(self.sounding, self.off_screen, strict=True)]


def draw_cast(rng: np.random.Generator, view: str, seconds: int, solo: bool = False) -> Cast:
    """Choose the classes of a clip and when they sound.

    Args:
        rng: source of everything random.
        view: one of `VIEWS`.
        seconds: length of the clip.
        solo: only one of the visible objects ever sounds.
    """
    pool = _pool(view)
    count = int(rng.choice(list(_OBJECTS), p=list(_OBJECTS.values())))
    if view == "novel_silent":  # room for a base class that sounds, one that does not, a novel one
        count = max(count, 3)
    number = 1 if solo else _number_of_sounders(rng, view, count)
    sounders = _draw_sounders(rng, view, pool, number)
    visible = list(sounders)
    if view == "novel_silent":
        visible.append(_draw_other(rng, sounders, visible, NOVEL_IDS))
    while len(visible) < count:
        visible.append(_draw_other(rng, sounders, visible, pool))
    sounding, off_screen = [], []
    turn = 0
    for state in _draw_states(rng, seconds):
        now: tuple[int, ...] = ()
        if state == "sounding":
            now = _draw_now(rng, visible, sounders, sounders[turn % len(sounders)])
            turn += 1
        sounding.append(now)
        outside = state == "off screen"
        off_screen.append((_draw_other(rng, visible, visible, pool),) if outside else ())
    return Cast(tuple(visible), tuple(sounding), tuple(off_screen))


def differ_in_both(one: int, other: int) -> bool:
    """Return whether two classes share neither shape nor colour."""
    return shape_of(one) != shape_of(other) and color_of(one) != color_of(other)


def _pool(view) -> tuple[int, ...]:
    return tuple(sorted(BASE_IDS + NOVEL_IDS)) if view == "novel_sounding" else BASE_IDS


def _number_of_sounders(rng, view, count) -> int:
    if view == "novel_sounding":  # a novel one and a base one at least
        return 2 if count < 4 else int(rng.integers(2, 4))
    if view == "novel_silent":
        return count - 2
    if count == 2:
        return int(rng.integers(1, 3))
    return int(rng.integers(count - 2, count))


def _draw_sounders(rng, view, pool, count) -> list[int]:
    """`count` classes that may sound; the first two differ in both attributes."""
    first = int(rng.choice(NOVEL_IDS if view == "novel_sounding" else BASE_IDS))
    sounders = [first]
    if count > 1:
        partners = [i for i in BASE_IDS if differ_in_both(i, first)]
        sounders.append(int(rng.choice(partners)))
    while len(sounders) < count:
        sounders.append(int(rng.choice([i for i in pool if i not in sounders])))
    return sounders


def _draw_other(rng, models, taken, pool) -> int:
    """A class of `pool` that is not taken, mostly a look-alike of one of `models`."""
    free = [i for i in pool if i not in taken]
    alike = [i for i in free if any(not differ_in_both(i, model) for model in models)]
    return int(rng.choice(alike if alike and rng.random() < LOOK_ALIKE else free))


def _draw_states(rng, seconds) -> list[str]:
    """What happens in each second, in random order; each clip keeps to the shares."""
    silent = _round_at_random(rng, SILENT * seconds)
    outside = _round_at_random(rng, OFF_SCREEN * seconds)
    states = ["silent"] * silent + ["off screen"] * outside
    states += ["sounding"] * (seconds - len(states))
    return [states[i] for i in rng.permutation(seconds)]


def _round_at_random(rng, value) -> int:
    return int(np.floor(value + rng.random()))


def _draw_now(rng, visible, sounders, first) -> tuple[int, ...]:
    """`first`, and now and then a second one with which it cannot be mistaken for two others."""
    partners = [i for i in sounders if _tell_apart(first, i, visible)]
    if partners and rng.random() < TWO_AT_ONCE:
        return (first, int(rng.choice(partners)))
    return (first,)


def _tell_apart(one, other, visible) -> bool:
    """Whether two classes share no attribute, and neither of their crossings is in sight."""
    crossed = {(shape_of(one), color_of(other)), (shape_of(other), color_of(one))}
    seen = {(shape_of(i), color_of(i)) for i in visible}
    return differ_in_both(one, other) and not crossed & seen
