//! One authenticated request on its way through an operation of IAM.

use std::collections::BTreeMap;
use std::sync::Arc;

use parapet_auth::PrincipalKind;
use rusqlite::Connection;

use super::operations::Operation;
use crate::call;
use crate::context::Context;
use crate::query::{Failure, Form};
use crate::random;
use crate::store::Tx;

pub(super) use crate::call::Ask;

/// Tags.
pub(super) type Tags = BTreeMap<String, String>;

/// A call, what is asked for, and with which parameters.
pub struct Call {
    /// The call, whatever its service.
    pub inner: call::Call,
    /// The account that it acts on.
    pub account: String,
    /// What is asked for.
    pub operation: &'static Operation,
    /// Its parameters.
    pub form: Form,
}

impl Call {
    pub(super) fn new(inner: &call::Call, operation: &'static Operation, form: Form) -> Self {
        Self {
            account: inner.scope.account.clone(),
            inner: inner.clone(),
            operation,
            form,
        }
    }

    /// The server's parts.
    pub(super) fn ctx(&self) -> &Arc<Context> {
        &self.inner.ctx
    }

    /// The operation's action on `resource`.
    pub(super) fn ask<'a>(&self, resource: &'a str) -> Ask<'a> {
        Ask::new(self.operation.action, resource)
    }

    /// Refuses unless the caller's policies allow what is asked.
    pub(super) fn authorize(&self, ask: &Ask<'_>) -> Result<(), Failure> {
        Ok(self.inner.authorize(ask)?)
    }

    /// Runs `work` on a snapshot.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, Failure>
    where
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        self.ctx().store.read(work).await
    }

    /// Runs `work` in the transaction of the call; when its answer is durable, what is held in
    /// memory of principals is dropped, so that the change counts for the next request.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Failure>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let outcome = self.inner.write(work).await;
        self.ctx().directory.changed();
        outcome
    }

    /// The name of the user who asks, for operations that act on their caller when no name is
    /// given.
    pub(super) fn own_name(&self) -> Result<String, Failure> {
        match &self.inner.caller.principal.kind {
            PrincipalKind::User { name, .. } => Ok(name.clone()),
            _ => Err(Failure::validation(
                "Must specify userName when calling with non-User credentials",
            )),
        }
    }
}

/// A unique ID: four letters that say of what, and seventeen random characters.
pub(super) fn unique_id(prefix: &str) -> Result<String, Failure> {
    let random = random::base32::<16>().map_err(Failure::internal)?;
    Ok(format!("{prefix}{}", &random[..17]))
}
