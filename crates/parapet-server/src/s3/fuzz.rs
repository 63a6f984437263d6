//! Signed requests of somebody who may use a part of the bucket, in a row that a client may send.
//!
//! An input is requests with [`NEXT`] between them: method and target, headers, an empty line, the
//! body. `BUCKET`, `UPLOAD` and `ETAG` stand for the bucket and for what the last answer named.

use http_body_util::Full;
use parapet_auth::sigv4::{Claim, Credential, RequestHead, Rules, SecretKey, SignRequest, sign};
use parapet_auth::{Attached, Caller, Grants, Policy, PolicyKind, Principal, PrincipalKind};
use parapet_fuzz::{Target, feed};

use super::*;
use crate::audit::Opening;
use crate::config::ServerConfig;
use crate::context::Endpoints;

const ACCOUNT: &str = "123456789012";
const BUCKET: &str = "panorama-123456789012-nodepackages";
const REGION: &str = "us-west-2";
const KEY: &str = "AKIAPARAPETTESTKEY00";
const NOW: u32 = 1_795_824_000;
const NEXT: &str = "\n--next--\n";
/// What nobody but its owner may read.
const CANARY: &str = "a-secret-of-somebody-else";
/// Requests of one input.
const MOST: usize = 12;

const WORDS: &[&str] = &[
    NEXT,
    "PUT /BUCKET/own/",
    "GET /BUCKET/other/canary",
    "GET /BUCKET?list-type=2&prefix=",
    "?uploads",
    "?uploadId=UPLOAD",
    "&partNumber=10001",
    "?versioning",
    "&max-keys=-1",
    "&continuation-token=",
    "&encoding-type=url",
    "%2F",
    "%2e%2e%2f",
    "/../",
    "//",
    "range: bytes=0-",
    "range: bytes=-18446744073709551615",
    "x-amz-copy-source: /BUCKET/other/canary",
    "x-amz-checksum-crc32: AAAAAA==",
    "content-md5: ",
    "content-encoding: aws-chunked",
    "if-match: ETAG",
    "<CompleteMultipartUpload>",
    "<Part><PartNumber>1</PartNumber><ETag>ETAG</ETag></Part>",
    "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]>",
    "&b;",
];

struct Bench {
    front: S3Front,
    context: Arc<Context>,
    _data: tempfile::TempDir,
}

fn caller(policy: &str) -> Caller {
    let principal = Principal {
        account: ACCOUNT.to_owned(),
        kind: PrincipalKind::User {
            id: "AIDATEST".to_owned(),
            path: "/".to_owned(),
            name: "tester".to_owned(),
        },
    };
    let policy = Policy::parse(policy, PolicyKind::Managed).unwrap();
    let grants = Grants::identity(vec![Attached::new("test", policy)]);
    Caller::new(principal, KEY, grants)
}

struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl<'a> Asked<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let end = text.windows(2).position(|bytes| bytes == b"\n\n");
        let (head, body) = end.map_or((text, &[][..]), |end| (&text[..end], &text[end + 2..]));
        let mut lines = std::str::from_utf8(head).ok()?.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| !["host", "authorization"].contains(name))
            .chain([("host", "127.0.0.1:8443")])
            .collect();
        Some(Self {
            method,
            target,
            headers,
            body,
        })
    }
}

impl Bench {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(data.path().join("data"));
        config.account_id = Some(ACCOUNT.to_owned());
        config.master_key_in_data = true;
        let endpoints = Endpoints {
            api: "https://127.0.0.1:1".to_owned(),
            device: "https://127.0.0.1:2".to_owned(),
        };
        let context = Arc::new(Context::open(&config, endpoints).await.unwrap());
        Self {
            front: S3Front::new(Arc::clone(&context)),
            context,
            _data: data,
        }
    }

    /// Status and text of the answer; `None` where it is refused before this front sees it.
    async fn ask(&self, who: &Caller, asked: &Asked<'_>) -> Option<(u16, String)> {
        let signed = sign(&SignRequest {
            method: asked.method,
            target: asked.target,
            headers: &asked.headers,
            body: asked.body,
            access_key: KEY,
            secret_key: "of-a-test",
            region: REGION,
            service: "s3",
            now: NOW.into(),
        })
        .ok()?;
        let mut request = Request::builder().method(asked.method).uri(asked.target);
        let added = signed.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in asked.headers.iter().copied().chain(added) {
            request = request.header(name, value);
        }
        let length = asked.body.len();
        let body = Full::new(Bytes::copy_from_slice(asked.body));
        let mut request = request.body(body).ok()?;
        let lengths = HeaderValue::from(length);
        request
            .headers_mut()
            .insert(header::CONTENT_LENGTH, lengths);
        let proof = {
            let uri = request.uri();
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            let method = request.method().as_str();
            let query = uri.query().unwrap_or_default();
            let head = RequestHead::new(method, uri.path(), query, None, headers).ok()?;
            let rules = Rules {
                region: REGION,
                strict_region: true,
                now: NOW.into(),
            };
            let claim = Claim::parse(&head, &rules).ok()?;
            let key = SecretKey::new("of-a-test".to_owned()).derive(claim.scope());
            let proof = claim.verify_head(Credential::LongTerm(&key), who.clone());
            proof.ok()?
        };
        let call = self.call(who);
        let answer = self.front.handle(call, proof, request, "request").await;
        let status = answer.status().as_u16();
        let body: Result<_, _> = answer.into_body().collect().await;
        let text = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Some((status, String::from_utf8_lossy(&text).into_owned()))
    }

    fn call(&self, who: &Caller) -> Call {
        let mut circumstances = parapet_auth::policy::Context::new();
        who.describe(&mut circumstances);
        Call {
            ctx: Arc::clone(&self.context),
            caller: who.clone(),
            scope: self.context.scope.clone(),
            circumstances: Arc::new(circumstances),
            draft: self.context.audit.begin(&Opening {
                request_id: "request",
                source: std::net::Ipv4Addr::LOCALHOST.into(),
                user_agent: None,
                tls: None,
                host: None,
            }),
            once: Arc::default(),
        }
    }

    /// Whether something was done.
    async fn converse(&self, who: &Caller, owner: &Caller, input: &[u8]) -> bool {
        let (mut upload, mut etag, mut done) = (String::new(), String::new(), false);
        let mut rest = input;
        for _ in 0..MOST {
            let next = rest.windows(NEXT.len()).position(|b| b == NEXT.as_bytes());
            let text = &rest[..next.unwrap_or(rest.len())];
            let text = replace(text, "BUCKET", BUCKET);
            let text = replace(&text, "UPLOAD", &upload);
            let text = replace(&text, "ETAG", &etag);
            let answer = match Asked::parse(&text) {
                Some(asked) => self.ask(who, &asked).await,
                None => None,
            };
            if let Some((status, said)) = answer {
                assert!(
                    status < 500 || [501, 503].contains(&status),
                    "{status} {said}"
                );
                assert!(said.len() < 1024 * 1024, "{} bytes", said.len());
                assert!(!said.contains(CANARY), "{status} {said}");
                done |= status < 300;
                let between = |name: &str| {
                    let rest = said.split_once(&format!("<{name}>"))?.1;
                    Some(rest.split_once("</")?.0.to_owned())
                };
                upload = between("UploadId").unwrap_or(upload);
                etag = between("ETag").unwrap_or(etag);
            }
            let Some(next) = next else { break };
            rest = &rest[next + NEXT.len()..];
        }
        let there = self.ask(owner, &canary("GET", b"")).await;
        assert_eq!(there, Some((200, CANARY.to_owned())));
        done
    }
}

fn canary<'a>(method: &'a str, body: &'a [u8]) -> Asked<'a> {
    Asked {
        method,
        target: "/panorama-123456789012-nodepackages/other/canary",
        headers: vec![("host", "127.0.0.1:8443")],
        body,
    }
}

fn replace(text: &[u8], word: &str, with: &str) -> Vec<u8> {
    let mut made = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(word.len()).position(|b| b == word.as_bytes()) {
        made.extend(&rest[..at]);
        made.extend(with.as_bytes());
        rest = &rest[at + word.len()..];
    }
    made.extend(rest);
    made
}

/// Nothing fails inside, and what the caller's policy does not open stays as it is and unread.
#[test]
fn s3_breaks_no_promise() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let owner = caller(Policy::ADMINISTRATOR);
    let who = caller(&format!(
        r#"{{"Version":"2012-10-17","Statement":[
            {{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::{BUCKET}/own/*"}},
            {{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::{BUCKET}"}}]}}"#
    ));
    let bench = runtime.block_on(async {
        let bench = Bench::new().await;
        let put = bench.ask(&owner, &canary("PUT", CANARY.as_bytes())).await;
        assert_eq!(put.map(|(status, _)| status), Some(200));
        bench
    });
    feed(&Target {
        name: "s3",
        words: WORDS,
        run: &|input| runtime.block_on(bench.converse(&who, &owner, input)),
    });
}
