"""The smallest application that sees every picture: side A of the benchmark `frames`."""

import os

import panoramasdk
from consumer import Consumer


class Application(panoramasdk.node):
    """The application: one instance a process."""


application = Application()
consumer = Consumer(os.environ.get("PARAPET_BENCH_COUNT", "/opt/aws/panorama/storage/count"))
while True:
    for stream in application.inputs.video_in.get():
        if not stream.is_cached:
            consumer.take(stream.image)
