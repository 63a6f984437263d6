//! `GetCallerIdentity`: always allowed, as in the original, for it says nothing but what the key's
//! holder may know. Tools take the account's number from it.

use crate::call::Call;
use crate::query::Xml;

pub(super) fn call(call: &Call) -> Xml {
    let principal = &call.caller.principal;
    let mut xml = Xml::default();
    xml.text("Arn", principal.arn());
    xml.text("UserId", principal.unique_id());
    xml.text("Account", &principal.account);
    xml
}
