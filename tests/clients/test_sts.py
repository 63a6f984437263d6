"""Temporary credentials through boto3 and the `aws` command: sessions of users and of roles."""

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import subprocess
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from aws_tools import REGION, aws_command, boto, code, first_key
from control_plane import TARGET

FULL_ACCESS = "arn:aws:iam::aws:policy/AWSPanoramaFullAccess"


def statement(**members):
    """A policy of one statement that allows."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **members}]})


def allow(*actions):
    """A policy that allows these actions on everything."""
    return statement(Action=actions, Resource="*")


@pytest.fixture(scope="session")
def account(client):
    """The server's account."""
    return client("sts").get_caller_identity()["Account"]


@pytest.fixture
def role(iam, account, request):
    """Makes roles whom the account's users may assume, and takes them away again."""
    made = []

    def make(policy=None, arn=None, name=None, **trust):
        name = f"{request.node.name[:50]}-{name or len(made)}"
        members = {"Principal": {"AWS": account}, "Action": "sts:AssumeRole", **trust}
        created = iam.create_role(RoleName=name, AssumeRolePolicyDocument=statement(**members))
        made.append(name)
        if policy is not None:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
        if arn is not None:
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        return created["Role"]["Arn"]

    yield make
    for name in made:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)


def opened(answer):
    """Key and token of an answer, as `client` takes them."""
    found = answer["Credentials"]
    return (found["AccessKeyId"], found["SecretAccessKey"]), found["SessionToken"]


def one_time_code(seed, step):
    """What a device with this seed shows in a step of 30 seconds (RFC 6238)."""
    digest = hmac.digest(base64.b32decode(seed), step.to_bytes(8, "big"), hashlib.sha1)
    at = digest[-1] & 0xF
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def revoke(server, kind, name):
    """Voids the sessions of a user or a role that were issued until now."""
    path = f"/parapet/revoke-sessions/{kind}/{name}"
    request = AWSRequest("POST", server.url + path, data=b"")
    SigV4Auth(Credentials(*first_key(server)), "parapet", REGION).add_auth(request)
    context = ssl.create_default_context(cafile=server.ca)
    connection = http.client.HTTPSConnection(*server.api, timeout=30, context=context)
    connection.request("POST", path, b"", dict(request.headers.items()))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def refused_within_a_second(call):
    """The code that a call is refused with, soon."""
    start = time.monotonic()
    while time.monotonic() < start + 1.0:
        try:
            call()
        except ClientError as error:
            return error.response["Error"]["Code"]
    pytest.fail("still allowed after a second")


def test_everybody_may_ask_who_they_are(client, user, account, aws):
    name, key = user
    who = client("sts", key).get_caller_identity()
    assert who["Arn"] == f"arn:aws:iam::{account}:user/{name}"
    assert who["UserId"].startswith("AIDA")
    assert aws("sts", "get-caller-identity")["Arn"] == f"arn:aws:iam::{account}:user/admin"


def test_a_users_session_can_what_the_user_can_but_iam_needs_a_second_factor(client, aws):
    key, token = opened(client("sts").get_session_token(DurationSeconds=900))
    assert key[0].startswith("ASIA")
    assert client("sts", key, token).get_caller_identity()["Arn"].endswith(":user/admin")
    client("panorama", key, token).list_devices()
    with pytest.raises(ClientError) as refused:
        client("iam", key, token).list_users()
    assert code(refused) == "AccessDenied"
    with pytest.raises(ClientError) as refused:
        client("sts", key, token).get_session_token()
    assert code(refused) == "AccessDenied"
    found = aws("sts", "get-session-token")["Credentials"]
    assert found["AccessKeyId"].startswith("ASIA")


def test_a_second_factor_opens_iam_and_its_code_counts_once(iam, client, user):
    name, key = user
    guarded = json.loads(allow("iam:ListUsers"))
    guarded["Statement"][0]["Condition"] = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(guarded))
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], made["Base32StringSeed"]
    step = int(time.time()) // 30
    iam.enable_mfa_device(
        UserName=name,
        SerialNumber=serial,
        AuthenticationCode1=one_time_code(seed, step - 1),
        AuthenticationCode2=one_time_code(seed, step),
    )
    try:
        sts = client("sts", key)
        with pytest.raises(ClientError) as refused:
            client("iam", key).list_users()
        assert code(refused) == "AccessDenied", "a long-term key proves no second factor"

        # One step early is accepted; the codes that enabled the device are used up.
        following = {"SerialNumber": serial, "TokenCode": one_time_code(seed, step + 1)}
        wrong = {"SerialNumber": serial, "TokenCode": one_time_code(seed, step)}
        with pytest.raises(ClientError) as refused:
            sts.get_session_token(**wrong)
        assert code(refused) == "AccessDenied"
        session, token = opened(sts.get_session_token(**following))
        assert client("iam", session, token).list_users()["Users"]
        with pytest.raises(ClientError) as refused:
            sts.get_session_token(**following)
        assert code(refused) == "AccessDenied"
    finally:
        iam.deactivate_mfa_device(UserName=name, SerialNumber=serial)
        iam.delete_virtual_mfa_device(SerialNumber=serial)


def test_a_role_asks_for_the_external_id_that_its_trust_names(client, role):
    arn = role(Condition={"StringEquals": {"sts:ExternalId": "partner-7"}})
    sts = client("sts")
    ask = {"RoleArn": arn, "RoleSessionName": "one"}
    for more in ({}, {"ExternalId": "partner-8"}):
        with pytest.raises(ClientError) as refused:
            sts.assume_role(**ask, **more)
        assert code(refused) == "AccessDenied"
    answer = sts.assume_role(**ask, ExternalId="partner-7")
    assert answer["AssumedRoleUser"]["Arn"].endswith("/one")


def test_a_trust_that_names_the_user_needs_no_policy_of_the_users(client, role, user, account):
    name, key = user
    ask = {"RoleSessionName": "one"}
    delegating, naming = role(), role(Principal={"AWS": f"arn:aws:iam::{account}:user/{name}"})
    with pytest.raises(ClientError) as refused:
        client("sts", key).assume_role(RoleArn=delegating, **ask)
    assert code(refused) == "AccessDenied"
    client("sts", key).assume_role(RoleArn=naming, **ask)


def test_a_session_policy_narrows_the_role(client, role):
    arn = role(allow("panorama:*"))
    answer = client("sts").assume_role(
        RoleArn=arn, RoleSessionName="narrow", Policy=allow("panorama:ListDevices", "iam:*")
    )
    assert answer["PackedPolicySize"] > 0
    key, token = opened(answer)
    client("panorama", key, token).list_devices()
    with pytest.raises(ClientError) as refused:
        client("panorama", key, token).list_packages()
    assert code(refused) == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        client("iam", key, token).list_users()
    assert code(refused) == "AccessDenied"


def test_tags_of_a_session_decide_and_go_on_through_a_chain(client, role):
    trust = {"Action": ["sts:AssumeRole", "sts:TagSession"]}
    listing = json.loads(allow("panorama:ListDevices"))
    listing["Statement"][0]["Condition"] = {"StringEquals": {"aws:PrincipalTag/team": "doors"}}
    last = role(json.dumps(listing), name="last", **trust)
    middle = role(allow("sts:AssumeRole", "sts:TagSession"), name="middle", **trust)
    sts = client("sts")
    ask = {"RoleSessionName": "one", "RoleArn": middle}
    for tags, outcome in ((["doors"], None), (["gates"], "AccessDeniedException")):
        first = sts.assume_role(
            **ask,
            Tags=[{"Key": "team", "Value": value} for value in tags],
            TransitiveTagKeys=["team"],
        )
        key, token = opened(first)
        chained = client("sts", key, token)
        with pytest.raises(ClientError) as refused:
            chained.assume_role(RoleSessionName="two", RoleArn=last, DurationSeconds=3601)
        assert code(refused) == "ValidationError", "a chained session lives an hour at most"
        key, token = opened(chained.assume_role(RoleSessionName="two", RoleArn=last))
        panorama = client("panorama", key, token)
        if outcome is None:
            panorama.list_devices()
        else:
            with pytest.raises(ClientError) as refused:
                panorama.list_devices()
            assert code(refused) == outcome


def test_a_profile_of_the_aws_command_assumes_a_role(server, role, account, tmp_path):
    arn = role(arn=FULL_ACCESS)
    config = tmp_path / "config"
    written = (server.admin / "config").read_text(encoding="utf-8")
    config.write_text(
        f"{written}\n[profile worker]\nrole_arn = {arn}\nsource_profile = default\n"
        f"role_session_name = cli\nregion = {REGION}\n",
        encoding="utf-8",
    )
    # The command keeps sessions in the home directory.
    mine = {"AWS_CONFIG_FILE": str(config), "HOME": str(tmp_path)}
    who = aws_command(server, "--profile", "worker", "sts", "get-caller-identity", **mine)
    name = arn.rsplit("/", 1)[1]
    assert who["Arn"] == f"arn:aws:sts::{account}:assumed-role/{name}/cli"
    found = aws_command(server, "--profile", "worker", "panorama", "list-devices", **mine)
    assert found["Devices"] == []


def test_a_role_with_full_access_calls_panorama_and_stores_objects(client, role, account):
    key, token = opened(
        client("sts").assume_role(RoleArn=role(arn=FULL_ACCESS), RoleSessionName="work")
    )
    panorama = client("panorama", key, token)
    package = panorama.create_package(PackageName="assumed")
    try:
        place = package["StorageLocation"]
        s3 = client("s3", key, token)
        at = {"Bucket": place["Bucket"], "Key": f"{place['BinaryPrefixLocation']}/binary"}
        body = b"assumed" * 1_000
        s3.put_object(**at, Body=body)
        assert s3.get_object(**at)["Body"].read() == body
        s3.delete_object(**at)
        with pytest.raises(ClientError) as refused:
            client("iam", key, token).list_users()
        assert code(refused) == "AccessDenied"
    finally:
        panorama.delete_package(PackageId=package["PackageId"])


def test_revoked_sessions_are_refused_within_a_second_and_new_ones_are_not(server, client, role):
    arn = role(allow("panorama:*"))
    ask = {"RoleArn": arn, "RoleSessionName": "one"}
    old, token = opened(client("sts").assume_role(**ask))
    client("panorama", old, token).list_devices()
    revoke(server, "roles", arn.rsplit("/", 1)[1])
    refused = refused_within_a_second(client("panorama", old, token).list_devices)
    assert refused == "ExpiredTokenException"
    new, token = opened(client("sts").assume_role(**ask))
    client("panorama", new, token).list_devices()


def test_a_roles_policy_counts_for_its_open_sessions_within_a_second(iam, client, role):
    arn = role(allow("panorama:ListDevices"))
    name = arn.rsplit("/", 1)[1]
    key, token = opened(client("sts").assume_role(RoleArn=arn, RoleSessionName="one"))
    panorama = client("panorama", key, token)
    panorama.list_devices()
    iam.delete_role_policy(RoleName=name, PolicyName="own")
    assert refused_within_a_second(panorama.list_devices) == "AccessDeniedException"


def test_a_deactivated_key_opens_nothing_at_once(iam, client, user):
    name, key = user
    client("sts", key).get_session_token()
    iam.update_access_key(UserName=name, AccessKeyId=key[0], Status="Inactive")
    for call in (client("sts", key).get_session_token, client("panorama", key).list_devices):
        with pytest.raises(ClientError) as refused:
            call()
        assert code(refused) in ("InvalidClientTokenId", "UnrecognizedClientException")


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_the_same_request_twice_in_one_second_succeeds_twice(server, iam, user, mode):
    """The second one is a repetition, `Throttling`; botocore waits and signs anew."""
    name, _ = user
    sts = boto(server, "sts", retries=mode)
    mine = boto(server, "iam", retries=mode)
    document = allow("panorama:ListDevices")
    put = {"UserName": name, "PolicyName": "own", "PolicyDocument": document}
    for write in (sts.get_session_token, lambda: mine.put_user_policy(**put)):
        # Two may fall into two seconds; not so again and again.
        repeated = (write()["ResponseMetadata"]["RetryAttempts"] > 0 for _ in range(5))
        assert any(repeated)


def test_the_trail_tells_who_opened_a_session_and_what_it_did(server, client, role, account):
    arn = role(arn=FULL_ACCESS)
    key, token = opened(
        client("sts").assume_role(RoleArn=arn, RoleSessionName="traced", ExternalId="partner-7")
    )
    client("panorama", key, token).list_devices()

    opening = records(server, "--resource", arn, "--action", "sts:AssumeRole")
    assert len(opening) == 1
    assert opening[0]["userIdentity"]["userName"] == "admin"
    assert opening[0]["responseElements"]["credentials"]["accessKeyId"] == key[0]
    assert token not in json.dumps(opening) and key[1] not in json.dumps(opening)

    (listing,) = records(server, "--principal", key[0])
    assert listing["eventName"] == "ListDevices"
    who = listing["userIdentity"]
    assert who["type"] == "AssumedRole" and who["accessKeyId"] == key[0]
    context = who["sessionContext"]
    assert context["sessionIssuer"]["arn"] == arn
    assert context["attributes"]["mfaAuthenticated"] == "false"
    assert context["openedBy"] == f"arn:aws:iam::{account}:user/admin"


def records(server, *arguments):
    """What `parapet audit search` finds; the last lines are on disk some milliseconds later."""
    command = [TARGET / "debug" / "parapet", "audit", "search", "--data", server.data]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done = subprocess.run(
            [*command, "--output", "json", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        if done.stdout.strip():
            return [json.loads(line)["record"] for line in done.stdout.splitlines()]
    pytest.fail(f"the trail has no record of {arguments}")
