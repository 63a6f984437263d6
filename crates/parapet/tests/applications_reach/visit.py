"""Visits an inbound port. Arguments: own address, host, port, and, for TLS, the file of the
authority and optionally certificate and key. Prints what came of it."""
import socket
import ssl
import sys

own, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    connection = socket.create_connection((host, port), 10, (own, 0))
    if len(sys.argv) > 4:
        context = ssl.create_default_context(cafile=sys.argv[4])
        if len(sys.argv) > 5:
            context.load_cert_chain(sys.argv[5], sys.argv[6])
        connection = context.wrap_socket(connection, server_hostname=host)
    greeting = connection.recv(100)
    connection.sendall(b"z" * 1000)
    left = 1000
    while left and greeting:
        left -= len(connection.recv(left)) or left
    print(greeting.decode().strip() or "end")
except OSError as error:
    print(type(error).__name__)
