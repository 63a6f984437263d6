"""Side B of the benchmark `frames`: OpenCV's VideoCapture reads a stream for ever.

Run by the Python of `bench/requirements.txt`: opencv_reader.py URL COUNT_FILE
"""

import os
import sys
from pathlib import Path

# OpenCV reads it once, when the first stream is opened.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"

import cv2  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent / "application"))

from consumer import Consumer  # noqa: E402


def main():
    """Reads until killed, or until the stream ends, which is a failure."""
    url, count_file = sys.argv[1:]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        sys.exit(f"opencv_reader: OpenCV {cv2.__version__} cannot open {url}")
    consumer = Consumer(count_file)
    while True:
        there, image = capture.read()
        if not there:
            sys.exit("opencv_reader: the stream has ended")
        consumer.take(image)


main()
