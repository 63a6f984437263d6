//! What a browser may see follows the permissions of the moment.

use crate::plane::{Key, Plane};

const MAY_LIST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["panorama:ListDevices","parapet:CreateConsoleSession"],"Resource":"*"}]}"#;
const MAY_SIGN_IN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"parapet:CreateConsoleSession","Resource":"*"}]}"#;

/// A browser that is signed in.
struct Browser {
    client: reqwest::Client,
    overview: String,
    cookie: String,
}

impl Browser {
    async fn of(plane: &Plane, key: &Key) -> Self {
        let client = plane.client(None);
        let made = plane
            .signed_by(
                &client,
                key,
                "parapet",
                "POST",
                "/parapet/console-sessions",
                &[],
                b"",
            )
            .send()
            .await
            .expect("an answer");
        assert_eq!(made.status(), 200);
        let made = made.text().await.expect("a body");
        let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
        let link = made["Url"].as_str().expect("a link");
        let answer = client.get(link).send().await.expect("an answer");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        Self {
            client,
            overview: plane.url("/console/api/overview"),
            cookie,
        }
    }

    async fn looks(&self) -> u16 {
        let request = self
            .client
            .get(&self.overview)
            .header("cookie", &self.cookie);
        request.send().await.expect("an answer").status().as_u16()
    }
}

#[tokio::test]
async fn what_a_visitor_may_see_is_asked_anew() {
    let plane = Plane::start().await;
    let key = plane.user("visitor").await;
    let policy = |document: &'static str| {
        let fields = [
            ("Action", "PutUserPolicy"),
            ("UserName", "visitor"),
            ("PolicyName", "only"),
            ("PolicyDocument", document),
        ];
        let plane = &plane;
        async move { plane.iam(&fields).await }
    };
    policy(MAY_LIST).await;
    let browser = Browser::of(&plane, &key).await;
    assert_eq!(browser.looks().await, 200);
    policy(MAY_SIGN_IN).await;
    assert_eq!(browser.looks().await, 403);
    policy(MAY_LIST).await;
    assert_eq!(browser.looks().await, 200);
    plane
        .iam(&[
            ("Action", "UpdateAccessKey"),
            ("UserName", "visitor"),
            ("AccessKeyId", &key.id),
            ("Status", "Inactive"),
        ])
        .await;
    assert_eq!(browser.looks().await, 401);
}
