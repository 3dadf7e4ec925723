"""A demonstration data set of photographs and recorded sounds from the package "tuxpaint-stamps"."""
