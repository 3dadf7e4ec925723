"""Image files that Pillow does not write."""

import struct

import av
import numpy as np

# Starts Ghostscript in Pillow's decoder, whatever the file's name.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def write_heic(path, image):
    """Write an image, uint8 (H, W, 3), as HEIC: an HEVC key frame with the boxes around it."""
    height, width = image.shape[:2]
    video = path.with_suffix(".hevc.mp4")
    with av.open(str(video), "w") as container:
        options = {"crf": "4", "x265-params": "log-level=none:pools=none:frame-threads=1"}
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        settings = stream.codec_context.extradata
        data = bytes(next(container.demux(stream)))
    video.unlink()
    properties = box(b"hvcC", settings) + box(b"ispe", struct.pack(">III", 0, width, height))
    parts = [
        box(b"hdlr", struct.pack(">II4s13x", 0, 0, b"pict")),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, 1) + box(b"infe", b"\2\0\0\0\0\1\0\0hvc1\0")),
        box(b"iprp", box(b"ipco", properties) + box(b"ipma", b"\0\0\0\0\0\0\0\1\0\1\2\x81\x02")),
    ]
    start = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    position = len(start) + 12 + sum(map(len, parts)) + 30 + 8  # iloc has 30 bytes
    location = struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, position, len(data))
    meta = box(b"meta", bytes(4) + b"".join([*parts, box(b"iloc", location)]))
    path.write_bytes(start + meta + box(b"mdat", data))


def box(kind, content):
    """A box of an ISO media file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content
