//! `GetSessionToken`: a user's own rights for a while, with a second factor if it has one.
//!
//! Nobody is refused by policy, as in the original: the session can do what its user can, and
//! without a second factor neither IAM nor STS (`front` holds that).

use parapet_auth::session::{SessionPolicies, Subject};
use parapet_auth::{PrincipalKind, SessionClaims};

use super::credentials::{Credentials, Frame};
use super::parameters::SHORTEST_S;
use super::second_factor;
use crate::call::Call;
use crate::query::{Failure, Form, Xml};

/// Longest session of a user: 36 hours.
const LONGEST_USER_S: u32 = 129_600;
/// What a user's session gets when nothing is asked for: 12 hours.
const USUAL_USER_S: u32 = 43_200;
/// The longest session of the root, and the usual one.
const ROOT_S: u32 = 3_600;

pub(super) async fn call(call: &Call, form: &Form) -> Result<Xml, Failure> {
    let asked = form.number("DurationSeconds", SHORTEST_S, LONGEST_USER_S)?;
    if call.caller.session.is_some() {
        return Err(Failure::denied(
            "Cannot call GetSessionToken with session credentials",
        ));
    }
    let (subject, duration) = match &call.caller.principal.kind {
        PrincipalKind::User { id, .. } => (
            Subject::User { id: id.clone() },
            asked.unwrap_or(USUAL_USER_S),
        ),
        PrincipalKind::Root => (Subject::Root, asked.unwrap_or(ROOT_S).min(ROOT_S)),
        PrincipalKind::AssumedRole { .. } => {
            return Err(Failure::denied(
                "Cannot call GetSessionToken with session credentials",
            ));
        }
    };
    let factor = second_factor::read(call, form).await?;
    let frame = Frame::new(duration)?;
    let claims = SessionClaims {
        access_key: frame.access_key,
        account: call.scope.account.clone(),
        subject,
        issued_us: frame.issued.0,
        expires: frame.expires,
        mfa: factor
            .is_some()
            .then(|| frame.issued.0.div_euclid(1_000_000)),
        policies: SessionPolicies::default(),
        tags: std::collections::BTreeMap::new(),
        transitive: Vec::new(),
        source_identity: None,
        opened_by: call.caller.principal.arn(),
        federation: None,
    };
    let credentials = Credentials::seal(&call.ctx, &claims).await?;
    super::told(call, &claims);
    call.write::<_, Failure, _>(move |tx| match factor {
        Some(factor) if !factor.spend(tx)? => Err(second_factor::wrong()),
        _ => Ok(()),
    })
    .await?;
    let mut xml = Xml::default();
    credentials.write(&mut xml);
    Ok(xml)
}
