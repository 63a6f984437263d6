"""An old application that nobody knows the hosts of."""
import socket
import time

for _ in range(3):
    for host, port in (("wanted.test", 8883), ("10.99.1.2", 80)):
        try:
            connection = socket.create_connection((host, port), 5)
            print(host, connection.recv(10), flush=True)
        except OSError as error:
            print(host, type(error).__name__, flush=True)
try:
    print("only-asked.test", socket.gethostbyname("only-asked.test"), flush=True)
except OSError as error:
    print("only-asked.test", error, flush=True)
print("done", flush=True)
time.sleep(1000)
