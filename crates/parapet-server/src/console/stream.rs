//! Live pictures for a browser: JPEG after JPEG in one answer (`multipart/x-mixed-replace`).
//!
//! The view is on at the device while the answer is being read, and off when the last reader goes.
//! A slow reader gets fewer pictures, never older ones. Each viewing is in the audit trail with
//! begin and end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parapet_device::{InstanceId, NodeName, live};

use super::visitor::Visitor;
use super::{text, unrecorded};
use crate::audit::{Event, UserIdentity};
use crate::context::Context;
use crate::fleet::DeviceKey;
use crate::front::{BodyError, ResponseBody, set};
use crate::gateway::Watch;
use crate::{random, store};

/// The action in policies.
const ACTION: &str = "parapet:ViewStream";
/// How often a running picture asks whether it may go on.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a path names.
pub(super) struct View {
    instance: InstanceId,
    view: live::View,
}

impl View {
    /// `/console/live/<instance>/<display>` or `/console/camera/<instance>/<camera>`.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/console/")?.split('/');
        let (kind, instance, node) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let instance: InstanceId = instance.parse().ok()?;
        let node: NodeName = node.parse().ok()?;
        let of = instance.clone();
        let view = match kind {
            "live" => live::View::Display { instance: of, node },
            "camera" => live::View::Camera { instance: of, node },
            _ => return None,
        };
        Some(Self { instance, view })
    }

    fn node(&self) -> &str {
        match &self.view {
            live::View::Display { node, .. } | live::View::Camera { node, .. } => node.as_str(),
        }
    }
}

/// Tells the audit trail when a viewing ended, however it did.
struct Viewing {
    watch: Watch,
    context: Arc<Context>,
    visitor: Visitor,
    /// When the policies were asked last.
    asked: Instant,
    began: Instant,
    address: IpAddr,
    identity: UserIdentity,
    instance: String,
    node: String,
    id: String,
}

impl Viewing {
    fn began(&self) -> Event<'_> {
        Event::ViewingBegan {
            address: Some(self.address),
            identity: self.identity.clone(),
            instance: &self.instance,
            node: &self.node,
            viewing: &self.id,
        }
    }

    /// Whether the visitor may still see this. Asked every second: nothing that is shown outlives
    /// the permission to see it.
    async fn may_go_on(&mut self) -> bool {
        if self.asked.elapsed() < ASK_AGAIN {
            return true;
        }
        let Some(visitor) = self.visitor.renewed(&self.context).await else {
            return false;
        };
        self.visitor = visitor;
        self.asked = Instant::now();
        self.visitor.may(ACTION, &self.instance)
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.context.audit.note(&Event::ViewingEnded {
            address: Some(self.address),
            identity: self.identity.clone(),
            instance: &self.instance,
            node: &self.node,
            viewing: &self.id,
            seconds: self.began.elapsed().as_secs(),
        });
    }
}

pub(super) async fn answer(
    context: &Arc<Context>,
    visitor: Visitor,
    wanted: View,
) -> Response<ResponseBody> {
    let scope = context.scope.clone();
    let resource = format!(
        "arn:aws:panorama:{}:{}:applicationInstance/{}",
        scope.region, scope.account, wanted.instance
    );
    let address = visitor.source.address;
    if !visitor.may(ACTION, &resource) {
        let event = Event::ViewingRefused {
            address: Some(address),
            identity: UserIdentity::from(&visitor.caller),
            instance: &resource,
            node: wanted.node(),
        };
        if context.audit.event(&event).await.is_err() {
            return unrecorded();
        }
        return text(
            StatusCode::FORBIDDEN,
            "your policies do not allow parapet:ViewStream\n",
        );
    }
    let id = wanted.instance.to_string();
    let found = context
        .store
        .read(move |connection| store::instances::get(connection, &scope, &id))
        .await;
    let device = match found {
        Ok(Some(instance)) => instance.device,
        Ok(None) => return text(StatusCode::NOT_FOUND, "there is no such instance\n"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "could not look up an instance");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed; see its log\n",
            );
        }
    };
    let key = DeviceKey {
        scope: context.scope.clone(),
        device,
    };
    let Some(watch) = context.live.watch(&key, &wanted.view) else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many views of this device are open: close some\n",
        );
    };
    let id = match random::hex::<8>() {
        Ok(id) => id,
        Err(error) => {
            tracing::error!(%error, "could not name a viewing");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed; see its log\n",
            );
        }
    };
    let node = wanted.node().to_owned();
    let identity = UserIdentity::from(&visitor.caller);
    let viewing = Viewing {
        watch,
        context: Arc::clone(context),
        visitor,
        asked: Instant::now(),
        began: Instant::now(),
        address,
        identity,
        instance: resource,
        node,
        id,
    };
    if context.audit.event(&viewing.began()).await.is_err() {
        return unrecorded();
    }
    let frames = unfold(viewing, |mut viewing| async move {
        let picture = viewing.watch.next().await?;
        if !viewing.may_go_on().await {
            return None;
        }
        Some((
            Ok::<_, BodyError>(Frame::data(part(&picture.bytes))),
            viewing,
        ))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    set(
        &mut answer,
        header::CONTENT_TYPE,
        "multipart/x-mixed-replace; boundary=parapet-picture",
    );
    answer
}

/// One picture behind its boundary. The length lets browsers show it without waiting for the next
/// boundary.
fn part(picture: &Bytes) -> Bytes {
    let head = format!(
        "--parapet-picture\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        picture.len()
    );
    let mut part = BytesMut::with_capacity(head.len() + picture.len() + 2);
    part.extend_from_slice(head.as_bytes());
    part.extend_from_slice(picture);
    part.extend_from_slice(b"\r\n");
    part.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_view_or_nothing() {
        let view = View::of_path("/console/live/applicationInstance-a/screen").expect("a view");
        assert!(matches!(view.view, live::View::Display { .. }));
        let view = View::of_path("/console/camera/applicationInstance-a/door").expect("a view");
        assert!(matches!(view.view, live::View::Camera { .. }));
        for path in [
            "/console/live/x/screen",
            "/console/live/applicationInstance-a/..",
            "/console/live/applicationInstance-a/a/b",
            "/console/other/applicationInstance-a/a",
            "/console/live/applicationInstance-a",
        ] {
            assert!(View::of_path(path).is_none(), "{path}");
        }
    }
}
