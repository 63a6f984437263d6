"""AWS's own clients against a running server: boto3 and the `aws` command."""

import re

import pytest

from aws_tools import aws_command, boto


@pytest.fixture(scope="session")
def client(server):
    """Makes clients: `client("iam")` as the first user, `client("iam", key)` with a key."""

    def make(service, key=None, token=None):
        return boto(server, service, key, token)

    return make


@pytest.fixture(scope="session")
def iam(client):
    """IAM as the first user."""
    return client("iam")


@pytest.fixture
def user(iam, request):
    """A new user with a key, named after the test; taken away with all that hangs on it."""
    name = re.sub(r"\W", "-", request.node.name)[:60]
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

    def run(*arguments, **environment):
        return aws_command(server, *arguments, **environment)

    return run
