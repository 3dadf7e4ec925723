#!/usr/bin/env python3
"""Paint and name the sounding objects of videos; also installed as `ovavss-demo`."""

from ovavss_d2.commands.demo import run

if __name__ == "__main__":
    run()
