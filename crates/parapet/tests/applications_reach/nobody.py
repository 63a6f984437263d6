"""An application that may call nobody, with something that listens for the others to find."""
import errno
import socket
import time

listener = socket.socket()
listener.bind(("0.0.0.0", 7000))
listener.listen()
for name, action in (
    ("name", lambda: socket.gethostbyname("allowed.test")),
    ("literal", lambda: socket.create_connection(("10.99.1.2", 443), 5)),
    ("resolver", lambda: socket.create_connection(("127.0.0.53", 53), 5)),
):
    try:
        print(name, action(), flush=True)
    except socket.gaierror:
        print(name, "gaierror", flush=True)
    except OSError as error:
        print(name, errno.errorcode[error.errno], flush=True)
print("done", flush=True)
time.sleep(1000)
