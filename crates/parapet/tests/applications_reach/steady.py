"""Echoes through the gateway without end; prints the longest answer's time every 100 of them."""
import socket
import time

connection = socket.create_connection(("allowed.test", 443), 15)
connection.recv(100)
connection.settimeout(60)
number = 0
while True:
    longest = 0
    for _ in range(100):
        begin = time.monotonic()
        connection.sendall(b"y" * 1000)
        left = 1000
        while left:
            left -= len(connection.recv(left))
        longest = max(longest, time.monotonic() - begin)
        time.sleep(0.002)
    number += 1
    print("hundred", number, int(longest * 1000), flush=True)
