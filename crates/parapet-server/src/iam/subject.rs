//! Whom a request speaks of: found, and the caller asked whether it may, before anything is told.

use super::call::{Ask, Tags};
use super::{Call, arn, names};
use crate::query::{Code, Failure};
use crate::store::groups::Group;
use crate::store::principal_tags::{self, Tagged};
use crate::store::roles::Role;
use crate::store::users::User;
use crate::store::{Holder, HolderKind, Tx, groups, roles, users};

/// A user, group or role, for operations that treat them alike.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// What it is.
    pub(super) holder: Holder,
    /// Its name.
    pub(super) name: String,
}

impl Call {
    /// The user that `UserName` names.
    pub(super) async fn user(&self) -> Result<(User, Tags), Failure> {
        let name = self.form.required("UserName", &names::USER)?;
        self.user_named(name, |ask| ask).await
    }

    /// The user that `UserName` names; without it the caller.
    pub(super) async fn user_or_caller(&self) -> Result<(User, Tags), Failure> {
        let name = match self.form.optional("UserName", &names::USER)? {
            Some(name) => name,
            None => self.own_name()?,
        };
        self.user_named(name, |ask| ask).await
    }

    /// The user of this name, if the caller may do the operation to it. Who may not does not learn
    /// whether it is there. `more` adds what else a condition may ask about.
    pub(super) async fn user_named(
        &self,
        name: String,
        more: impl FnOnce(Ask<'_>) -> Ask<'_> + Send,
    ) -> Result<(User, Tags), Failure> {
        let (account, wanted) = (self.account.clone(), name.clone());
        let found = self
            .read(move |connection| {
                let Some(user) = users::by_name(connection, &account, &wanted)? else {
                    return Ok(None);
                };
                let tags = principal_tags::get(connection, &account, Tagged::User, &user.id)?;
                Ok(Some((user, tags)))
            })
            .await?;
        let (path, tags, boundary) = match &found {
            Some((user, tags)) => (user.path.as_str(), tags.clone(), user.boundary.as_deref()),
            None => ("/", Tags::new(), None),
        };
        let resource = arn::user(&self.account, path, &name);
        self.authorize(&more(bounded(self.ask(&resource).tagged(&tags), boundary)))?;
        found.ok_or_else(|| missing(HolderKind::User, &name))
    }

    /// The group that `GroupName` names, if the caller may do the operation to it.
    pub(super) async fn group(&self) -> Result<Group, Failure> {
        self.group_asked(|ask| ask).await
    }

    async fn group_asked(
        &self,
        more: impl FnOnce(Ask<'_>) -> Ask<'_> + Send,
    ) -> Result<Group, Failure> {
        let name = self.form.required("GroupName", &names::GROUP)?;
        let (account, wanted) = (self.account.clone(), name.clone());
        let found = self
            .read(move |connection| Ok(groups::by_name(connection, &account, &wanted)?))
            .await?;
        let path = found.as_ref().map_or("/", |group| group.path.as_str());
        let resource = arn::group(&self.account, path, &name);
        self.authorize(&more(self.ask(&resource)))?;
        found.ok_or_else(|| missing(HolderKind::Group, &name))
    }

    /// The role that `RoleName` names, if the caller may do the operation to it.
    pub(super) async fn role(&self) -> Result<(Role, Tags), Failure> {
        self.role_asked(|ask| ask).await
    }

    async fn role_asked(
        &self,
        more: impl FnOnce(Ask<'_>) -> Ask<'_> + Send,
    ) -> Result<(Role, Tags), Failure> {
        let name = self.form.required("RoleName", &names::ROLE)?;
        let (account, wanted) = (self.account.clone(), name.clone());
        let found = self
            .read(move |connection| {
                let Some(role) = roles::by_name(connection, &account, &wanted)? else {
                    return Ok(None);
                };
                let tags = principal_tags::get(connection, &account, Tagged::Role, &role.id)?;
                Ok(Some((role, tags)))
            })
            .await?;
        let (path, tags, boundary) = match &found {
            Some((role, tags)) => (role.path.as_str(), tags.clone(), role.boundary.as_deref()),
            None => ("/", Tags::new(), None),
        };
        let resource = arn::role(&self.account, path, &name);
        self.authorize(&more(bounded(self.ask(&resource).tagged(&tags), boundary)))?;
        found.ok_or_else(|| missing(HolderKind::Role, &name))
    }

    /// The role, unless it belongs to a service, whose role nobody else changes.
    pub(super) async fn own_role(&self) -> Result<(Role, Tags), Failure> {
        let (role, tags) = self.role().await?;
        modifiable(&role)?;
        Ok((role, tags))
    }

    /// The user, group or role that the request names.
    pub(super) async fn subject(
        &self,
        kind: HolderKind,
        more: impl FnOnce(Ask<'_>) -> Ask<'_> + Send,
    ) -> Result<Subject, Failure> {
        match kind {
            HolderKind::User => {
                let name = self.form.required("UserName", &names::USER)?;
                let (user, _) = self.user_named(name, more).await?;
                Ok(Subject {
                    holder: Holder::user(user.id),
                    name: user.name,
                })
            }
            HolderKind::Group => {
                let group = self.group_asked(more).await?;
                Ok(Subject {
                    holder: Holder::group(group.id),
                    name: group.name,
                })
            }
            HolderKind::Role => {
                let (role, _) = self.role_asked(more).await?;
                if self.operation.access == super::Access::Permissions {
                    modifiable(&role)?;
                }
                Ok(Subject {
                    holder: Holder::role(role.id),
                    name: role.name,
                })
            }
        }
    }

    /// Refuses if the subject has gone away since it was found.
    pub(super) fn still(tx: &Tx<'_>, account: &str, subject: &Subject) -> Result<(), Failure> {
        let Holder { kind, id } = &subject.holder;
        let is_there = match kind {
            HolderKind::User => users::by_id(tx, account, id)?.is_some(),
            HolderKind::Group => {
                groups::by_name(tx, account, &subject.name)?.is_some_and(|it| it.id == *id)
            }
            HolderKind::Role => roles::by_id(tx, account, id)?.is_some(),
        };
        if is_there {
            Ok(())
        } else {
            Err(missing(*kind, &subject.name))
        }
    }
}

/// `iam:PermissionsBoundary`: the boundary that the subject has, or gets.
fn bounded<'a>(ask: Ask<'a>, boundary: Option<&str>) -> Ask<'a> {
    match boundary {
        Some(boundary) => ask.with("iam:PermissionsBoundary", boundary),
        None => ask,
    }
}

/// Refuses to change a role that belongs to a service.
pub(super) fn modifiable(role: &Role) -> Result<(), Failure> {
    if role.linked_service.is_none() {
        return Ok(());
    }
    Err(Failure::refused(
        Code::UnmodifiableEntity,
        format!(
            "Cannot perform the operation on the protected role '{}' - this role is only \
             modifiable by AWS",
            role.name
        ),
    ))
}

/// There is nobody of this name.
pub(super) fn missing(kind: HolderKind, name: &str) -> Failure {
    let what = kind.as_str();
    Failure::not_found(format!("The {what} with name {name} cannot be found."))
}

/// There is somebody of this name.
pub(super) fn taken(kind: &str, name: &str) -> Failure {
    Failure::refused(
        Code::EntityAlreadyExists,
        format!("{kind} with name {name} already exists."),
    )
}

/// Something hangs on it.
pub(super) fn in_use(what_first: &str) -> Failure {
    Failure::refused(
        Code::DeleteConflict,
        format!("Cannot delete entity, must {what_first} first."),
    )
}
