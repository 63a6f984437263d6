"""AWS's own clients against a running server: boto3 and the `aws` command."""

import configparser
import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

REGION = "us-west-2"


@pytest.fixture(scope="session")
def client(server):
    """Makes clients: `client("iam")` as the first user, `client("iam", key)` with a key."""

    def make(service, key=None, token=None):
        if key is None:
            file = configparser.ConfigParser()
            file.read(server.admin / "credentials")
            found = file["default"]
            key = (found["aws_access_key_id"], found["aws_secret_access_key"])
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=server.url,
            verify=str(server.ca),
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
            aws_session_token=token,
            config=Config(retries={"mode": "standard", "max_attempts": 5}),
        )

    return make


@pytest.fixture(scope="session")
def iam(client):
    """IAM as the first user."""
    return client("iam")


@pytest.fixture
def user(iam, request):
    """A new user with a key, named after the test; taken away with all that hangs on it."""
    name = request.node.name[:60]
    iam.create_user(UserName=name)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    yield name, (made["AccessKeyId"], made["SecretAccessKey"])
    for group in iam.list_groups_for_user(UserName=name)["Groups"]:
        iam.remove_user_from_group(UserName=name, GroupName=group["GroupName"])
    for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
        iam.detach_user_policy(UserName=name, PolicyArn=policy["PolicyArn"])
    for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
        iam.delete_user_policy(UserName=name, PolicyName=policy)
    for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=name)


@pytest.fixture(scope="session")
def aws(server):
    """Runs the `aws` command with the files that the server wrote; its JSON, if it prints any."""

    def run(*arguments):
        done = subprocess.run(
            [Path(sys.executable).with_name("aws"), *arguments],
            env={**server.environment(), "AWS_PAGER": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run
