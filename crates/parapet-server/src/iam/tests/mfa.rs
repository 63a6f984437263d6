//! Second factors.

use super::*;

/// RFC 6238 with SHA-1, written a second time for the test.
fn code(seed: &[u8], at: i64) -> String {
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, seed);
    let tag = hmac::sign(&key, &(at / 30).to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 15);
    let number = tag[at..at + 4]
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

#[tokio::test]
async fn a_device_is_made_proven_and_taken_away() {
    let bench = Bench::new().await;
    let made = bench
        .call(
            "CreateVirtualMFADevice",
            &[("VirtualMFADeviceName", "phone")],
        )
        .await
        .ok();
    let serial = one(&made, "SerialNumber");
    assert_eq!(serial, "arn:aws:iam::123456789012:mfa/phone");
    let text = data_encoding::BASE64
        .decode(one(&made, "Base32StringSeed").as_bytes())
        .expect("base64");
    let seed = data_encoding::BASE32_NOPAD.decode(&text).expect("base32");
    let now = crate::store::Micros::now().0 / 1_000_000;
    let (first, second) = (code(&seed, now - 30), code(&seed, now));
    let wrong = [
        ("UserName", "admin"),
        ("SerialNumber", serial.as_str()),
        ("AuthenticationCode1", second.as_str()),
        ("AuthenticationCode2", first.as_str()),
    ];
    let refused = bench.call("EnableMFADevice", &wrong).await;
    assert_eq!(refused.code(), "InvalidAuthenticationCode");
    let right = [
        ("UserName", "admin"),
        ("SerialNumber", serial.as_str()),
        ("AuthenticationCode1", first.as_str()),
        ("AuthenticationCode2", second.as_str()),
    ];
    bench.call("EnableMFADevice", &right).await.ok();
    let listed = bench
        .call("ListMFADevices", &[("UserName", "admin")])
        .await
        .ok();
    assert_eq!(one(&listed, "SerialNumber"), serial);
    let assigned = bench
        .call("ListVirtualMFADevices", &[("AssignmentStatus", "Assigned")])
        .await
        .ok();
    assert_eq!(one(&assigned, "UserName"), "admin");
    let named = [("SerialNumber", serial.as_str())];
    assert_eq!(
        bench.call("DeleteVirtualMFADevice", &named).await.code(),
        "DeleteConflict"
    );
    bench.call("DeactivateMFADevice", &named).await.ok();
    bench.call("DeleteVirtualMFADevice", &named).await.ok();
    assert_eq!(
        bench.call("DeleteVirtualMFADevice", &named).await.code(),
        "NoSuchEntity"
    );
}
