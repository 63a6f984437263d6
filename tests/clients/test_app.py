"""`parapet app`: what is decided about an application, from the command line to the server."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from aws_tools import REGION, first_key
from control_plane import TARGET
from installation import Operator

STRICT = {"Egress": {"Hosts": [], "Learn": False}, "Emulate": False, "Limits": {}, "Ports": []}


@pytest.fixture(scope="module")
def operator(server):
    """Whoever deploys what is decided about here."""
    built = Operator(server)
    built.package("decided", {"main.py": "import time; time.sleep(10_000)"})
    built.known, _ = built.device("decided")
    yield built
    # Others look for devices and packages of their own on this server.
    built.panorama.delete_device(DeviceId=built.known)
    package = built.panorama.describe_package(PackageId="packageName/decided")["PackageId"]
    built.panorama.delete_package(PackageId=package, ForceDelete=True)


@pytest.fixture
def application(operator, request):
    """The name of an application that opens port 8080, and its ID."""
    name = request.node.name.replace("_", "-")[-40:].lstrip("-")
    yield name, (made := operator.deploy(name, operator.known, "decided", ports=[8080]))
    operator.remove(made)


@pytest.fixture
def app(server):
    """Runs `parapet app`: exit code, its JSON, what it said on standard error."""

    def call(*words, **environment):
        done = subprocess.run(
            [TARGET / "debug" / "parapet", "app", *words, "--output", "json"],
            env={**server.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return call


def decided(answer):
    """What is decided after a change that was made."""
    code, known, said = answer
    assert code == 0, said
    return known["Confinement"]


def put(server, instance, confinement, revision, key=None):
    """`PutInstanceConfinement` as somebody makes it who looked at this revision."""
    url = f"{server.url}/parapet/confinements/{instance}"
    body = json.dumps({"Confinement": confinement, "Revision": revision}).encode()
    request = AWSRequest("PUT", url, data=body, headers={"content-type": "application/json"})
    key = key or first_key(server)
    SigV4Auth(Credentials(*key), "parapet", REGION).add_auth(request)
    answer = URLLib3Session(verify=str(server.ca)).send(request.prepare())
    return answer.status_code, json.loads(answer.text)


def test_limits_hosts_ports_and_switches_are_decided_one_by_one(app, application, server):
    name, instance = application
    code, listed, said = app("list")
    assert code == 0, said
    found = [it for it in listed["ApplicationInstances"] if it["Name"] == name]
    assert [it["HostPort"] for it in found[0]["OpenPorts"]] == [8080]

    limits = decided(app("limit", name, "--memory", "2GiB", "--cpus", "1.5", "--storage", "1GB"))
    assert limits["Limits"] == {
        "MemoryBytes": 2 << 30,
        "CpuMillis": 1500,
        "StorageBytes": 1_000_000_000,
    }
    assert decided(app("limit", instance, "--memory", "default"))["Limits"] == {
        "CpuMillis": 1500,
        "StorageBytes": 1_000_000_000,
    }
    decided(app("egress", "allow", name, "s3.example:443", "*.iot.example:8883", "S3.example.:443"))
    hosts = decided(app("egress", "deny", name, "*.iot.example:8883"))["Egress"]
    assert hosts == {"Hosts": ["s3.example:443"], "Learn": False}
    assert decided(app("egress", "learn", name, "on"))["Egress"]["Learn"] is True

    ranges = ["--source", "10.1.0.0/16", "--source", "10.2.3.4"]
    ports = decided(app("port", name, "8080", *ranges, "--client-ca", str(server.ca)))["Ports"]
    assert [port["HostPort"] for port in ports] == [8080]
    assert ports[0]["Sources"] == ["10.1.0.0/16", "10.2.3.4/32"]
    assert "BEGIN CERTIFICATE" in ports[0]["Tls"]["ClientAuthorities"]
    ports = decided(app("port", name, "8080", "--anybody", "--no-tls"))["Ports"]
    assert ports[0]["Sources"] == [] and not ports[0].get("Tls")
    assert decided(app("emulate", name, "on"))["Emulate"] is True

    code, known, said = app("confinement", name)
    assert code == 0, said
    # Each change kept what the others had decided.
    assert known["Revision"] == 8
    assert known["Confinement"]["Limits"]["CpuMillis"] == 1500
    assert known["Confinement"]["Egress"] == {"Hosts": ["s3.example:443"], "Learn": True}
    assert known["Confinement"]["Emulate"] is True


def test_what_cannot_be_decided_is_refused_with_the_reason_and_changes_nothing(app, application):
    name, _ = application
    refusals = [
        (["egress", "allow", name, "169.254.169.254:80"], "169.254.169.254"),
        (["egress", "allow", name, "localhost:443"], "localhost"),
        (["egress", "allow", name, "127.0.0.1:443"], "127.0.0.1"),
        (["egress", "allow", name, "s3.example"], "s3.example"),
        (["port", name, "8081", "--anybody"], "8081"),
        (["limit", name, "--cpus", "0"], "0"),
        (["limit", name], "--memory"),
        (["egress", "allow", "nobody", "s3.example:443"], "parapet app list"),
    ]
    for words, reason in refusals:
        code, _, said = app(*words)
        assert code != 0 and reason in said, (words, said)
    _, known, _ = app("confinement", name)
    assert known["Revision"] == 0 and known["Confinement"]["Egress"]["Hosts"] == []


def test_an_old_view_decides_nothing_and_the_command_looks_again(app, application, server):
    name, instance = application
    decided(app("egress", "allow", name, "first.example:443"))
    # Made from revision 0, when nobody was allowed.
    status, refused = put(server, instance, STRICT, 0)
    assert status == 409 and "revision 1" in refused["Message"], refused
    # Each of four people makes a change from what is there, all at a time.
    hosts = [f"host-{number}.example:443" for number in range(4)]
    with ThreadPoolExecutor(len(hosts)) as people:
        for answer in people.map(lambda host: app("egress", "allow", name, host), hosts):
            decided(answer)
    _, known, _ = app("confinement", name)
    assert set(known["Confinement"]["Egress"]["Hosts"]) == {"first.example:443", *hosts}
    assert known["Revision"] == 5
    status, _ = put(server, instance, STRICT, 5)
    assert status == 200


def test_who_may_look_is_told_that_they_may_not_decide(app, application, user, iam, server):
    instance = application[1]
    who, key = user
    iam.attach_user_policy(UserName=who, PolicyArn="arn:aws:iam::aws:policy/ParapetReadOnlyAccess")
    theirs = {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1]}
    code, known, said = app("confinement", instance, **theirs)
    assert code == 0 and known["Revision"] == 0, said
    code, _, said = app("egress", "allow", instance, "s3.example:443", **theirs)
    assert code == 1 and "403" in said and "parapet:PutInstanceConfinement" in said
    _, known, _ = app("confinement", instance)
    assert known["Revision"] == 0


def overview(server, key):
    """What the console's page is told for a user: by the link that `parapet console` prints."""
    url = f"{server.url}/parapet/console-sessions"
    request = AWSRequest("POST", url, data=b"{}", headers={"content-type": "application/json"})
    SigV4Auth(Credentials(*key), "parapet", REGION).add_auth(request)
    browser = URLLib3Session(verify=str(server.ca))
    link = json.loads(browser.send(request.prepare()).text)["Url"]
    cookie = browser.send(AWSRequest("GET", link).prepare()).headers["set-cookie"].split(";")[0]

    def ask(method, path, body=b""):
        headers = {"cookie": cookie, "content-type": "application/json", "origin": server.url}
        asked = AWSRequest(method, server.url + path, data=body, headers=headers)
        # On a connection of its own: the server ends one whose request it refused unread.
        answer = URLLib3Session(verify=str(server.ca)).send(asked.prepare())
        return answer.status_code, answer.text

    return ask


def test_the_console_shows_a_confinement_to_who_may_look_and_changes_none(
    app, application, user, iam, server
):
    name, instance = application
    decided(app("egress", "allow", name, "s3.example:443"))
    who, key = user
    actions = ["panorama:ListDevices", "parapet:CreateConsoleSession"]

    def allow(*more):
        document = {"Effect": "Allow", "Action": [*actions, *more], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [document]})
        iam.put_user_policy(UserName=who, PolicyName="own", PolicyDocument=policy)

    def shown(ask):
        status, text = ask("GET", "/console/api/overview")
        assert status == 200, text
        instances = [it for device in json.loads(text)["devices"] for it in device["instances"]]
        return next(it for it in instances if it["id"] == instance)["applications"]

    allow()
    ask = overview(server, key)
    assert shown(ask) == []
    allow("parapet:GetInstanceConfinement")
    assert [it["hosts"] for it in shown(ask)] == [["s3.example:443"]]
    # Who may decide decides by the signed API: a browser's session is no signature, and the
    # console has no address for it.
    allow("parapet:*")
    decision = json.dumps({"Confinement": STRICT}).encode()
    assert ask("PUT", f"/parapet/confinements/{instance}", decision)[0] == 403
    assert ask("PUT", f"/console/api/confinements/{instance}", decision)[0] == 403
    _, known, _ = app("confinement", name)
    assert known["Revision"] == 1


def test_each_decision_and_each_refusal_is_in_the_audit_trail(app, application, user, server):
    name, instance = application
    decided(app("egress", "allow", name, "s3.example:443"))
    put(server, instance, STRICT, 0)
    status, _ = put(server, instance, STRICT, 1, user[1])
    assert status == 403
    status, _ = put(server, instance, {"Egress": {"Hosts": ["localhost:443"]}}, 1)
    assert status == 400

    search = ["audit", "search", "--action", "parapet:PutInstanceConfinement"]
    done = subprocess.run(
        [TARGET / "debug" / "parapet", *search, "--resource", instance, "--output", "json"],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line)["record"] for line in done.stdout.splitlines()]
    told = [(it["userIdentity"].get("userName"), it.get("errorCode")) for it in records]
    assert told == [
        ("admin", "ValidationException"),
        (user[0], "AccessDeniedException"),
        ("admin", "ConflictException"),
        ("admin", None),
    ], told
    made = records[-1]
    assert "s3.example:443" in json.dumps(made["requestParameters"]), made
    assert made["resources"][0]["ARN"].endswith(instance), made
