#!/usr/bin/env python3
"""A web page that paints and names the sounding objects of a video; also `ovavss-app`."""

from ovavss_d2.commands.app import run

if __name__ == "__main__":
    run()
