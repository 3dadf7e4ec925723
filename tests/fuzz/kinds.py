"""All kinds of inputs, by name."""

from tests.fuzz import data, media, options, weights
from tests.fuzz.case import Kind

KINDS: dict[str, Kind] = {**media.KINDS, **data.KINDS, **options.KINDS, **weights.KINDS}
