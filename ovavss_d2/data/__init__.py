"""Data sets, and the way from files to clips; importing it registers the data sets."""

from ovavss_d2.data import catalog  # noqa: F401  (registers the data sets)
