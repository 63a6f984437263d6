//! Measures what a policy decision costs and prints one line of JSON.
//!
//! `cargo run --release -p parapet-auth --example bench_policy`: a principal with ten policies of
//! eight statements each, and three questions: allowed by the last statement, denied by silence,
//! denied by the last. Figures are nanoseconds for one decision: the least of many short rounds, since whatever else
//! runs on the machine only adds.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark reads the clock, and stops when its own input is wrong"
)]

use std::hint::black_box;
use std::time::Instant;

use parapet_auth::{Attached, Context, Grants, Policy, PolicyKind, Question, decide};

const POLICIES: usize = 10;
const ROUNDS: usize = 400;
const DECISIONS: usize = 100;

const DEVICE: &str = "arn:aws:panorama:us-west-2:123456789012:device/device-abcdefghijklmnop";

fn main() {
    let grants = Grants::identity((0..POLICIES).map(policy).collect());
    let mut context = Context::new()
        .with("aws:SourceIp", "192.0.2.77")
        .with("aws:SecureTransport", "true")
        .with("aws:CurrentTime", "2026-11-25T10:00:00Z")
        .with("aws:MultiFactorAuthPresent", "true")
        .with("aws:username", "ann")
        .with("aws:PrincipalArn", "arn:aws:iam::123456789012:user/ann");
    context.add_tags("aws:ResourceTag/", [("Team", "red"), ("Site", "north")]);
    context.add_tags("aws:PrincipalTag/", [("Team", "red")]);
    let mut figures = Vec::new();
    for (name, action, allowed) in [
        ("allowed_ns", "panorama:DescribeDevice", true),
        ("silence_ns", "panorama:UpdateDeviceMetadata", false),
        ("denied_ns", "panorama:DeleteDevice", false),
    ] {
        let question = Question {
            action,
            resource: DEVICE,
            context: &context,
        };
        assert_eq!(decide(&grants, &question).is_allowed(), allowed, "{action}");
        figures.push(format!("\"{name}\":{}", least(&grants, &question)));
    }
    println!("{{\"policies\":{POLICIES},{}}}", figures.join(","));
}

fn least(grants: &Grants, question: &Question<'_>) -> u128 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..DECISIONS {
                black_box(decide(black_box(grants), black_box(question)));
            }
            start.elapsed().as_nanos() / DECISIONS as u128
        })
        .min()
        .unwrap_or_default()
}

/// Statements as people write them; only those of the last policy speak of the questions in full.
fn policy(index: usize) -> Attached {
    let (allow, deny) = if index + 1 == POLICIES {
        ("panorama:Describe*", "panorama:DeleteDevice")
    } else {
        ("panorama:ListTagsForResource", "panorama:DeletePackage")
    };
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[
        {{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::bucket-{index}/*"}},
        {{"Effect":"Allow","Action":"panorama:*Package*","Resource":"arn:aws:panorama:*:*:package/*"}},
        {{"Effect":"Allow","Action":"panorama:*","Resource":"arn:aws:panorama:*:*:device/other-{index}-*"}},
        {{"Effect":"Allow","Action":"panorama:*Device*","Resource":"*","Condition":{{"StringEquals":{{"aws:ResourceTag/Team":"blue"}}}}}},
        {{"Effect":"Allow","Action":"panorama:*Device*","Resource":"*","Condition":{{"StringLike":{{"aws:ResourceTag/Site":"${{aws:username}}-*"}}}}}},
        {{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"Bool":{{"aws:SecureTransport":"false"}}}}}},
        {{"Effect":"Allow","Action":"{allow}","Resource":"arn:aws:panorama:*:*:device/*","Condition":{{"IpAddress":{{"aws:SourceIp":"192.0.2.0/24"}},"StringEquals":{{"aws:ResourceTag/Team":"${{aws:PrincipalTag/Team}}"}}}}}},
        {{"Effect":"Deny","Action":"{deny}","Resource":"*"}}]}}"#
    );
    let policy = Policy::parse(&text, PolicyKind::Managed).expect("a policy");
    Attached::new(format!("policy-{index}"), policy)
}
