//! `SignalApplicationInstanceNodeInstances`: pauses or resumes camera nodes.

use parapet_api::{
    NodeSignal, NodeSignalValue, Operation, ResourceType,
    SignalApplicationInstanceNodeInstancesRequest, SignalApplicationInstanceNodeInstancesResponse,
};

use crate::call::Call;
use crate::fleet::plan;
use crate::store::Micros;
use crate::store::instances::{self, DesiredState, InstanceNode};

use super::failure::Failure;
use super::remove_application_instance::device_key;

/// All signals of a call are carried out, or none.
pub(super) async fn call(
    call: &Call,
    request: SignalApplicationInstanceNodeInstancesRequest,
) -> Result<SignalApplicationInstanceNodeInstancesResponse, Failure> {
    let id = request.application_instance_id;
    call.authorize_on(
        Operation::SignalApplicationInstanceNodeInstances,
        ResourceType::ApplicationInstance,
        &id,
    )
    .await?;
    let (scope, instance_id, signals) = (call.scope.clone(), id.clone(), request.node_signals);
    let (key, generation) = call
        .write(move |tx| {
            let now = Micros::now();
            // The model has no ResourceNotFoundException here (`spec/api.md`).
            let instance = instances::get(tx, &scope, &instance_id)?
                .filter(|instance| instance.desired_state == DesiredState::Running)
                .ok_or_else(|| {
                    Failure::invalid(
                        "ApplicationInstanceId",
                        format!("{instance_id} is not deployed; signal a running instance"),
                    )
                })?;
            let nodes = instances::nodes(tx, &scope, &instance_id)?;
            for (index, signal) in signals.iter().enumerate() {
                let node = camera_node(&nodes, signal).map_err(|m| {
                    Failure::invalid(format!("NodeSignals[{index}].NodeInstanceId"), m)
                })?;
                let paused = signal.signal == NodeSignalValue::Pause;
                instances::set_paused(tx, &scope, &instance_id, node, paused)?;
            }
            let generation = plan::replan(tx, &scope, &instance.device, now)?;
            Ok::<_, Failure>((device_key(&scope, &instance.device), generation))
        })
        .await?;
    call.ctx.wake.announce(&key, generation);
    Ok(SignalApplicationInstanceNodeInstancesResponse {
        application_instance_id: id,
    })
}

/// The camera node that a signal means: by its name, or, as a published script does, by the name
/// of its package where only one node is of that package.
fn camera_node<'n>(nodes: &'n [InstanceNode], signal: &NodeSignal) -> Result<&'n str, String> {
    let wanted = signal.node_instance_id.as_str();
    let node = if let Some(node) = nodes.iter().find(|node| node.node == wanted) {
        node
    } else {
        let mut of_package = nodes.iter().filter(|node| node.package_name == wanted);
        match (of_package.next(), of_package.next()) {
            (Some(node), None) => node,
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{wanted:?} is a package with several nodes; give a node's name"
                ));
            }
            (None, _) => {
                return Err(format!(
                    "the instance has no node {wanted:?}; ListApplicationInstanceNodeInstances \
                     names them"
                ));
            }
        }
    };
    if node.category == "MEDIA_SOURCE" {
        Ok(&node.node)
    } else {
        Err(format!(
            "{wanted:?} is no camera; only cameras can be paused and resumed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, package: &str, category: &str) -> InstanceNode {
        InstanceNode {
            node: name.to_owned(),
            node_id: String::new(),
            owner: "123456789012".to_owned(),
            package_name: package.to_owned(),
            version: "1.0".to_owned(),
            patch: String::new(),
            interface: String::new(),
            category: category.to_owned(),
            paused: false,
        }
    }

    #[test]
    fn a_camera_is_meant_by_its_name_or_by_a_package_of_its_own() {
        let nodes = [
            node("logic", "CODE", "BUSINESS_LOGIC"),
            node("north", "gate", "MEDIA_SOURCE"),
            node("east", "yard", "MEDIA_SOURCE"),
            node("west", "yard", "MEDIA_SOURCE"),
        ];
        for (wanted, found) in [
            ("north", Ok("north")),
            ("gate", Ok("north")),
            ("yard", Err("several")),
            ("logic", Err("no camera")),
            ("CODE", Err("no camera")),
            ("nobody", Err("no node")),
        ] {
            let signal = NodeSignal {
                node_instance_id: wanted.to_owned(),
                signal: NodeSignalValue::Pause,
            };
            match (camera_node(&nodes, &signal), found) {
                (Ok(node), Ok(expected)) => assert_eq!(node, expected),
                (Err(message), Err(words)) => assert!(message.contains(words), "{message}"),
                (outcome, expected) => panic!("{wanted}: {outcome:?}, not {expected:?}"),
            }
        }
    }
}
