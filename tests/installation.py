"""What an operator does to an installation, by boto3: devices, cameras, packages, applications."""

import gzip
import hashlib
import io
import json
import tarfile
import time

from aws_tools import boto

STEP_LIMIT_S = 60.0


def asset(files):
    """A `tar.gz` of texts below `panorama/`; the same files are the same asset."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"panorama/{name}")
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


class Operator:
    """The first user of a server."""

    def __init__(self, server):
        self.panorama = boto(server, "panorama")
        described = "before-parse.panorama.DescribeDevice"
        self.panorama.meta.events.register(described, _keep_separation)
        self.s3 = boto(server, "s3")
        self.account = boto(server, "sts").get_caller_identity()["Account"]

    def device(self, name):
        """A new device: its ID, and the archive that an appliance enrols with, once."""
        made = self.panorama.provision_device(Name=name)
        return made["DeviceId"], made["Certificates"]

    def describe_device(self, device):
        """`DescribeDevice`."""
        return self.panorama.describe_device(DeviceId=device)

    def camera(self, name, url, login=None):
        """A camera, named as its package and its node."""
        parameters = {"StreamUrl": url}
        if login:
            parameters["Username"], parameters["Password"] = login
        job = self.panorama.create_node_from_template_job(
            TemplateType="RTSP_CAMERA_STREAM",
            OutputPackageName=name,
            OutputPackageVersion="1.0",
            NodeName=name,
            TemplateParameters=parameters,
        )["JobId"]
        _wait(
            f"camera {name}",
            lambda: self.panorama.describe_node_from_template_job(JobId=job)["Status"],
            "SUCCEEDED",
        )

    def package(self, name, files, inputs=()):
        """A code package, version 1.0, that runs `main.py` of these files."""
        entry = {"path": "python3", "name": "/panorama/main.py"}
        descriptor = {"runtimeDescriptor": {"envelopeVersion": "2021-01-01", "entry": entry}}
        archive, descriptor = asset(files), json.dumps(descriptor).encode()
        names = f"{_sha256(archive)}.tar.gz", f"{_sha256(descriptor)}.json"
        manifest = {
            "envelopeVersion": "2021-01-01",
            "name": name,
            "version": "1.0",
            "description": "made by a test",
            "assets": [
                {
                    "name": "asset",
                    "implementations": [
                        {"type": "container", "assetUri": names[0], "descriptorUri": names[1]}
                    ],
                }
            ],
            "interfaces": [
                {
                    "name": "interface",
                    "category": "business_logic",
                    "asset": "asset",
                    "inputs": [{"name": one, "type": "media"} for one in inputs],
                    "outputs": [],
                }
            ],
        }
        manifest = json.dumps({"nodePackage": manifest}).encode()
        patch = _sha256(manifest)
        made = self.panorama.create_package(PackageName=name)
        place, package = made["StorageLocation"], made["PackageId"]
        for key, body in (
            (f"{place['BinaryPrefixLocation']}/{names[0]}", archive),
            (f"{place['BinaryPrefixLocation']}/{names[1]}", descriptor),
            (f"{place['ManifestPrefixLocation']}/1.0/{patch}.json", manifest),
        ):
            self.s3.put_object(Bucket=place["Bucket"], Key=key, Body=body)
        version = {"PackageId": package, "PackageVersion": "1.0", "PatchVersion": patch}
        self.panorama.register_package_version(**version, MarkLatest=True)
        _wait(
            f"package {name}",
            lambda: self.panorama.describe_package_version(**version)["Status"],
            "REGISTER_COMPLETED",
        )

    def deploy(self, name, device, code, cameras=(), ports=()):
        """An application of a code package, which sees these cameras at `video_in` and opens these
        ports of the appliance (each its own inside); the instance's ID."""
        packages = [code, *cameras]
        nodes = [{"name": "code", "interface": f"{self.account}::{code}.interface"}]
        nodes += [{"name": it, "interface": f"{self.account}::{it}.{it}"} for it in cameras]
        graph = {
            "envelopeVersion": "2021-01-01",
            "packages": [{"name": f"{self.account}::{it}", "version": "1.0"} for it in packages],
            "nodes": nodes,
            "edges": [
                {"producer": f"{it}.video_out", "consumer": "code.video_in"} for it in cameras
            ],
        }
        rules = [{"node": "code", "containerPort": port, "hostPort": port} for port in ports]
        asked = {
            "Name": name,
            "DefaultRuntimeContextDevice": device,
            "ManifestPayload": {"PayloadData": json.dumps({"nodeGraph": graph})},
        }
        if rules:
            overrides = {"envelopeVersion": "2021-01-01", "networkRoutingRules": rules}
            asked["ManifestOverridesPayload"] = {
                "PayloadData": json.dumps({"nodeGraphOverrides": overrides})
            }
        made = self.panorama.create_application_instance(**asked)
        return made["ApplicationInstanceId"]

    def remove(self, instance):
        """Takes an application away, as soon as its device says that it has deployed it."""
        deadline = time.monotonic() + STEP_LIMIT_S
        while True:
            try:
                self.panorama.remove_application_instance(ApplicationInstanceId=instance)
                return
            except self.panorama.exceptions.ConflictException:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


def _keep_separation(response_dict, customized_response_dict, **_):
    """What boto3's model of a device does not have."""
    answer = json.loads(response_dict["body"])
    kept = ("NetworkSeparation", "NetworkSeparationMissing")
    customized_response_dict.update({name: answer[name] for name in kept if name in answer})


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _wait(what, state, wanted):
    deadline = time.monotonic() + STEP_LIMIT_S
    while (now := state()) != wanted:
        assert now != "FAILED" and time.monotonic() < deadline, f"{what} is {now}"
        time.sleep(0.05)
