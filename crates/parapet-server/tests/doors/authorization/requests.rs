//! A well-formed request for every operation: what it names need not be there.

use parapet_api::Operation;
use parapet_server::{parapet, s3};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

/// What is sent.
pub(super) struct Wanted {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) kind: Option<&'static str>,
    pub(super) body: String,
}

/// What is asked without any signature.
pub(super) const UNSIGNED: &[(&str, &str)] = &[
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/console/"),
    ("GET", "/console/app.js"),
    ("GET", "/console/style.css"),
    ("GET", "/console/login?token=guessed"),
    ("GET", "/console/api/overview"),
    ("GET", "/console/live/applicationInstance-a/screen"),
    ("GET", "/console/camera/applicationInstance-a/door"),
    ("POST", "/console/api/overview"),
    ("GET", "/metrics"),
    ("GET", "/"),
    ("POST", "/"),
    ("GET", "/devices"),
    ("GET", "/v1/device/desired"),
];

/// A role that everybody in the account may assume, if their own policies say so, too.
pub(super) const TRUSTING: &str = "trusting";

const SUFFIX: &str = "w7dk3n2xqzv6mtr5gyjc4habfe";

fn json_request(method: &'static str, target: String, body: &Value) -> Wanted {
    let empty = body.is_null();
    Wanted {
        method,
        target,
        kind: (!empty).then_some("application/json"),
        body: if empty {
            String::new()
        } else {
            body.to_string()
        },
    }
}

pub(super) fn panorama(operation: Operation) -> Wanted {
    let arn = format!("arn%3Aaws%3Apanorama%3Aus-west-2%3A123456789012%3Adevice%2Fdevice-{SUFFIX}");
    let mut target = operation
        .template()
        .replace("{DeviceId}", &format!("device-{SUFFIX}"))
        .replace("{JobId}", SUFFIX)
        .replace("{PackageId}", &format!("package-{SUFFIX}"))
        .replace("{PackageVersion}", "1.0")
        .replace("{PatchVersion}", &"a".repeat(64))
        .replace("{NodeId}", "123456789012-CODE-1.0-aaaaaaaa-interface")
        .replace(
            "{ApplicationInstanceId}",
            &format!("applicationInstance-{SUFFIX}"),
        )
        .replace("{ResourceArn}", &arn);
    if operation == Operation::UntagResource {
        target.push_str("?tagKeys=site");
    }
    let graph = json!({ "nodeGraph": { "envelopeVersion": "2021-01-01",
        "packages": [], "nodes": [], "edges": [] } });
    let body = match operation {
        Operation::ProvisionDevice => json!({ "Name": "dock" }),
        Operation::UpdateDeviceMetadata => json!({ "Description": "north" }),
        Operation::CreateNodeFromTemplateJob => json!({
            "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": "north",
            "OutputPackageVersion": "1.0", "NodeName": "north",
            "TemplateParameters": { "StreamUrl": "rtsp://10.0.0.30/s1" } }),
        Operation::RegisterPackageVersion => json!({}),
        Operation::CreatePackage => json!({ "PackageName": "CODE" }),
        Operation::CreateApplicationInstance => json!({
            "ManifestPayload": { "PayloadData": graph.to_string() },
            "DefaultRuntimeContextDevice": format!("device-{SUFFIX}") }),
        Operation::SignalApplicationInstanceNodeInstances => json!({
            "NodeSignals": [{ "NodeInstanceId": "door", "Signal": "PAUSE" }] }),
        Operation::TagResource => json!({ "Tags": { "site": "plant-7" } }),
        _ => Value::Null,
    };
    json_request(operation.method(), target, &body)
}

pub(super) fn parapet(operation: parapet::Operation) -> Wanted {
    let target = operation.template().to_owned();
    let target = match operation.label() {
        Some(label) => {
            let value = match label {
                "Kind" => "device",
                "ApplicationInstanceId" => "applicationInstance-w7dk3n2xqzv6mtr5gyjc4habfe",
                _ => "north",
            };
            target.replace(&format!("{{{label}}}"), value)
        }
        None => target,
    };
    let body = match operation {
        parapet::Operation::UpdateCamera => json!({ "Url": "rtsp://10.0.0.30/s1" }),
        parapet::Operation::PutInstanceConfinement => json!({ "Confinement": {} }),
        _ if operation.method() == "GET" => Value::Null,
        _ => json!({}),
    };
    json_request(operation.method(), target, &body)
}

/// A form in the body of a POST.
pub(super) fn form(fields: &[(&str, &str)]) -> Wanted {
    let mut body = Serializer::new(String::new());
    body.extend_pairs(fields);
    if !fields.iter().any(|(name, _)| *name == "Version") {
        body.append_pair("Version", "2010-05-08");
    }
    Wanted {
        method: "POST",
        target: "/".to_owned(),
        kind: Some("application/x-www-form-urlencoded; charset=utf-8"),
        body: body.finish(),
    }
}

/// All that any operation of IAM asks for; each takes its own.
pub(super) fn iam(name: &str) -> Wanted {
    let allow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:*","Resource":"*"}]}"#;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"panorama.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    // Creations must not make what the next operation would find.
    let missing = format!("made-by-{name}");
    let policy = "arn:aws:iam::123456789012:policy/missing";
    let provider = "arn:aws:iam::123456789012:oidc-provider/issuer.example";
    let mfa = "arn:aws:iam::123456789012:mfa/missing";
    let mut fields = vec![
        ("Action", name),
        ("UserName", missing.as_str()),
        ("GroupName", &missing),
        ("RoleName", &missing),
        ("PolicyName", &missing),
        ("PolicyArn", policy),
        ("PolicyDocument", allow),
        ("PolicyInputList.member.1", allow),
        ("AssumeRolePolicyDocument", trust),
        ("PolicySourceArn", "arn:aws:iam::123456789012:user/missing"),
        ("ActionNames.member.1", "panorama:ListDevices"),
        ("AccessKeyId", "AKIAMISSINGMISSINGXX"),
        ("Status", "Inactive"),
        ("VersionId", "v1"),
        ("SetAsDefault", "true"),
        ("AWSServiceName", "panorama.amazonaws.com"),
        (
            "DeletionTaskId",
            "task/aws-service-role/panorama.amazonaws.com/missing/1",
        ),
        ("OpenIDConnectProviderArn", provider),
        ("Url", "https://issuer.example"),
        ("ClientID", "client"),
        ("ClientIDList.member.1", "client"),
        (
            "ThumbprintList.member.1",
            "0123456789012345678901234567890123456789",
        ),
        ("VirtualMFADeviceName", &missing),
        ("SerialNumber", mfa),
        ("AuthenticationCode1", "123456"),
        ("AuthenticationCode2", "654321"),
        ("AccountAlias", "plant-seven"),
        ("TagKeys.member.1", "site"),
        ("Description", "for the table"),
    ];
    // To tag what is being made is an action of its own, and a boundary must be there.
    if !name.starts_with("Create") {
        fields.extend([
            ("PermissionsBoundary", policy),
            ("Tags.member.1.Key", "site"),
            ("Tags.member.1.Value", "plant-7"),
        ]);
    }
    form(&fields)
}

pub(super) fn sts(name: &str, account: &str) -> Wanted {
    let role = format!("arn:aws:iam::{account}:role/{TRUSTING}");
    form(&[
        ("Action", name),
        ("Version", "2011-06-15"),
        ("RoleArn", &role),
        ("RoleSessionName", "table"),
        ("WebIdentityToken", "e30.e30.e30x"),
        ("AccessKeyId", "AKIAMISSINGMISSINGXX"),
    ])
}

pub(super) fn s3(operation: s3::Operation, account: &str) -> Wanted {
    use s3::Operation as S3;
    let bucket = format!("/panorama-{account}-nodepackages");
    let (method, tail, body) = match operation {
        S3::HeadBucket => ("HEAD", "", ""),
        S3::GetBucketLocation => ("GET", "?location", ""),
        S3::HeadObject => ("HEAD", "/missing", ""),
        S3::GetObject => ("GET", "/missing", ""),
        S3::PutObject => ("PUT", "/made", "content"),
        S3::DeleteObject => ("DELETE", "/missing", ""),
        S3::ListObjects => ("GET", "", ""),
        S3::ListObjectsV2 => ("GET", "?list-type=2", ""),
        S3::CreateMultipartUpload => ("POST", "/made?uploads", ""),
        S3::UploadPart => ("PUT", "/missing?partNumber=1&uploadId=missing", "content"),
        S3::CompleteMultipartUpload => (
            "POST",
            "/missing?uploadId=missing",
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        ),
        S3::AbortMultipartUpload => ("DELETE", "/missing?uploadId=missing", ""),
        S3::ListParts => ("GET", "/missing?uploadId=missing", ""),
    };
    Wanted {
        method,
        target: format!("{bucket}{tail}"),
        kind: None,
        body: body.to_owned(),
    }
}
