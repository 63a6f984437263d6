"""Makes AWS's own clients for a server: boto3's, and the `aws` command."""

import configparser
import json
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.config import Config

REGION = "us-west-2"


def first_key(server):
    """ID and secret of the first user's key."""
    file = configparser.ConfigParser()
    file.read(server.admin / "credentials")
    found = file["default"]
    return found["aws_access_key_id"], found["aws_secret_access_key"]


def boto(server, service, key=None, token=None, retries="standard", signature=None):
    """One as the first user, or with a key (ID and secret), or with a session's key and token."""
    key = key or first_key(server)
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=server.url,
        verify=str(server.ca),
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
        config=Config(retries={"mode": retries, "max_attempts": 5}, signature_version=signature),
    )


def aws_command(server, *arguments, **environment):
    """Runs `aws` with the files that the server wrote; its JSON, if it prints any."""
    done = subprocess.run(
        [Path(sys.executable).with_name("aws"), *arguments],
        env={**server.environment(), "AWS_PAGER": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def code(refused):
    """The code of an error that boto3 raised."""
    return refused.value.response["Error"]["Code"]
