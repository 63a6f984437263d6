"""Listens at a low port, greets whoever comes, and echoes."""
import socket
import threading

listener = socket.socket()
listener.bind(("0.0.0.0", 80))
listener.listen()
print("listens", flush=True)


def greet(connection):
    with connection:
        try:
            connection.sendall(b"inside\n")
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                connection.sendall(data)
        except OSError:
            pass


while True:
    connection, _ = listener.accept()
    threading.Thread(target=greet, args=(connection,), daemon=True).start()
