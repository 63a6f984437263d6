"""IAM through boto3 and through the `aws` command: users, groups, roles, policies, keys."""

import json

import pytest
from botocore.exceptions import ClientError

from aws_tools import code

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
LIST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "panorama:List*", "Resource": "*"}],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "panorama.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def test_the_first_user_is_admin_by_a_policy_that_can_be_seen(iam):
    assert iam.get_user()["User"]["UserName"] == "admin"
    attached = iam.list_attached_user_policies(UserName="admin")["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in attached] == [ADMINISTRATOR]


def test_a_new_user_may_nothing_until_a_policy_says_so_and_then_at_once(iam, client, user):
    name, key = user
    panorama = client("panorama", key)
    with pytest.raises(ClientError) as refused:
        panorama.list_devices()
    assert code(refused) == "AccessDeniedException"
    iam.put_user_policy(UserName=name, PolicyName="list", PolicyDocument=json.dumps(LIST))
    assert panorama.list_devices()["Devices"] == []
    # boto3 decodes the document again.
    stored = iam.get_user_policy(UserName=name, PolicyName="list")["PolicyDocument"]
    assert stored == LIST
    iam.delete_user_policy(UserName=name, PolicyName="list")
    with pytest.raises(ClientError) as refused:
        panorama.list_devices()
    assert code(refused) == "AccessDeniedException"


def test_an_inactive_key_is_no_key(iam, client, user):
    name, key = user
    iam.attach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR)
    panorama = client("panorama", key)
    panorama.list_devices()
    used = iam.get_access_key_last_used(AccessKeyId=key[0])
    assert used["UserName"] == name
    assert used["AccessKeyLastUsed"]["ServiceName"] == "panorama"
    iam.update_access_key(UserName=name, AccessKeyId=key[0], Status="Inactive")
    with pytest.raises(ClientError) as refused:
        panorama.list_devices()
    assert code(refused) == "UnrecognizedClientException"
    iam.update_access_key(UserName=name, AccessKeyId=key[0], Status="Active")
    panorama.list_devices()
    iam.create_access_key(UserName=name)
    with pytest.raises(iam.exceptions.LimitExceededException):
        iam.create_access_key(UserName=name)


def test_a_boundary_bounds_an_administrator(iam, client, user):
    name, key = user
    iam.attach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR)
    made = iam.create_policy(PolicyName="bound", PolicyDocument=json.dumps(LIST))["Policy"]
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=made["Arn"])
    client("panorama", key).list_devices()
    with pytest.raises(ClientError) as refused:
        client("iam", key).create_user(UserName="free")
    assert code(refused) == "AccessDenied"
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_policy(PolicyArn=made["Arn"])
    iam.delete_user_permissions_boundary(UserName=name)
    iam.delete_policy(PolicyArn=made["Arn"])


def test_a_group_gives_its_members_what_it_may(iam, client, user):
    name, key = user
    iam.create_group(GroupName="viewers", Path="/team/")
    iam.put_group_policy(GroupName="viewers", PolicyName="list", PolicyDocument=json.dumps(LIST))
    iam.add_user_to_group(GroupName="viewers", UserName=name)
    client("panorama", key).list_devices()
    assert [it["UserName"] for it in iam.get_group(GroupName="viewers")["Users"]] == [name]
    iam.remove_user_from_group(GroupName="viewers", UserName=name)
    iam.delete_group_policy(GroupName="viewers", PolicyName="list")
    iam.delete_group(GroupName="viewers")


def test_versions_of_a_policy_are_made_chosen_and_deleted(iam):
    arn = iam.create_policy(PolicyName="versioned", PolicyDocument=json.dumps(LIST))["Policy"][
        "Arn"
    ]
    other = json.dumps(LIST).replace("List*", "Describe*")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=other, SetAsDefault=True)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(it["VersionId"], it["IsDefaultVersion"]) for it in versions] == [
        ("v2", True),
        ("v1", False),
    ]
    document = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"]
    assert document == json.loads(other)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_policy(PolicyArn=arn)


def test_paginators_see_everything_once(iam):
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        iam.create_user(UserName=name, Path="/pages/")
    pages = iam.get_paginator("list_users").paginate(
        PathPrefix="/pages/", PaginationConfig={"PageSize": 2}
    )
    assert [it["UserName"] for page in pages for it in page["Users"]] == names
    policies = iam.get_paginator("list_policies").paginate(
        Scope="AWS", PaginationConfig={"PageSize": 3}
    )
    found = [it["PolicyName"] for page in policies for it in page["Policies"]]
    assert len(found) == len(set(found)) and "AWSPanoramaFullAccess" in found
    for name in names:
        iam.delete_user(UserName=name)


def test_errors_are_those_that_boto3_names(iam):
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_user(UserName="nobody")
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName="ADMIN")
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_policy(PolicyName="bad", PolicyDocument="{}")
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_user(UserName="admin")
    with pytest.raises(ClientError) as refused:
        iam.create_user(UserName="*")
    assert code(refused) == "ValidationError"


def test_the_simulator_answers_as_the_engine_decides(iam):
    told = iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(LIST)],
        ActionNames=["panorama:ListDevices", "panorama:DeleteDevice"],
    )["EvaluationResults"]
    assert [it["EvalDecision"] for it in told] == ["allowed", "implicitDeny"]
    arn = iam.get_user()["User"]["Arn"]
    told = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=["panorama:DeleteDevice"]
    )["EvaluationResults"]
    assert told[0]["EvalDecision"] == "allowed"


def test_a_second_factor_is_made_and_its_seed_told_once(iam):
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
    # 160 bits are 32 characters.
    assert len(made["Base32StringSeed"]) == 32
    listed = iam.list_virtual_mfa_devices(AssignmentStatus="Unassigned")["VirtualMFADevices"]
    assert [set(it) for it in listed] == [{"SerialNumber"}]
    iam.delete_virtual_mfa_device(SerialNumber=made["SerialNumber"])


def test_the_aws_command_manages_roles(aws):
    made = aws(
        *["iam", "create-role", "--role-name", "app", "--path", "/service-role/"],
        *["--assume-role-policy-document", json.dumps(TRUST)],
        *["--tags", "Key=site,Value=north"],
    )["Role"]
    assert made["AssumeRolePolicyDocument"] == TRUST
    assert made["Tags"] == [{"Key": "site", "Value": "north"}]
    aws("iam", "attach-role-policy", "--role-name", "app", "--policy-arn", ADMINISTRATOR)
    entities = aws("iam", "list-entities-for-policy", "--policy-arn", ADMINISTRATOR)
    assert [it["RoleName"] for it in entities["PolicyRoles"]] == ["app"]
    aws("iam", "detach-role-policy", "--role-name", "app", "--policy-arn", ADMINISTRATOR)
    aws("iam", "tag-role", "--role-name", "app", "--tags", "Key=team,Value=red")
    tags = aws("iam", "list-role-tags", "--role-name", "app")["Tags"]
    assert {it["Key"]: it["Value"] for it in tags} == {"site": "north", "team": "red"}
    aws("iam", "delete-role", "--role-name", "app")
    assert aws("iam", "list-roles", "--path-prefix", "/service-role/")["Roles"] == []


def test_the_aws_command_manages_users_and_keys(aws):
    aws("iam", "create-user", "--user-name", "cli")
    key = aws("iam", "create-access-key", "--user-name", "cli")["AccessKey"]
    assert len(key["SecretAccessKey"]) == 40
    listed = aws("iam", "list-access-keys", "--user-name", "cli")["AccessKeyMetadata"]
    assert [it["AccessKeyId"] for it in listed] == [key["AccessKeyId"]]
    aws("iam", "delete-access-key", "--user-name", "cli", "--access-key-id", key["AccessKeyId"])
    aws("iam", "delete-user", "--user-name", "cli")
    summary = aws("iam", "get-account-summary")["SummaryMap"]
    assert summary["AccessKeysPerUserQuota"] == 2
    details = aws("iam", "get-account-authorization-details", "--filter", "User")
    assert "admin" in [it["UserName"] for it in details["UserDetailList"]]


def test_provisioning_a_device_makes_the_role_of_panorama(iam, client):
    panorama = client("panorama")
    device = panorama.provision_device(Name="first")["DeviceId"]
    role = iam.get_role(RoleName="AWSServiceRoleForAWSPanorama")["Role"]
    assert role["Path"] == "/aws-service-role/panorama.amazonaws.com/"
    with pytest.raises(iam.exceptions.UnmodifiableEntityException):
        iam.delete_role(RoleName=role["RoleName"])
    task = iam.delete_service_linked_role(RoleName=role["RoleName"])["DeletionTaskId"]
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "FAILED"
    panorama.delete_device(DeviceId=device)
