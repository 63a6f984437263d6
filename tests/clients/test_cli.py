"""The operator's command line: `parapet user`, `role`, `policy`, `key` and `server recover`."""

import configparser
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from control_plane import TARGET, start_server, stop_process

READ_ONLY = "arn:aws:iam::aws:policy/ParapetReadOnlyAccess"
LIST = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "Lists", "Effect": "Allow", "Action": "panorama:List*", "Resource": "*"}],
}
NOBODY = 65534
SEEN_LIMIT_S = 10.0


def run(server, *arguments, **environment):
    """Runs `parapet` as the operator of this server would."""
    return subprocess.run(
        [TARGET / "debug" / "parapet", *map(str, arguments)],
        env={**server.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def parapet(server):
    """Runs a verb that must do what it is asked; what it prints."""

    def call(*arguments, **environment):
        done = run(server, *arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture
def in_json(parapet):
    """The same, its JSON."""
    return lambda *arguments: json.loads(parapet(*arguments, "--output", "json"))


def written(directory, name, document):
    """A file with a policy."""
    file = directory / name
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def code(refused):
    """The code of an error."""
    return refused.value.response["Error"]["Code"]


def keys_of(file, profile="default"):
    """Access key and secret of a profile."""
    parser = configparser.ConfigParser()
    parser.read(file)
    found = parser[profile]
    return found["aws_access_key_id"], found["aws_secret_access_key"]


def eventually(check):
    """What a call gives as soon as the server does not refuse it."""
    deadline = time.monotonic() + SEEN_LIMIT_S
    while True:
        try:
            return check()
        except ClientError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"still refused after {SEEN_LIMIT_S} s") from error
            time.sleep(0.1)


def test_a_user_gets_a_key_a_policy_and_loses_both(parapet, in_json, client):
    made = in_json("user", "create", "cli-ann", "--attach", "ParapetReadOnlyAccess", "--tag", "a=b")
    assert made["User"]["Tags"] == [{"Key": "a", "Value": "b"}]
    key = in_json("key", "create", "cli-ann")["AccessKey"]
    panorama = client("panorama", (key["AccessKeyId"], key["SecretAccessKey"]))
    panorama.list_devices()

    shown = in_json("user", "show", "cli-ann")
    assert [it["PolicyArn"] for it in shown["AttachedPolicies"]] == [READ_ONLY]
    assert shown["AccessKeys"][0]["ServiceName"] == "panorama"
    assert key["SecretAccessKey"] not in json.dumps(shown)
    listed = parapet("key", "list")
    assert key["AccessKeyId"] in listed and "cli-ann" in listed
    assert key["SecretAccessKey"] not in listed

    parapet("key", "deactivate", key["AccessKeyId"])
    with pytest.raises(ClientError) as refused:
        panorama.list_devices()
    assert code(refused) == "UnrecognizedClientException"
    parapet("key", "activate", key["AccessKeyId"])
    panorama.list_devices()
    parapet("user", "detach", "cli-ann", READ_ONLY)
    with pytest.raises(ClientError) as refused:
        panorama.list_devices()
    assert code(refused) == "AccessDeniedException"
    parapet("key", "delete", key["AccessKeyId"])
    parapet("user", "delete", "cli-ann")
    assert "cli-ann" not in parapet("user", "list")


def test_a_policy_is_made_tried_changed_and_deleted(parapet, in_json, tmp_path, server):
    file = written(tmp_path, "list.json", LIST)
    parapet("policy", "check", "--file", file)
    made = in_json("policy", "create", "cli-list", "--file", file)["Policy"]
    parapet("user", "create", "cli-bob", "--attach", "cli-list")
    told = parapet("policy", "simulate", "--user", "cli-bob", "--action", "panorama:ListDevices")
    assert "allowed" in told and '"Lists"' in told and "cli-list" in told
    question = ["--user", "cli-bob", "--action", "panorama:DeleteDevice"]
    parapet("policy", "simulate", *question, "--expect", "denied")
    assert run(server, "policy", "simulate", *question, "--expect", "allowed").returncode == 1

    other = json.loads(json.dumps(LIST).replace("List*", "Delete*"))
    parapet("policy", "new-version", "cli-list", "--file", written(tmp_path, "new.json", other))
    parapet("policy", "simulate", *question, "--expect", "allowed")
    parapet("policy", "use-version", made["Arn"], "v1")
    parapet("policy", "simulate", *question, "--expect", "denied")
    shown = in_json("policy", "show", "cli-list")
    assert shown["PolicyVersion"]["Document"] == LIST
    assert [it["VersionId"] for it in shown["Versions"]] == ["v2", "v1"]
    assert shown["Entities"] == [{"Kind": "user", "Name": "cli-bob", "Usage": "attached"}]

    parapet("user", "put-policy", "cli-bob", "own", "--file", file)
    parapet("user", "set-boundary", "cli-bob", "cli-list")
    refused = run(server, "policy", "delete", "cli-list", "--force")
    assert refused.returncode == 1 and "set-boundary cli-bob" in refused.stderr
    parapet("user", "set-boundary", "cli-bob", "--none")
    refused = run(server, "user", "delete", "cli-bob")
    assert refused.returncode == 1 and "DeleteConflict" in refused.stderr
    parapet("policy", "delete", "cli-list", "--force")
    parapet("user", "delete", "cli-bob", "--force")


def test_a_faulty_policy_is_shown_where_it_is_wrong_before_it_is_sent(tmp_path, server):
    faulty = json.loads(json.dumps(LIST).replace("Effect", "Efect"))
    file = written(tmp_path, "faulty.json", faulty)
    refused = run(server, "policy", "create", "faulty", "--file", file)
    assert refused.returncode == 1
    assert "faulty.json" in refused.stderr and "Statement[0].Efect" in refused.stderr
    assert '"Allow"' in refused.stderr


def test_a_user_assumes_a_role_until_its_sessions_are_revoked(parapet, in_json, client, tmp_path):
    parapet("user", "create", "cli-carol")
    key = in_json("key", "create", "cli-carol")["AccessKey"]
    role = in_json(
        *["role", "create", "cli-installer", "--trust-user", "cli-carol"],
        *["--attach", "ParapetReadOnlyAccess", "--max-session-seconds", "7200"],
    )["Role"]
    assert role["MaxSessionDuration"] == 7200
    # The role names her: she needs no policy of her own to assume it.
    sts = client("sts", (key["AccessKeyId"], key["SecretAccessKey"]))
    wanted = {"RoleArn": role["Arn"], "RoleSessionName": "carol"}
    given = sts.assume_role(**wanted)["Credentials"]
    pair = (given["AccessKeyId"], given["SecretAccessKey"])
    panorama = client("panorama", pair, given["SessionToken"])
    panorama.list_devices()

    users = json.loads(json.dumps(LIST).replace("panorama:List*", "iam:ListUsers"))
    users = written(tmp_path, "users.json", users)
    parapet("role", "put-policy", "cli-installer", "users", "--file", users)
    # The command takes temporary credentials from the variables, as the AWS tools do.
    variables = {
        "AWS_ACCESS_KEY_ID": pair[0],
        "AWS_SECRET_ACCESS_KEY": pair[1],
        "AWS_SESSION_TOKEN": given["SessionToken"],
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    assert "cli-carol" in parapet("user", "list", **variables)

    parapet("role", "revoke-sessions", "cli-installer")
    with pytest.raises(ClientError):
        panorama.list_devices()
    trust = written(
        tmp_path,
        "trust.json",
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "panorama.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        },
    )
    parapet("role", "trust", "cli-installer", "--trust", trust)
    with pytest.raises(ClientError) as refused:
        sts.assume_role(**wanted)
    assert code(refused) == "AccessDenied"
    assert "panorama.amazonaws.com" in parapet("role", "show", "cli-installer")
    parapet("role", "delete", "cli-installer", "--force")
    parapet("user", "delete", "cli-carol", "--force")


def test_a_saved_key_is_a_profile_that_the_aws_command_takes(parapet, server, tmp_path):
    parapet("user", "create", "cli-dora", "--attach", "ParapetReadOnlyAccess")
    home = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    create = ["key", "create", "cli-dora", "--data", str(server.data)]
    refused = run(server, *create, "--save", "dora")
    assert refused.returncode == 1 and "anew at each start" in refused.stderr
    printed = parapet(*create, "--save", "dora", **home)
    secret = keys_of(tmp_path / "credentials", "dora")[1]
    assert secret not in printed
    assert stat.S_IMODE((tmp_path / "credentials").stat().st_mode) == 0o600
    environment = {**server.environment(), **home, "AWS_PAGER": ""}
    for name in ["AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"]:
        del environment[name]
    asked = subprocess.run(
        [Path(sys.executable).with_name("aws"), "panorama", "list-devices", "--profile", "dora"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    again = run(server, *create, "--save", "dora", **home)
    assert again.returncode == 1 and "has that profile" in again.stderr
    assert parapet("key", "list", "cli-dora").count("AKIA") == 1
    parapet("user", "delete", "cli-dora", "--force")


def test_a_refusal_names_what_helps(server, tmp_path):
    missing = run(server, "user", "show", "cli-nobody")
    assert missing.returncode == 1 and "NoSuchEntity" in missing.stderr
    missing = run(server, "user", "attach", "admin", "NoSuchPolicy")
    assert "parapet policy list" in missing.stderr
    unknown = {"AWS_ACCESS_KEY_ID": "AKIA" + "A" * 16, "AWS_SECRET_ACCESS_KEY": "s" * 40}
    refused = run(server, "user", "list", **unknown)
    assert "parapet server recover" in refused.stderr
    for verb in ["user", "role", "policy", "key"]:
        assert "Examples:" in run(server, verb, "--help").stdout


@pytest.fixture
def own(tmp_path):
    """A control plane for one test."""
    started = start_server(tmp_path)
    yield started
    stop_process(started.process)


def recover(server, *arguments):
    """Runs `parapet server recover`; its JSON."""
    key = {"PARAPET_MASTER_KEY_FILE": str(server.data.parent / "master.key")}
    done = run(server, "server", "recover", "--data", server.data, *arguments, **key)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def call_iam(server, *arguments):
    """Runs a verb as the first user."""
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until_taken(server):
    """Waits until the running server takes the key in DATA/admin."""
    deadline = time.monotonic() + SEEN_LIMIT_S
    while (done := run(server, "user", "list")).returncode != 0:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)
    return done.stdout


def test_an_admin_without_rights_is_recovered_beside_the_running_server(own):
    credentials = own.admin / "credentials"
    first = keys_of(credentials)
    call_iam(own, "user", "set-boundary", "admin", "ParapetReadOnlyAccess")
    assert "AccessDenied" in run(own, "user", "create", "ann").stderr
    done = recover(own)
    assert done["removed_boundary"] == READ_ONLY and done["other_access_key"] == first[0]
    assert done["removed_access_keys"] == [] and not done["made_user"]
    assert keys_of(credentials)[0] == done["access_key"] != first[0]
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    until_taken(own)
    call_iam(own, "user", "create", "ann")

    call_iam(own, "user", "detach", "admin", "arn:aws:iam::aws:policy/AdministratorAccess")
    again = recover(own)
    assert again["removed_access_keys"] == [first[0]] and again["attached_administrator_access"]
    until_taken(own)
    listed = call_iam(own, "key", "list", "admin")
    assert first[0] not in listed and again["access_key"] in listed

    found = call_iam(own, "audit", "search", "--action", "AdminRecovered", "--output", "json")
    records = [json.loads(line)["record"] for line in found.splitlines()]
    assert [it["requestParameters"]["accessKeyId"] for it in records] == [
        again["access_key"],
        done["access_key"],
    ]
    call_iam(own, "audit", "verify", "--data", own.data)

    last = recover(own, "--end-others")
    assert set(last["removed_access_keys"]) == {done["access_key"], again["access_key"]}
    until_taken(own)
    assert call_iam(own, "key", "list", "admin").count("AKIA") == 1


def test_a_deleted_admin_is_made_anew_and_a_start_keeps_its_new_key(own, tmp_path):
    call_iam(own, "user", "create", "boss", "--attach", "AdministratorAccess")
    home = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    saved = run(own, "key", "create", "boss", "--data", own.data, "--save", "boss", **home)
    assert saved.returncode == 0, saved.stderr
    deleted = run(own, "user", "delete", "admin", "--force", "--profile", "boss", **home)
    assert deleted.returncode == 0, deleted.stderr
    assert "InvalidClientTokenId" in run(own, "user", "list").stderr
    stop_process(own.process)
    done = recover(own)
    assert done["made_user"] and done["attached_administrator_access"]
    second = recover(own)
    started = start_server(tmp_path)
    try:
        assert keys_of(started.admin / "credentials")[0] == second["access_key"]
        assert "admin" in call_iam(started, "user", "list")
    finally:
        stop_process(started.process)


def test_a_recovery_needs_the_right_master_key_and_changes_nothing_without(own, tmp_path):
    before = keys_of(own.admin / "credentials")
    other = tmp_path / "other.key"
    other.write_text("ab" * 32 + "\n", encoding="utf-8")
    other.chmod(0o600)
    arguments = ["server", "recover", "--data", own.data]
    refused = run(own, *arguments, PARAPET_MASTER_KEY_FILE=str(other))
    assert refused.returncode == 1 and "is this the right master key" in refused.stderr
    assert keys_of(own.admin / "credentials") == before
    assert call_iam(own, "key", "list", "admin").count("AKIA") == 1
    refused = run(own, "server", "recover", "--data", tmp_path / "nowhere")
    assert refused.returncode == 1 and "data directory" in refused.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_root_recovers_as_the_owner_of_the_directory():
    # Not pytest's directory: others cannot enter that.
    directory = Path(tempfile.mkdtemp(prefix="parapet-recover-"))
    try:
        server = start_server(directory)
        stop_process(server.process)
        for path in [directory, *directory.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        target = directory / "of-root"
        target.write_text("root's", encoding="utf-8")
        target.chmod(0o600)
        # What whoever took the server over might leave for root.
        (server.admin / "credentials.new").symlink_to(target)
        refused = run(
            server,
            *["server", "recover", "--data", server.data],
            PARAPET_MASTER_KEY_FILE=str(directory / "master.key"),
        )
        assert refused.returncode == 1, refused.stdout
        assert target.read_text(encoding="utf-8") == "root's"
        (server.admin / "credentials.new").unlink()
        done = recover(server)
        assert keys_of(server.admin / "credentials")[0] == done["access_key"]
        owners = {path.stat().st_uid for path in server.data.rglob("*")}
        assert owners == {NOBODY}
    finally:
        shutil.rmtree(directory)
