//! `ListAccountAliases`, `CreateAccountAlias`, `DeleteAccountAlias`: a name for the account.

use super::{Answer, Call, names};
use crate::query::{Failure, Xml};
use crate::store::accounts;

pub(super) async fn list(call: &Call) -> Answer {
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    let alias = call
        .read(move |connection| Ok(accounts::alias(connection, &account)?))
        .await?;
    let mut xml = Xml::default();
    xml.texts("AccountAliases", alias);
    xml.text("IsTruncated", false);
    Ok(Some(xml))
}

pub(super) async fn create(call: &Call) -> Answer {
    let alias = call.form.required("AccountAlias", &names::ALIAS)?;
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    call.write(move |tx| Ok(accounts::put_alias(tx, &account, &alias)?))
        .await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let alias = call.form.required("AccountAlias", &names::ALIAS)?;
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    call.write(move |tx| {
        if accounts::delete_alias(tx, &account, &alias)? {
            return Ok(());
        }
        Err(Failure::not_found(format!(
            "The account alias {alias} cannot be found."
        )))
    })
    .await?;
    Ok(None)
}
