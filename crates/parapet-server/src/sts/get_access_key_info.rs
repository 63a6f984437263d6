//! `GetAccessKeyInfo`: the account of an access key. This server has one account, and of temporary
//! keys it keeps no list.

use parapet_auth::session::is_session_key;

use super::parameters::ACCESS_KEY;
use crate::call::{Ask, Call};
use crate::query::{Failure, Form, Xml};

pub(super) async fn call(call: &Call, form: &Form) -> Result<Xml, Failure> {
    let id = form.required("AccessKeyId", &ACCESS_KEY)?;
    call.authorize(&Ask::new("sts:GetAccessKeyInfo", "*"))?;
    if is_session_key(&id) {
        return Err(Failure::validation(
            "Temporary access keys are not listed anywhere: ask with the key of the user.",
        ));
    }
    let found = call.ctx.directory.key(&id).await;
    match found.map_err(Failure::internal)? {
        Some(key) => {
            let mut xml = Xml::default();
            xml.text("Account", &key.account);
            Ok(xml)
        }
        None => Err(Failure::validation(
            "The access key belongs to no account of this server.",
        )),
    }
}
