"""A demonstration data set of the photographs and recorded sounds of "tuxpaint-stamps"."""
