//! Calls as clients send them, good and bad, and answers as clients expect them.

#![expect(clippy::expect_used, reason = "a test ends at its first surprise")]

use std::collections::BTreeMap;

use parapet_api::{
    ApiError, Arn, CreateNodeFromTemplateJobRequest, DescribeApplicationInstanceDetailsResponse,
    Device, DeviceAggregatedStatus, DeviceBrand, DeviceStatus, DeviceType, EmptyResponse,
    ListDevicesResponse, ListPackagesResponse, ManifestPayload, Operation, PackageIdentifier,
    ProvisionDeviceResponse, Request, ResourceType, Tags, Timestamp, ValidationException,
    ValidationExceptionReason, page_size, to_body,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const JOBS: &str = "/packages/template-job";

fn call(method: &str, path: &str, body: &Value) -> Result<Request, ValidationException> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    Request::parse(method, path, query, &body)
}

fn faults(outcome: Result<Request, ValidationException>) -> Vec<String> {
    let exception = outcome.expect_err("a bad call");
    assert_eq!(
        exception.reason,
        ValidationExceptionReason::FieldValidationFailed
    );
    exception
        .fields
        .into_iter()
        .map(|field| field.name)
        .collect()
}

fn camera() -> Value {
    json!({ "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": "exterior-north",
        "OutputPackageVersion": "1.0", "NodeName": "exterior-north",
        "NodeDescription": "North gate",
        "TemplateParameters": { "Username": "viewer", "Password": "topsecret",
            "StreamUrl": "rtsp://10.0.0.30:554/s1" },
        "JobTags": [ { "ResourceType": "PACKAGE", "Tags": { "site": "plant-7" } } ] })
}

fn read_camera(body: &Value) -> CreateNodeFromTemplateJobRequest {
    match call("POST", JOBS, body) {
        Ok(Request::CreateNodeFromTemplateJob(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_camera_is_read_and_its_password_is_shown_nowhere() {
    let request = read_camera(&camera());
    assert_eq!(
        request.template_parameters.password.as_deref(),
        Some("topsecret")
    );
    assert_eq!(request.job_tags[0].tags["site"], "plant-7");
    let masked = request.template_parameters.masked();
    let expected = [
        ("Password", "SAVED_AS_SECRET"),
        ("StreamUrl", "rtsp://10.0.0.30:554/s1"),
        ("Username", "SAVED_AS_SECRET"),
    ];
    let expected: BTreeMap<String, String> = expected
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    assert_eq!(masked, expected);
    assert!(!format!("{request:?}").contains("topsecret"));

    for (key, value) in [
        ("Password", "topsecret\n"),
        ("Secret", "topsecret"),
        ("StreamUrl", "rtsp://viewer:topsecret@10.0.0.30/"),
        ("StreamUrl", "topsecret"),
    ] {
        let mut body = camera();
        body["TemplateParameters"][key] = json!(value);
        let exception = call("POST", JOBS, &body).expect_err(key);
        assert_eq!(
            exception.fields[0].name,
            format!("TemplateParameters.{key}")
        );
        assert!(
            !format!("{exception:?}").contains("topsecret"),
            "{exception:?}"
        );
    }
}

#[test]
fn every_bad_member_is_named_at_once() {
    let body = json!({ "NodeName": "a b", "OutputPackageVersion": "1", "TemplateType": "FILE",
        "TemplateParameters": {}, "NodeDescription": 7, "JobTags": [ { "Tags": { "": "x" } } ] });
    let mut names = faults(call("POST", JOBS, &body));
    names.sort();
    assert_eq!(
        names,
        [
            "JobTags[0].ResourceType",
            "JobTags[0].Tags.",
            "NodeDescription",
            "NodeName",
            "OutputPackageName",
            "OutputPackageVersion",
            "TemplateParameters.StreamUrl",
            "TemplateType",
        ]
    );
}

#[test]
fn null_is_absent_and_unknown_members_are_passed_over() {
    let body = json!({ "Name": "dock", "Description": null, "Color": "red", "Tags": {} });
    let Ok(Request::ProvisionDevice(request)) = call("POST", "/devices", &body) else {
        panic!("refused");
    };
    assert_eq!((request.name.as_str(), request.description), ("dock", None));
    assert_eq!(
        faults(call("POST", "/devices", &json!({ "Name": null }))),
        ["Name"]
    );
}

#[test]
fn a_query_is_read_by_the_names_of_its_operation() {
    let path = "/devices?MaxResults=5&NameFilter=lo%20ck&SortBy=NAME&SortOrder=ASCENDING&\
                DeviceAggregatedStatusFilter=ONLINE&NextToken=a%2Fb%3D%2B";
    let Ok(Request::ListDevices(request)) = call("GET", path, &Value::Null) else {
        panic!("refused");
    };
    assert_eq!(request.max_results, Some(5));
    assert_eq!(request.name_filter.as_deref(), Some("lo ck"));
    assert_eq!(request.next_token.as_deref(), Some("a/b=+"));
    assert_eq!(
        request.device_aggregated_status_filter,
        Some(DeviceAggregatedStatus::Online)
    );

    // The same parameters in another case belong to other operations.
    let Ok(Request::ListPackages(request)) = call(
        "GET",
        "/packages?MaxResults=5&maxResults=7&nextToken=x",
        &Value::Null,
    ) else {
        panic!("refused");
    };
    assert_eq!(
        (request.max_results, request.next_token.as_deref()),
        (Some(7), Some("x"))
    );

    for (path, field) in [
        ("/devices?MaxResults=26", "MaxResults"),
        ("/devices?MaxResults=-1", "MaxResults"),
        ("/devices?SortBy=name", "SortBy"),
        ("/nodes?category=media_source", "category"),
        ("/nodes?packageVersion=1", "packageVersion"),
        (
            "/application-instances?statusFilter=RUNNING",
            "statusFilter",
        ),
    ] {
        assert_eq!(faults(call("GET", path, &Value::Null)), [field], "{path}");
    }
    assert_eq!(
        faults(call("DELETE", "/packages/x?ForceDelete=1", &Value::Null)),
        ["ForceDelete"]
    );
}

#[test]
fn the_calls_of_panorama_cli_are_read() {
    let name = || PackageIdentifier::Name("PEOPLE_CODE".to_owned());
    let describe = "/packages/metadata/packageName%2FPEOPLE_CODE";
    match call("GET", describe, &Value::Null) {
        Ok(Request::DescribePackage(request)) => assert_eq!(request.package_id, name()),
        other => panic!("{other:?}"),
    }
    let patch = "9b3f0c11".repeat(8);
    let path = format!("{describe}/versions/1.0?PatchVersion={patch}");
    match call("GET", &path, &Value::Null) {
        Ok(Request::DescribePackageVersion(request)) => {
            assert_eq!(
                (request.package_id, request.patch_version),
                (name(), Some(patch.clone()))
            );
        }
        other => panic!("{other:?}"),
    }
    let path = format!("/packages/package-x/versions/1.0/patch/{patch}");
    match call("PUT", &path, &json!({ "MarkLatest": true })) {
        Ok(Request::RegisterPackageVersion(request)) => {
            assert!(request.mark_latest);
            assert_eq!(
                request.package_id,
                PackageIdentifier::Id("package-x".to_owned())
            );
        }
        other => panic!("{other:?}"),
    }
    match call("DELETE", &path, &Value::Null) {
        Ok(Request::DeregisterPackageVersion(request)) => assert_eq!(request.patch_version, patch),
        other => panic!("{other:?}"),
    }
    let upper = "/packages/package-x/versions/1.0/patch/ABCD";
    assert_eq!(faults(call("PUT", upper, &Value::Null)), ["PatchVersion"]);
}

#[test]
fn an_application_is_read_with_its_payloads_as_they_are() {
    let body = json!({ "Name": "gate", "DefaultRuntimeContextDevice": "device-x",
        "ManifestPayload": { "PayloadData": "{\n \"nodeGraph\": {} }" },
        "ManifestOverridesPayload": { "PayloadData": "" },
        "RuntimeRoleArn": "arn:aws:iam::123456789012:role/service-role/gate-role",
        "Tags": { "client": "sample" } });
    let Ok(Request::CreateApplicationInstance(request)) =
        call("POST", "/application-instances", &body)
    else {
        panic!("refused");
    };
    assert_eq!(request.manifest_payload, "{\n \"nodeGraph\": {} }");
    assert_eq!(request.manifest_overrides_payload.as_deref(), Some(""));

    let long = "x".repeat(51_201);
    for (member, value, field) in [
        ("ManifestPayload", json!({}), "ManifestPayload.PayloadData"),
        (
            "ManifestPayload",
            json!({ "PayloadData": long }),
            "ManifestPayload.PayloadData",
        ),
        ("ManifestPayload", json!("{}"), "ManifestPayload"),
        (
            "DefaultRuntimeContextDevice",
            Value::Null,
            "DefaultRuntimeContextDevice",
        ),
        ("RuntimeRoleArn", json!("role"), "RuntimeRoleArn"),
    ] {
        let mut body = body.clone();
        body[member] = value;
        let names = faults(call("POST", "/application-instances", &body));
        assert_eq!(names[0], field);
    }
}

#[test]
fn a_signal_needs_a_node_and_a_known_word() {
    let path = "/application-instances/applicationInstance-x/node-signals";
    let signal = |signals: Value| call("PUT", path, &json!({ "NodeSignals": signals }));
    match signal(json!([{ "NodeInstanceId": "north_cam", "Signal": "PAUSE" }])) {
        Ok(Request::SignalApplicationInstanceNodeInstances(request)) => {
            assert_eq!(request.node_signals[0].node_instance_id, "north_cam");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(faults(signal(json!([]))), ["NodeSignals"]);
    assert_eq!(faults(call("PUT", path, &json!({}))), ["NodeSignals"]);
    let wrong = json!([{ "NodeInstanceId": "a.b", "Signal": "STOP" }]);
    assert_eq!(
        faults(signal(wrong)),
        ["NodeSignals[0].NodeInstanceId", "NodeSignals[0].Signal"]
    );
}

#[test]
fn tags_are_bounded_and_belong_to_an_arn() {
    let arn = Arn::new(
        "us-west-2",
        "123456789012",
        ResourceType::Device,
        "device-x",
    );
    let path = format!(
        "/tags/{}",
        arn.to_string().replace(':', "%3A").replace('/', "%2F")
    );
    match call("POST", &path, &json!({ "Tags": { "a": "" } })) {
        Ok(Request::TagResource(request)) => assert_eq!(request.resource_arn, arn),
        other => panic!("{other:?}"),
    }
    match call(
        "DELETE",
        &format!("{path}?tagKeys=a&tagKeys=b%20c"),
        &Value::Null,
    ) {
        Ok(Request::UntagResource(request)) => assert_eq!(request.tag_keys, ["a", "b c"]),
        other => panic!("{other:?}"),
    }
    let many: BTreeMap<String, &str> = (0..51).map(|at| (format!("k{at}"), "")).collect();
    assert_eq!(
        faults(call("POST", &path, &json!({ "Tags": many }))),
        ["Tags"]
    );
    let reserved = json!({ "Tags": { "aws:x": "" } });
    assert_eq!(faults(call("POST", &path, &reserved)), ["Tags.aws:x"]);
    assert_eq!(faults(call("DELETE", &path, &Value::Null)), ["tagKeys"]);
    assert_eq!(
        faults(call("GET", "/tags/arn%3Aaws%3As3%3A%3A%3Ax", &Value::Null)),
        ["ResourceArn"]
    );
}

#[test]
fn a_network_is_read_to_its_depth() {
    let provision = |network: Value| {
        call(
            "POST",
            "/devices",
            &json!({ "Name": "a", "NetworkingConfiguration": network }),
        )
    };
    let ip = json!({ "ConnectionType": "STATIC_IP", "StaticIpConnectionInfo": {
        "DefaultGateway": "10.0.0.1", "Dns": ["10.0.0.1"], "IpAddress": "10.0.0.2",
        "Mask": "255.255.255.0" } });
    let good = json!({ "Ethernet0": ip, "Ntp": { "NtpServers": ["0.pool.ntp.org"] } });
    match provision(good.clone()) {
        Ok(Request::ProvisionDevice(request)) => {
            let network = serde_json::to_value(request.networking_configuration).expect("json");
            assert_eq!(network, good);
        }
        other => panic!("{other:?}"),
    }
    let cases = [
        (
            json!({ "Ethernet0": { "ConnectionType": "STATIC_IP" } }),
            "Ethernet0.StaticIpConnectionInfo",
        ),
        (json!({ "Ethernet1": {} }), "Ethernet1.ConnectionType"),
        (
            json!({ "Ntp": { "NtpServers": ["a", "b.org"] } }),
            "Ntp.NtpServers[0]",
        ),
        (
            json!({ "Ntp": { "NtpServers": vec!["a.org"; 6] } }),
            "Ntp.NtpServers",
        ),
    ];
    for (network, field) in cases {
        assert_eq!(
            faults(provision(network)),
            [format!("NetworkingConfiguration.{field}")]
        );
    }
}

#[test]
fn what_is_no_json_object_cannot_be_parsed() {
    for body in ["[]", "{", "\"x\"", "{\"Name\":\"a\"} x"] {
        let exception = Request::parse("POST", "/devices", "", body.as_bytes()).expect_err(body);
        assert_eq!(
            exception.reason,
            ValidationExceptionReason::CannotParse,
            "{body}"
        );
    }
    let long = vec![b' '; parapet_api::MAX_BODY_BYTES + 1];
    let exception = Request::parse("POST", "/devices", "", &long).expect_err("too long");
    assert_eq!(exception.reason, ValidationExceptionReason::CannotParse);
    let exception = Request::parse("GET", "/devices", "NameFilter=%f", b"").expect_err("broken");
    assert_eq!(exception.reason, ValidationExceptionReason::CannotParse);
    let error = ApiError::from(exception);
    assert_eq!(
        (error.http_status(), error.error_type()),
        (400, "ValidationException")
    );
}

fn written<T: serde::Serialize>(response: &T) -> Value {
    serde_json::from_slice(&to_body(response).expect("a body")).expect("json")
}

#[test]
fn answers_have_the_members_that_scripts_read() {
    assert_eq!(written(&EmptyResponse {}), json!({}));
    let empty = ListPackagesResponse {
        next_token: None,
        packages: Vec::new(),
    };
    assert_eq!(written(&empty), json!({ "Packages": [] }));

    let time = Timestamp::from_micros(1_655_400_000_125_000);
    let device = Device {
        brand: DeviceBrand::AwsPanorama,
        created_time: time,
        current_software: "NOT_AVAILABLE".to_owned(),
        description: None,
        device_aggregated_status: DeviceAggregatedStatus::AwaitingProvisioning,
        device_id: "device-x".to_owned(),
        last_updated_time: time,
        latest_device_job: None,
        lease_expiration_time: None,
        name: "dock".to_owned(),
        provisioning_status: DeviceStatus::AwaitingProvisioning,
        tags: Tags::new(),
        device_type: DeviceType::PanoramaAppliance,
    };
    let list = ListDevicesResponse {
        devices: vec![device],
        next_token: Some("t".to_owned()),
    };
    let expected = json!({ "NextToken": "t", "Devices": [ {
        "Brand": "AWS_PANORAMA", "CreatedTime": 1_655_400_000.125,
        "CurrentSoftware": "NOT_AVAILABLE", "DeviceAggregatedStatus": "AWAITING_PROVISIONING",
        "DeviceId": "device-x", "LastUpdatedTime": 1_655_400_000.125, "Name": "dock",
        "ProvisioningStatus": "AWAITING_PROVISIONING", "Tags": {}, "Type": "PANORAMA_APPLIANCE",
    } ] });
    assert_eq!(written(&list), expected);

    let provisioned = ProvisionDeviceResponse {
        arn: "arn".to_owned(),
        status: DeviceStatus::AwaitingProvisioning,
        certificates: b"PK\x03\x04".to_vec(),
        device_id: "device-x".to_owned(),
        iot_thing_name: "panorama_dock_Thing_a01e373b".to_owned(),
    };
    assert_eq!(written(&provisioned)["Certificates"], "UEsDBA==");

    let details = DescribeApplicationInstanceDetailsResponse {
        application_instance_id: "applicationInstance-x".to_owned(),
        application_instance_id_to_replace: None,
        created_time: time,
        default_runtime_context_device: "device-x".to_owned(),
        description: None,
        manifest_overrides_payload: None,
        manifest_payload: ManifestPayload {
            payload_data: "{\r\n}".to_owned(),
        },
        name: None,
    };
    assert_eq!(
        written(&details)["ManifestPayload"],
        json!({ "PayloadData": "{\r\n}" })
    );
}

#[test]
fn a_page_has_25_items_unless_fewer_are_asked_for() {
    for (asked, size) in [(None, 25), (Some(0), 25), (Some(1), 1), (Some(25), 25)] {
        assert_eq!(page_size(asked), size);
    }
}

#[test]
fn every_operation_has_an_action_of_its_own() {
    let mut actions: Vec<&str> = Operation::ALL.iter().map(|o| o.action()).collect();
    assert!(actions.iter().all(|action| action.starts_with("panorama:")));
    actions.sort_unstable();
    actions.dedup();
    assert_eq!(actions.len(), 28);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "Name",
        "Tags",
        "NetworkingConfiguration",
        "Ethernet0",
        "Ntp",
        "NtpServers",
        "JobTags",
        "NodeSignals",
        "ManifestPayload",
        "PayloadData",
        "TemplateParameters",
        "StreamUrl",
        "TemplateType",
        "Signal",
        "ConnectionType",
        "StaticIpConnectionInfo",
        "Dns",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("STATIC_IP")),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(names.clone(), inner, 0..6).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

fn percent_encoded(text: &str) -> String {
    let digits = data_encoding::HEXLOWER.encode(text.as_bytes());
    digits
        .as_bytes()
        .chunks(2)
        .flat_map(|pair| ["%".as_bytes(), pair].concat())
        .map(char::from)
        .collect()
}

proptest! {
    #[test]
    fn no_call_crashes_the_reader(query in ".{0,60}", label in ".{1,20}", body in any_json()) {
        for operation in Operation::ALL {
            let encoded = percent_encoded(&label);
            let path: Vec<String> = operation
                .template()
                .split('/')
                .map(|part| if part.starts_with('{') { encoded.clone() } else { part.to_owned() })
                .collect();
            let outcome = Request::parse(
                operation.method(), &path.join("/"), &query, body.to_string().as_bytes(),
            );
            match outcome {
                Ok(request) => prop_assert_eq!(request.operation(), *operation),
                Err(exception) => {
                    prop_assert!(ApiError::from(exception).body().len() < 64 << 10);
                }
            }
        }
    }
}
