"""Signed requests as botocore makes them, for crates/parapet-auth/tests/signatures/botocore.json.

Run it with the versions of tools/requirements.txt: `python tools/sign_vectors.py TOKEN SECRET`,
where both are those of the session that the tests seal. The clock is 15 Jan 2027, 08:00 UTC.
"""

import datetime
import json
import sys
import unittest.mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials

NOW = datetime.datetime(2027, 1, 15, 8, 0, 0)
HOST = "https://127.0.0.1:8443"
LONG = ("AKIAPARAPETTESTKEY00", "a-secret-of-forty-characters-0123456789a", None)
SHORT = ("ASIAPARAPETTESTKEY00", sys.argv[2], sys.argv[1])

CASES = [
    ("get", "panorama", "GET", "/devices?MaxResults=5&NextToken=a%2Bb%3D", b"", {}),
    (
        "tag path",
        "panorama",
        "GET",
        "/tags/arn%3Aaws%3Apanorama%3Aeu-central-1%3A1%3Adevice%2Fa",
        b"",
        {},
    ),
    (
        "json",
        "panorama",
        "POST",
        "/packages",
        b'{"PackageName":"\xc3\xbc"}',
        {"content-type": "application/json"},
    ),
    (
        "form",
        "sts",
        "POST",
        "/",
        b"Action=GetCallerIdentity&Version=2011-06-15",
        {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
    ),
    (
        "object",
        "s3",
        "PUT",
        "/bucket/a//b/../c%20d%2B%C3%BC",
        b"data",
        {"x-amz-meta-a": "  two   blanks "},
    ),
    ("presigned", "s3", "GET", "/bucket/key%20one?versionId=a%2Bb", b"", {}),
    (
        "presigned",
        "sts",
        "GET",
        "/?Action=GetCallerIdentity&Version=2011-06-15",
        b"",
        {},
    ),
]


class Clock(datetime.datetime):
    """Stands still."""

    @classmethod
    def utcnow(cls):
        return NOW

    @classmethod
    def now(cls, tz=None):
        return NOW.replace(tzinfo=tz)


def sign(name, service, method, target, body, headers, who):
    key, secret, token = who
    request = botocore.awsrequest.AWSRequest(method, HOST + target, dict(headers), body)
    request.context["signing"] = {}
    kinds = {
        (False, False): botocore.auth.SigV4Auth,
        (False, True): botocore.auth.S3SigV4Auth,
        (True, False): botocore.auth.SigV4QueryAuth,
        (True, True): botocore.auth.S3SigV4QueryAuth,
    }
    kind = kinds[name == "presigned", service == "s3"]
    credentials = botocore.credentials.Credentials(key, secret, token)
    signer = kind(credentials, service, "eu-central-1")
    if name == "presigned":
        # 600 seconds: within what STS takes.
        signer = kind(credentials, service, "eu-central-1", expires=600)
    signer.add_auth(request)
    prepared = request.prepare()
    url = prepared.url[len(HOST) :]
    path, _, query = url.partition("?")
    sent = {name.lower(): str(value) for name, value in prepared.headers.items()}
    sent.setdefault("host", HOST[len("https://") :])
    sent.pop("content-length", None)
    return {
        "name": f"{service} {name} {'session' if token else 'long-term'}",
        "method": method,
        "path": path,
        "query": query,
        "headers": sorted(
            (n, v.decode() if isinstance(v, bytes) else v) for n, v in sent.items()
        ),
        "body": body.decode(),
    }


def main():
    patches = (
        [unittest.mock.patch("botocore.auth.datetime.datetime", Clock)]
        if hasattr(botocore.auth, "datetime")
        else []
    )
    if hasattr(botocore.auth, "get_current_datetime"):
        patches.append(
            unittest.mock.patch(
                "botocore.auth.get_current_datetime", lambda remove_tzinfo=True: NOW
            )
        )
    for patch in patches:
        patch.start()
    vectors = [sign(*case, who) for case in CASES for who in (LONG, SHORT)]
    print(json.dumps(vectors, indent=1))


main()
