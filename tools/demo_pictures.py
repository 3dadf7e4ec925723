#!/usr/bin/env python3
"""Make the README's images of the demo.

An animation of painted videos side by side:

    python tools/demo_pictures.py --videos output/stamps/novel.mp4 output/stamps/look_alikes.mp4 \\
        --animation docs/demo.webp

A screenshot of the page (needs a running demo/app.py, Chromium, chromedriver and Selenium):

    python tools/demo_pictures.py --page http://127.0.0.1:7860 --upload VIDEO --at 3.5 \\
        --screenshot docs/page.jpg
"""

import argparse
import io
import shutil
import time

import numpy as np
from PIL import Image

from ovavss_d2.media.source import open_source

GAP = 4  # pixels between videos


def write_animation(videos: list[str], path: str, fps: float, quality: int) -> None:
    """Write an animation of videos of the same height side by side."""
    frames = [[image for _, image in open_source(video).frames(fps)] for video in videos]
    gap = np.full((frames[0][0].shape[0], GAP, 3), 255, np.uint8)
    rows = [
        np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)
        for images in zip(*frames, strict=False)
    ]
    first, *others = [Image.fromarray(row) for row in rows]
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=round(1000 / fps),
        loop=0,
        quality=quality,
        method=6,
    )


def write_screenshot(url: str, video: str, at: float, path: str) -> None:
    """Upload a video to the page, paint it, and save a screenshot."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1300,1270"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(url)
        driver.implicitly_wait(30)
        driver.find_element("css selector", "#video input[type=file]").send_keys(video)
        driver.find_element("css selector", "#video video")
        driver.find_element("css selector", "#run").click()
        driver.implicitly_wait(300)
        driver.find_element("css selector", "#painted video")
        driver.execute_script(
            "document.querySelector('#painted video').currentTime = arguments[0]", at
        )
        driver.execute_script("window.scrollTo(0, 0)")
        time.sleep(3)  # the browser seeks
        data = io.BytesIO(driver.get_screenshot_as_png())
        screenshot = Image.open(data, formats=["PNG"])
        screenshot.convert("RGB").save(path, quality=90)
    finally:
        driver.quit()


def main() -> None:
    """Make the requested images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", nargs="+", default=[], help="painted videos")
    parser.add_argument("--animation", help="the image to write, .webp or .gif")
    parser.add_argument("--fps", type=float, default=4.0)
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--page", help="address of the page")
    parser.add_argument("--upload", help="an absolute path of a video")
    parser.add_argument("--at", type=float, default=3.5, help="seconds into the painted video")
    parser.add_argument("--screenshot", help="the image to write, .jpg or .png")
    args = parser.parse_args()
    if args.animation:
        write_animation(args.videos, args.animation, args.fps, args.quality)
    if args.screenshot:
        write_screenshot(args.page, args.upload, args.at, args.screenshot)


if __name__ == "__main__":
    main()
