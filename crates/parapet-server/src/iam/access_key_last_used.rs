//! `GetAccessKeyLastUsed`.

use super::{Answer, Call, arn, names};
use crate::query::{Failure, Xml};
use crate::store::principal_tags::{self, Tagged};
use crate::store::{access_keys, users};

pub(super) async fn get(call: &Call) -> Answer {
    let id = call.form.required("AccessKeyId", &names::ACCESS_KEY)?;
    let (account, wanted) = (call.account.clone(), id.clone());
    let found = call
        .read(move |connection| {
            let Some(key) = access_keys::get(connection, &wanted)? else {
                return Ok(None);
            };
            let Some(user) = users::by_id(connection, &account, &key.user)? else {
                return Ok(None);
            };
            let tags = principal_tags::get(connection, &account, Tagged::User, &user.id)?;
            Ok(Some((key, user, tags)))
        })
        .await?;
    let Some((key, user, tags)) = found else {
        // Whose it would be is not known: who may ask about everybody learns that it is not there.
        call.authorize(&call.ask(&arn::user(&call.account, "/", "*")))?;
        return Err(Failure::not_found(format!(
            "The Access Key with id {id} cannot be found."
        )));
    };
    let resource = arn::user(&call.account, &user.path, &user.name);
    call.authorize(&call.ask(&resource).tagged(&tags))?;
    let last_use = call.ctx().directory.last_use(&id).or(key.last_use);
    let mut xml = Xml::default();
    xml.text("UserName", &user.name);
    xml.element("AccessKeyLastUsed", |xml| {
        if let Some(used) = &last_use {
            xml.text("LastUsedDate", used.at.rfc3339());
            xml.text("ServiceName", &used.service);
            xml.text("Region", &used.region);
        } else {
            xml.text("ServiceName", "N/A");
            xml.text("Region", "N/A");
        }
    });
    Ok(Some(xml))
}
