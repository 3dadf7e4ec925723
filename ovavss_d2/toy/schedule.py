"""Schedules of clips: which objects are visible, and which sound, by second.

A quarter of the seconds are silent. In some others only an object outside the frame sounds. Many
visible objects are look-alikes: they share a feature of a sounding object (in the toy world the
shape or the color, never both).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ovavss_d2.toy.source import Source
from ovavss_d2.vocabulary import novel_ids

VIEWS = ("base", "novel_silent", "novel_sounding")  # of the test split; the others have base only

SILENT = 0.25  # share of the seconds without sound
OFF_SCREEN = 0.12  # share of the seconds in which only something outside the frame sounds
TWO_AT_ONCE = 0.6  # share of the other seconds, where two visible objects may sound
LOOK_ALIKE = 0.8  # probability that another object is a look-alike of a sounding one
NEVER_SOUNDS = 0.5  # probability that another visible object never sounds, if a source has such

_OBJECTS = {2: 0.35, 3: 0.4, 4: 0.25}  # probabilities of the number of visible objects


@dataclass(frozen=True)
class Schedule:
    """Class ids of one clip."""

    visible: tuple[int, ...]  # one object each, all different
    sounding: tuple[tuple[int, ...], ...]  # for each second: sounding ones of `visible`
    off_screen: tuple[tuple[int, ...], ...]  # for each second: sounding outside the frame

    def audible(self) -> list[tuple[int, ...]]:
        """For each second, the ids of all audio sources."""
        return [a + b for a, b in zip(self.sounding, self.off_screen, strict=True)]


def draw_schedule(
    source: Source, rng: np.random.Generator, view: str, seconds: int, solo: bool = False
) -> Schedule:
    """Draw the classes of a clip and when they sound.

    Args:
        source: of the classes.
        rng: random numbers.
        view: one of `VIEWS`.
        seconds: length of the clip.
        solo: only one of the visible objects ever sounds.
    """
    novel = novel_ids(source.names, source.base_ids)
    pool = tuple(sorted(source.base_ids + novel)) if view == "novel_sounding" else source.base_ids
    count = int(rng.choice(list(_OBJECTS), p=list(_OBJECTS.values())))
    if view == "novel_silent":  # at least a sounding base, a silent base and a novel object
        count = max(count, 3)
    number = 1 if solo else _number_of_sounding(rng, view, count)
    first = int(rng.choice(novel if view == "novel_sounding" else source.base_ids))
    sources = _draw_sources(source, rng, first, pool, number)
    visible = list(sources)
    if view == "novel_silent":
        visible.append(_draw_other(source, rng, sources, visible, novel))
    while len(visible) < count:
        if source.silent_ids and rng.random() < NEVER_SOUNDS:
            visible.append(int(rng.choice([i for i in source.silent_ids if i not in visible])))
        else:
            visible.append(_draw_other(source, rng, sources, visible, pool))
    sounding, off_screen = [], []
    turn = 0
    for state in _draw_states(rng, seconds):
        now: tuple[int, ...] = ()
        if state == "sounding":
            now = _draw_sounding(source, rng, visible, sources, sources[turn % len(sources)])
            turn += 1
        sounding.append(now)
        outside = state == "off screen"
        off_screen.append((_draw_other(source, rng, visible, visible, pool),) if outside else ())
    return Schedule(tuple(visible), tuple(sounding), tuple(off_screen))


def differ(source: Source, one: int, other: int) -> bool:
    """Whether two classes share no feature."""
    pairs = zip(source.features[one - 1], source.features[other - 1], strict=True)
    return all(a != b for a, b in pairs)


def _number_of_sounding(rng: np.random.Generator, view: str, count: int) -> int:
    if view == "novel_sounding":  # at least a novel and a base class
        return 2 if count < 4 else int(rng.integers(2, 4))
    if view == "novel_silent":
        return count - 2
    if count == 2:
        return int(rng.integers(1, 3))
    return int(rng.integers(count - 2, count))


def _draw_sources(
    source: Source, rng: np.random.Generator, first: int, pool: Sequence[int], count: int
) -> list[int]:
    """`first` and `count` - 1 others that may sound; the second one shares no feature with it."""
    sources = [first]
    if count > 1:
        partners = [i for i in source.base_ids if differ(source, i, first)]
        sources.append(int(rng.choice(partners)))
    while len(sources) < count:
        sources.append(int(rng.choice([i for i in pool if i not in sources])))
    return sources


def _draw_other(
    source: Source,
    rng: np.random.Generator,
    models: Sequence[int],
    used: Sequence[int],
    pool: Sequence[int],
) -> int:
    """A class of `pool` that is not used, mostly a look-alike of one of `models`."""
    free = [i for i in pool if i not in used]
    alike = [i for i in free if any(not differ(source, i, model) for model in models)]
    return int(rng.choice(alike if alike and rng.random() < LOOK_ALIKE else free))


def _draw_states(rng: np.random.Generator, seconds: int) -> list[str]:
    """The state of each second, in random order, with the shares above in each clip."""
    silent = _round_at_random(rng, SILENT * seconds)
    outside = _round_at_random(rng, OFF_SCREEN * seconds)
    states = ["silent"] * silent + ["off screen"] * outside
    states += ["sounding"] * (seconds - len(states))
    return [states[i] for i in rng.permutation(seconds)]


def _round_at_random(rng: np.random.Generator, value: float) -> int:
    return int(np.floor(value + rng.random()))


def _draw_sounding(
    source: Source,
    rng: np.random.Generator,
    visible: Sequence[int],
    sources: Sequence[int],
    first: int,
) -> tuple[int, ...]:
    """`first`, and sometimes a second class with which it is not ambiguous."""
    partners = [i for i in sources if _distinguishable(source, first, i, visible)]
    if partners and rng.random() < TWO_AT_ONCE:
        return (first, int(rng.choice(partners)))
    return (first,)


def _distinguishable(source: Source, one: int, other: int, visible: Sequence[int]) -> bool:
    """Whether two classes share no feature, and swapping theirs gives no visible class."""
    pair = source.features[one - 1], source.features[other - 1]
    swapped = set(product(*zip(*pair, strict=True))) - set(pair)
    return differ(source, one, other) and not swapped & {source.features[i - 1] for i in visible}
