//! `/console/api/overview`: everything that the page shows, read at one moment.

use std::sync::Arc;

use http::{Response, StatusCode, header};
use parapet_api::ResourceType;
use parapet_device::DesiredDocument;
use parapet_device::confinement::{Confinement, ResourceLimits};
use parapet_device::desired::{Application, Instance};
use parapet_device::reported::{
    Asked, InstanceReport, NetworkReport, NodeReport, Reason, StreamMetrics,
};
use serde::Serialize;

use super::text;
use super::visitor::Visitor;
use crate::context::Context;
use crate::fleet::{DeviceKey, Standing};
use crate::front::{ResponseBody, full, set};
use crate::panorama::call::arn;
use crate::parapet;
use crate::store::devices::Device;
use crate::store::{self, Micros, Position, StoreError};

/// Devices on the page; the API lists all.
const DEVICES: usize = 100;

/// The whole page.
#[derive(Serialize)]
struct Overview {
    account: String,
    region: String,
    user: String,
    /// Of the server's clock, seconds.
    now: f64,
    version: &'static str,
    endpoint: String,
    devices: Vec<DeviceView>,
}

#[derive(Serialize)]
struct DeviceView {
    id: String,
    name: String,
    provisioning: &'static str,
    online: bool,
    /// Whether live pictures can come.
    live: bool,
    software: String,
    last_contact: Option<f64>,
    desired_generation: u64,
    applied_generation: Option<u64>,
    /// How its networks are kept apart; nothing before it said so, or for who may not see it.
    network: Option<NetworkReport>,
    instances: Vec<InstanceView>,
}

#[derive(Serialize)]
struct InstanceView {
    id: String,
    name: String,
    /// As reported; nothing when the device has not spoken of it yet.
    state: Option<parapet_device::reported::InstanceState>,
    reason: Option<Reason>,
    displays: Vec<String>,
    nodes: Vec<NodeView>,
    /// What its applications may use and reach; nothing for who may not see it.
    applications: Vec<ApplicationView>,
}

#[derive(Serialize)]
struct ApplicationView {
    node: String,
    /// What is absent is the device's default.
    limits: ResourceLimits,
    gpu: bool,
    emulate: bool,
    learn: bool,
    role: bool,
    /// `HOST:PORT`.
    hosts: Vec<String>,
    ports: Vec<PortView>,
    asked: Vec<Asked>,
}

#[derive(Serialize)]
struct PortView {
    host: u16,
    container: u16,
    /// `ADDRESS/PREFIX`; empty for everybody.
    sources: Vec<String>,
    /// Whether TLS stands in front.
    tls: bool,
    /// Whether clients need a certificate.
    clients: bool,
}

#[derive(Serialize)]
struct NodeView {
    node: String,
    kind: &'static str,
    /// Name of the camera's package.
    stream: Option<String>,
    /// Without credentials, as the document has it.
    url: Option<String>,
    status: Option<parapet_device::reported::NodeStatus>,
    reason: Option<Reason>,
    metrics: Option<StreamMetrics>,
}

pub(super) async fn answer(context: &Arc<Context>, visitor: &Visitor) -> Response<ResponseBody> {
    if !visitor.may("panorama:ListDevices", "*") {
        return text(
            StatusCode::FORBIDDEN,
            "your policies do not allow panorama:ListDevices\n",
        );
    }
    match read(context, visitor).await {
        Ok(body) => {
            let mut answer = Response::new(full(body));
            set(&mut answer, header::CONTENT_TYPE, "application/json");
            answer
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "could not read the console's overview");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed; see its log\n",
            )
        }
    }
}

async fn read(context: &Arc<Context>, visitor: &Visitor) -> Result<Vec<u8>, StoreError> {
    let scope = context.scope.clone();
    let rows = context
        .store
        .read(move |connection| {
            let start = Position::start();
            let devices = store::devices::list(connection, &scope, "", &start, DEVICES)?.rows;
            devices
                .into_iter()
                .map(|device| {
                    let desired = store::desired::get(connection, &scope, &device.id)?;
                    Ok((device, desired))
                })
                .collect::<Result<Vec<_>, StoreError>>()
        })
        .await?;
    let now = Micros::now();
    let devices = rows
        .into_iter()
        .map(|(device, desired)| {
            let document = match desired {
                Some(stored) => Some(
                    serde_json::from_str::<DesiredDocument>(&stored.document_json).map_err(
                        |source| StoreError::Document {
                            what: "desired document",
                            source,
                        },
                    )?,
                ),
                None => None,
            };
            device_view(context, visitor, device, document.as_ref(), now)
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let overview = Overview {
        account: context.scope.account.clone(),
        region: context.scope.region.clone(),
        user: visitor.caller.principal.arn(),
        now: now.as_seconds(),
        version: env!("CARGO_PKG_VERSION"),
        endpoint: context.api_url.clone(),
        devices,
    };
    serde_json::to_vec(&overview).map_err(|source| StoreError::Document {
        what: "overview",
        source,
    })
}

fn device_view(
    context: &Context,
    visitor: &Visitor,
    device: Device,
    document: Option<&DesiredDocument>,
    now: Micros,
) -> Result<DeviceView, StoreError> {
    let standing = Standing::of(&context.presence, &context.scope, &device, now)?;
    let report = standing.report.as_ref().map(|last| &last.report);
    let reports = report.map_or(&[][..], |report| &report.instances[..]);
    let wanted = document
        .as_ref()
        .map_or(&[][..], |document| &document.instances[..]);
    let mut instances = wanted
        .iter()
        .map(|instance| {
            let report = reports.iter().find(|report| report.id == instance.id);
            let mut view = wanted_view(instance, report);
            let kind = ResourceType::ApplicationInstance;
            let arn = arn(&context.scope, kind, &view.id);
            if visitor.may(parapet::Operation::GetInstanceConfinement.action(), &arn) {
                view.applications = application_views(instance, report);
            }
            view
        })
        .collect::<Vec<_>>();
    // Those on their way out stand in the report alone.
    let leaving = reports
        .iter()
        .filter(|report| wanted.iter().all(|w| w.id != report.id));
    instances.extend(leaving.map(leaving_view));
    let key = DeviceKey {
        scope: context.scope.clone(),
        device: device.id.clone(),
    };
    let arn = arn(&context.scope, ResourceType::Device, &device.id);
    let network = report
        .and_then(|report| report.network.clone())
        .filter(|_| visitor.may("panorama:DescribeDevice", &arn));
    Ok(DeviceView {
        network,
        provisioning: device.provisioning.as_str(),
        online: standing.known.online,
        live: context.live.is_attached(&key),
        software: standing.software(),
        last_contact: standing.known.last_contact.map(Micros::as_seconds),
        desired_generation: document
            .as_ref()
            .map_or(0, |document| document.generation.0),
        applied_generation: report.map(|report| report.applied_generation.0),
        id: device.id,
        name: device.name,
        instances,
    })
}

fn wanted_view(instance: &Instance, report: Option<&InstanceReport>) -> InstanceView {
    let view = |node: &str, kind, stream: Option<&str>, url: Option<&str>| {
        let reported =
            report.and_then(|report| report.nodes.iter().find(|n| n.node.as_str() == node));
        NodeView {
            node: node.to_owned(),
            kind,
            stream: stream.map(str::to_owned),
            url: url.map(str::to_owned),
            status: reported.map(|node| node.status),
            reason: reported.and_then(|node| node.reason.clone()),
            metrics: reported.and_then(|node| node.stream),
        }
    };
    let cameras = instance.cameras.iter().map(|camera| {
        view(
            camera.node.as_str(),
            "camera",
            Some(&camera.stream),
            Some(&camera.url),
        )
    });
    let models = instance
        .models
        .iter()
        .map(|model| view(model.node.as_str(), "model", None, None));
    let applications = instance
        .applications
        .iter()
        .map(|application| view(application.node.as_str(), "application", None, None));
    let displays = instance
        .displays
        .iter()
        .map(|display| view(display.as_str(), "display", None, None));
    InstanceView {
        id: instance.id.to_string(),
        name: instance.name.clone(),
        state: report.map(|report| report.state),
        reason: report.and_then(|report| report.reason.clone()),
        displays: instance.displays.iter().map(ToString::to_string).collect(),
        nodes: cameras
            .chain(applications)
            .chain(models)
            .chain(displays)
            .collect(),
        applications: Vec::new(),
    }
}

fn application_views(instance: &Instance, report: Option<&InstanceReport>) -> Vec<ApplicationView> {
    let view = |application: &Application| {
        let Confinement {
            limits,
            egress,
            ports,
            gpu,
            emulate,
        } = &application.confinement;
        let asked = report.map_or(&[][..], |report| &report.asked[..]);
        let of_this_node = |asked: &&Asked| asked.node == application.node;
        ApplicationView {
            node: application.node.to_string(),
            limits: *limits,
            gpu: *gpu,
            emulate: *emulate,
            learn: egress.learn,
            role: egress.role,
            hosts: egress.hosts.iter().map(ToString::to_string).collect(),
            ports: ports
                .iter()
                .map(|port| PortView {
                    host: port.host,
                    container: port.container,
                    sources: port.sources.iter().map(ToString::to_string).collect(),
                    tls: port.tls.is_some(),
                    clients: port
                        .tls
                        .as_ref()
                        .is_some_and(|tls| !tls.client_authorities.is_empty()),
                })
                .collect(),
            asked: asked.iter().filter(of_this_node).cloned().collect(),
        }
    };
    instance.applications.iter().map(view).collect()
}

fn leaving_view(report: &InstanceReport) -> InstanceView {
    let node = |node: &NodeReport| NodeView {
        node: node.node.to_string(),
        kind: "node",
        stream: None,
        url: None,
        status: Some(node.status),
        reason: node.reason.clone(),
        metrics: node.stream,
    };
    InstanceView {
        id: report.id.to_string(),
        name: report.id.to_string(),
        state: Some(report.state),
        reason: report.reason.clone(),
        displays: Vec::new(),
        nodes: report.nodes.iter().map(node).collect(),
        applications: Vec::new(),
    }
}
