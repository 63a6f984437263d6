"""10,000 connection attempts without waiting for any, to whom it may call and to whom not, and
questions for names in between."""
import socket
import time

names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.setblocking(False)
kept = []
for number in range(10000):
    attempt = socket.socket()
    attempt.setblocking(False)
    attempt.connect_ex([("10.99.1.2", 443), ("10.99.1.2", 80), ("203.0.113.7", 443)][number % 3])
    kept.append(attempt)
    if len(kept) > 1000:
        kept.pop(0).close()
    try:
        head = b"\0\7\1\0\0\1\0\0\0\0\0\0\6"
        names.sendto(head + b"%06d" % number + b"\0\0\1\0\1", ("127.0.0.53", 53))
    except OSError:
        pass
    if number % 1000 == 999:
        print("attempts", number + 1, flush=True)
# Holds what it has got.
time.sleep(1000)
