"""`AssumeRoleWithWebIdentity` through boto3: tokens of an issuer whose keys the operator gives."""

import base64
import json
import subprocess
import time

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from aws_tools import boto, code
from control_plane import start_server, stop_process

ISSUER = "https://login.example.org/realm"


class Issuer:
    """Signs tokens with OpenSSL, as an identity provider does."""

    def __init__(self, directory):
        self.key = directory / "issuer.pem"
        openssl("genrsa", "-out", self.key, "2048")
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").decode()
        number = int(modulus.strip().split("=")[1], 16)
        public = {"kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig", "e": "AQAB"}
        public["n"] = encoded(number.to_bytes(256, "big"))
        (directory / "keys.json").write_text(json.dumps({"keys": [public]}), encoding="utf-8")

    def token(self, **claims):
        """A token for `camera-7`, good for five minutes."""
        now = int(time.time())
        said = {"iss": ISSUER, "sub": "camera-7", "aud": "parapet", "iat": now, "exp": now + 300}
        parts = [{"alg": "RS256", "kid": "one", "typ": "JWT"}, {**said, **claims}]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        signature = openssl("dgst", "-sha256", "-sign", self.key, given=signed.encode())
        return f"{signed}.{encoded(signature)}"


def openssl(*arguments, given=None):
    """What the command prints."""
    return subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, timeout=60, check=True
    ).stdout


def encoded(data):
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    """An identity provider."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def plane(issuer, tmp_path_factory):
    """A server that trusts the issuer's keys, with the role that its cameras may assume."""
    keys = issuer.key.with_name("keys.json")
    config = f'[oidc.keys]\n"{ISSUER}" = "{keys}"\n'
    started = start_server(tmp_path_factory.mktemp("federated"), config)
    iam = boto(started, "iam")
    provider = iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["parapet"])
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider["OpenIDConnectProviderArn"]},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {"login.example.org/realm:sub": "camera-7"}},
    }
    listing = {"Effect": "Allow", "Action": "panorama:ListDevices", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(RoleName="camera", AssumeRolePolicyDocument=json.dumps(document))
    document["Statement"] = [listing]
    iam.put_role_policy(RoleName="camera", PolicyName="own", PolicyDocument=json.dumps(document))
    yield started
    stop_process(started.process)


def assume(plane, token):
    """Asks without a signature."""
    account = boto(plane, "sts").get_caller_identity()["Account"]
    unsigned = boto(plane, "sts", signature=UNSIGNED)
    return unsigned.assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{account}:role/camera",
        RoleSessionName="camera-7",
        WebIdentityToken=token,
    )


def test_a_token_of_the_issuer_opens_a_session(plane, issuer):
    answer = assume(plane, issuer.token())
    assert answer["SubjectFromWebIdentityToken"] == "camera-7"
    assert answer["Audience"] == "parapet"
    found = answer["Credentials"]
    key = (found["AccessKeyId"], found["SecretAccessKey"])
    token = found["SessionToken"]
    who = boto(plane, "sts", key, token).get_caller_identity()["Arn"]
    assert who.endswith(":assumed-role/camera/camera-7")
    assert boto(plane, "panorama", key, token).list_devices()["Devices"] == []
    with pytest.raises(ClientError) as refused:
        boto(plane, "panorama", key, token).list_packages()
    assert code(refused) == "AccessDeniedException"


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"sub": "camera-8"}, "AccessDenied"),
        ({"aud": "somebody-else"}, "InvalidIdentityToken"),
        ({"iss": "https://login.example.com/other"}, "InvalidIdentityToken"),
        ({"exp": 1_700_000_000}, "ExpiredTokenException"),
    ],
)
def test_a_token_for_others_opens_nothing(plane, issuer, claims, told):
    with pytest.raises(ClientError) as refused:
        assume(plane, issuer.token(**claims))
    assert code(refused) == told


def test_a_token_that_somebody_else_signed_opens_nothing(plane, tmp_path):
    with pytest.raises(ClientError) as refused:
        assume(plane, Issuer(tmp_path).token())
    assert code(refused) == "InvalidIdentityToken"
