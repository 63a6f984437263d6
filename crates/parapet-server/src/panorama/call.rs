//! What the operations of Panorama have in common: who may do it to which resource, and paging.

use parapet_api::{Arn, Operation, PackageIdentifier, ResourceType, Tags, Timestamp, page_size};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Ask, Call};
use crate::random;
use crate::store::packages::{self, Package, PackageKey};
use crate::store::{Micros, Position, Scope, tags};

use super::failure::Failure;
use super::tag_resource::resource_key;
use super::token::List;

impl Call {
    /// Refuses unless the caller may do `operation` to the resource, with the tags it has. A
    /// resource that is not there is asked about without tags: who may not see it does not learn
    /// whether it is.
    pub(super) async fn authorize_on(
        &self,
        operation: Operation,
        kind: ResourceType,
        id: &str,
    ) -> Result<(), Failure> {
        let tags = self.tags(kind, id).await?;
        let arn = self.arn(kind, id);
        Ok(self.authorize(&Ask::new(operation.action(), &arn).tagged(&tags))?)
    }

    /// Refuses unless the caller may do `operation`, which names no resource.
    pub(super) fn authorize_any(&self, operation: Operation) -> Result<(), Failure> {
        Ok(self.authorize(&Ask::new(operation.action(), "*"))?)
    }

    /// The tags of a resource; none when it is not there.
    pub(crate) async fn tags(&self, kind: ResourceType, id: &str) -> Result<Tags, Failure> {
        let (scope, resource) = (self.scope.clone(), resource_key(kind, id));
        self.ctx
            .store
            .read::<_, Failure, _>(move |connection| Ok(tags::get(connection, &scope, &resource)?))
            .await
    }

    /// The ARN of a resource of the caller's account.
    #[must_use]
    pub fn arn(&self, kind: ResourceType, id: &str) -> String {
        arn(&self.scope, kind, id)
    }

    /// The package that a request names, if the caller may do `action` to it.
    pub async fn package(
        &self,
        action: &str,
        named: &PackageIdentifier,
    ) -> Result<Package, Failure> {
        let (scope, key) = (self.scope.clone(), named.clone());
        let found = self
            .ctx
            .store
            .read::<_, Failure, _>(move |connection| {
                let key = match &key {
                    PackageIdentifier::Id(id) => PackageKey::Id(id),
                    PackageIdentifier::Name(name) => PackageKey::Name(name),
                };
                Ok(packages::get(connection, &scope, key)?)
            })
            .await?;
        // Policies speak of IDs. Who may not see a package does not learn whether it is there.
        let id = match (&found, named) {
            (Some(package), _) => &package.id,
            (None, PackageIdentifier::Id(id)) => id,
            (None, PackageIdentifier::Name(_)) => "*",
        };
        let tags = self.tags(ResourceType::Package, id).await?;
        let arn = self.arn(ResourceType::Package, id);
        self.authorize(&Ask::new(action, &arn).tagged(&tags))?;
        found.ok_or_else(|| Failure::not_found("Package", named.to_string()))
    }

    /// Where a list ordered by age begins: after the token, or at the newest row. `filter` is what
    /// else the request asks for; the token is bound to it.
    pub fn paging<F: Serialize>(
        &self,
        operation: Operation,
        filter: &F,
        max_results: Option<u32>,
        token: Option<&str>,
    ) -> Result<Paging<Position>, Failure> {
        let paging = self.paging_by(operation, filter, max_results, token)?;
        Ok(Paging {
            list: paging.list,
            after: paging.after.unwrap_or_else(Position::start),
            limit: paging.limit,
        })
    }

    /// The same for a list with another order: `None` is its beginning.
    pub fn paging_by<P: DeserializeOwned, F: Serialize>(
        &self,
        operation: Operation,
        filter: &F,
        max_results: Option<u32>,
        token: Option<&str>,
    ) -> Result<Paging<Option<P>>, Failure> {
        let list = List::new(&self.scope, operation.name(), filter).map_err(Failure::internal)?;
        let after = token
            .map(|token| list.open(&self.ctx.page_key, token))
            .transpose()?;
        Ok(Paging {
            list,
            after,
            limit: page_size(max_results),
        })
    }

    /// The token that leads to what follows `position`; none if nothing does.
    pub fn next_token<A, P: Serialize>(
        &self,
        paging: &Paging<A>,
        position: Option<&P>,
    ) -> Result<Option<String>, Failure> {
        position
            .map(|position| Ok(paging.list.seal(&self.ctx.page_key, position)?))
            .transpose()
    }
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Paging<A> {
    list: List,
    /// The page begins after this.
    pub after: A,
    /// Most rows.
    pub limit: usize,
}

/// The ARN of a resource.
#[must_use]
pub fn arn(scope: &Scope, kind: ResourceType, id: &str) -> String {
    Arn::new(&scope.region, &scope.account, kind, id).to_string()
}

/// 128 random bits, from which IDs are made.
pub fn random_bits() -> Result<u128, Failure> {
    random::bytes()
        .map(u128::from_be_bytes)
        .map_err(Failure::internal)
}

/// A store's time on the wire.
#[must_use]
pub fn wire_time(time: Micros) -> Timestamp {
    Timestamp::from_micros(time.0)
}
