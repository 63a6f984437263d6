//! `GetInstanceConfinement`: what was decided about an application instance, and whom its
//! applications asked for.

use parapet_api::ResourceType;
use parapet_device::reported::Asked;
use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::fleet::instance::InstanceStanding;
use crate::fleet::plan::StoredDeployment;
use crate::panorama::Failure;
use crate::registry::confinement::Policy;
use crate::store::{Micros, StoreError, confinements, instances};

use super::Operation;

/// What the instance `id` may use and reach.
pub(super) async fn call(call: &Call, id: &str) -> Result<Value, Failure> {
    let tags = call.tags(ResourceType::ApplicationInstance, id).await?;
    let arn = call.arn(ResourceType::ApplicationInstance, id);
    call.authorize(&Ask::new(Operation::GetInstanceConfinement.action(), &arn).tagged(&tags))?;
    let (ctx, scope, wanted) = (call.ctx.clone(), call.scope.clone(), id.to_owned());
    let found = call
        .ctx
        .store
        .read::<_, StoreError, _>(move |connection| {
            let Some(instance) = instances::get(connection, &scope, &wanted)? else {
                return Ok(None);
            };
            let stored = confinements::get(connection, &scope, &wanted)?;
            let now = Micros::now();
            let standing = InstanceStanding::of(connection, &ctx.presence, &scope, &instance, now)?;
            Ok(Some((instance, stored, standing)))
        })
        .await?;
    let (instance, stored, standing) =
        found.ok_or_else(|| Failure::not_found("ApplicationInstance", id))?;
    let policy = match &stored {
        Some(stored) => Policy::from_json(&stored.policy_json)?,
        None => Policy::default(),
    };
    let deployment = StoredDeployment::read(&instance)?;
    let ports: Vec<Value> = deployment
        .open_ports()
        .map(|route| {
            json!({
                "NodeName": route.node,
                "HostPort": route.host_port,
                "ContainerPort": route.container_port,
            })
        })
        .collect();
    let asked = |asked: &Asked| {
        json!({
            "NodeName": asked.node,
            "Host": asked.host,
            "Port": asked.port,
            "Allowed": asked.allowed,
            "Listed": policy.lists(&asked.host, asked.port),
            "Count": asked.count,
        })
    };
    let reported = standing.report();
    Ok(json!({
        "ApplicationInstanceId": instance.id,
        "DeviceId": instance.device,
        "RuntimeRoleArn": instance.role_arn,
        "Revision": stored.as_ref().map_or(0, |stored| stored.revision),
        "LastUpdatedTime": stored.as_ref().map(|stored| stored.updated.as_seconds()),
        "Confinement": policy.shown(),
        "OpenPorts": ports,
        "Asked": reported.map_or_else(Vec::new, |(report, _)| report.asked.iter().map(asked).collect()),
        "DeviceReportedTime": reported.map(|(_, at)| at.as_seconds()),
    }))
}
