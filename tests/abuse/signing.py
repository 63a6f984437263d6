"""Signed requests, made by botocore and sent by hand: from which address, and how wrong."""

import http.client
import ssl
from configparser import ConfigParser

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def credentials(server):
    """Those of the first user, and the region."""
    admin = ConfigParser()
    admin.read([server.admin / "credentials", server.admin / "config"])
    keys = admin["default"]
    return keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["region"]


def signed_headers(server, method, path, body=b"", keys=None):
    """The headers that botocore signs with, of the first user or with this key and secret."""
    key, secret, region = credentials(server)
    if keys is not None:
        key, secret = keys
    request = AWSRequest(method, server.url + path, data=body)
    SigV4Auth(Credentials(key, secret), "panorama", region).add_auth(request)
    return dict(request.headers.items())


def connection(server, source="127.0.0.1"):
    """A connection from this address of this machine."""
    context = ssl.create_default_context(cafile=server.ca)
    host, port = server.api
    return http.client.HTTPSConnection(
        host, port, timeout=30, context=context, source_address=(source, 0)
    )


def get(connected, path, headers):
    """Status, headers and body of an answer."""
    connected.request("GET", path, headers=headers)
    answer = connected.getresponse()
    return answer.status, answer.headers, answer.read()
