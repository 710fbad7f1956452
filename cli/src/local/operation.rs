//! Following an operation: its steps as they are done, and how it ends.

use std::time::Duration;

use weir_client::admin::{Admin, Operation, OperationState, StepState};
use weir_protocol::ids::OperationId;

use crate::{
    context::Context,
    error::{CliError, Result},
};

const POLL: Duration = Duration::from_millis(50);

/// Waits until an operation is done. On a terminal its step is shown while it lasts, elsewhere
/// each step is told in a line once it is done.
///
/// # Errors
/// When it fails, is superseded, or has not ended within `limit`.
pub async fn wait_for(
    context: &Context,
    admin: &Admin,
    id: OperationId,
    limit: Duration,
) -> Result<Operation> {
    let begin = context.clock.now();
    let spinner = context.ui.spinner("");
    let mut told = 0;
    loop {
        let operation = admin.operation(&id.to_string()).await?;
        if !context.ui.terminal() {
            for step in operation.steps.iter().skip(told).take_while(|s| s.state == StepState::Done)
            {
                context.ui.note(&format!("{}: {} done", operation.kind, step.name));
                told += 1;
            }
        }
        match operation.state {
            OperationState::Done => return Ok(operation),
            OperationState::Failed | OperationState::Superseded => return Err(failed(&operation)),
            _ if context.clock.now().since(begin) >= limit => return Err(late(&operation, limit)),
            _ => {
                spinner.set(|| format!("cluster {}: {}", operation.cluster_name, step(&operation)))
            }
        }
        context.clock.sleep(POLL).await;
    }
}

/// The step that is under way, for people: `stop SPUs, 1 of 3`.
pub fn step(operation: &Operation) -> String {
    let under_way = operation
        .steps
        .iter()
        .find(|s| s.state == StepState::Running || s.state == StepState::Failed);
    match under_way {
        Some(step) => match &step.detail {
            Some(detail) => format!("{}, {detail}", step.name),
            None => step.name.clone(),
        },
        None => format!("{} {}", operation.kind, operation.state),
    }
}

fn failed(operation: &Operation) -> CliError {
    let name = &operation.cluster_name;
    match &operation.error {
        Some(error) => CliError::new(
            format!("the {} of cluster {name} failed: {}", operation.kind, error.detail),
            error.hint.clone(),
        ),
        None => CliError::new(
            format!("a newer order to cluster {name} took the place of this {}", operation.kind),
            format!("see: weir cluster operation list --name {name}"),
        ),
    }
}

fn late(operation: &Operation, limit: Duration) -> CliError {
    let limit = crate::error::duration(limit);
    CliError::new(
        format!(
            "the {} of cluster {} is not done after {limit}: {}",
            operation.kind,
            operation.cluster_name,
            step(operation)
        ),
        format!("it goes on; follow it with: weir cluster operation describe {}", operation.id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(state: &str, steps: serde_json::Value) -> Operation {
        serde_json::from_value(serde_json::json!({
            "id": "op_00000000000000000000000000000001",
            "cluster_id": "cl_00000000000000000000000000000007", "cluster_name": "dev",
            "kind": "scale", "state": state, "steps": steps,
        }))
        .unwrap()
    }

    #[test]
    fn the_step_under_way_is_shown() {
        let steps = serde_json::json!([
            { "name": "mark removed", "state": "done" },
            { "name": "stop", "state": "running", "detail": "1 of 2" },
            { "name": "destroy", "state": "pending", "detail": "0 of 2" },
        ]);
        assert_eq!(step(&operation("running", steps)), "stop, 1 of 2");
        assert_eq!(step(&operation("done", serde_json::json!([]))), "scale done");
    }

    #[test]
    fn an_end_without_success_leads_on() {
        let mut superseded = operation("superseded", serde_json::json!([]));
        let CliError::Told { what, hint, .. } = failed(&superseded) else { panic!() };
        assert!(what.contains("newer order") && hint.contains("operation list --name dev"));
        superseded.error = Some(weir_client::admin::OperationFailure {
            code: "SCALE_REFUSED".into(),
            detail: "SPU 3 holds orders".into(),
            hint: "keep it".into(),
        });
        let CliError::Told { what, hint, .. } = failed(&superseded) else { panic!() };
        assert_eq!(what, "the scale of cluster dev failed: SPU 3 holds orders");
        assert_eq!(hint, "keep it");
        let CliError::Told { hint, .. } = late(&superseded, Duration::from_secs(1)) else {
            panic!()
        };
        assert!(hint.contains("op_00000000000000000000000000000001"), "{hint}");
    }
}
