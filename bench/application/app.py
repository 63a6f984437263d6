"""The smallest application that sees every picture: side A of the benchmark `frames`."""

import panoramasdk
from consumer import Consumer


class Application(panoramasdk.node):
    """The application: one instance a process."""


application = Application()
consumer = Consumer("/opt/aws/panorama/storage/count")
while True:
    for stream in application.inputs.video_in.get():
        if not stream.is_cached:
            consumer.take(stream.image)
