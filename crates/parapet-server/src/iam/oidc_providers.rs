//! `CreateOpenIDConnectProvider`, `GetOpenIDConnectProvider`, `ListOpenIDConnectProviders`,
//! `DeleteOpenIDConnectProvider`, `AddClientIDToOpenIDConnectProvider`,
//! `RemoveClientIDFromOpenIDConnectProvider`, `UpdateOpenIDConnectProviderThumbprint`.
//!
//! Only issuers registered here may vouch for anybody. The thumbprints are kept as they were given
//! and used for nothing.

use super::call::{Ask, Tags};
use super::tags::write_tags;
use super::{Answer, Call, arn, names, quotas};
use crate::query::{Code, Failure, Xml};
use crate::store::oidc_providers::{self, OidcProvider};
use crate::store::principal_tags::{self, Tagged};
use crate::store::{Micros, StoreError};

pub(super) async fn create(call: &Call) -> Answer {
    let form = &call.form;
    let url = issuer(&form.required("Url", &names::URL)?)?;
    let client_ids = form.list("ClientIDList", &names::CLIENT_ID)?;
    let thumbprints = form.list("ThumbprintList", &names::THUMBPRINT)?;
    let tags = form.tags("Tags")?;
    let arn = arn::oidc_provider(&call.account, &url);
    call.authorize(&call.ask(&arn).tagging(&tags))?;
    if !tags.is_empty() {
        call.authorize(&Ask::new("iam:TagOpenIDConnectProvider", &arn).tagging(&tags))?;
    }
    let (ids, prints) = (client_ids.len() as u64, thumbprints.len() as u64);
    if ids > quotas::CLIENT_IDS {
        return Err(quotas::exceeded(
            "ClientIdsPerOpenIdConnectProvider",
            quotas::CLIENT_IDS,
        ));
    }
    if prints > quotas::THUMBPRINTS {
        return Err(quotas::exceeded(
            "ThumbprintsPerOpenIdConnectProvider",
            quotas::THUMBPRINTS,
        ));
    }
    let provider = OidcProvider {
        arn,
        url,
        client_ids,
        thumbprints,
        keys_json: None,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let (arn, tags) = call
        .write(move |tx| {
            if oidc_providers::get(tx, &account, &provider.arn)?.is_some() {
                return Err(Failure::refused(
                    Code::EntityAlreadyExists,
                    format!("Provider with url https://{} already exists.", provider.url),
                ));
            }
            let have = oidc_providers::all(tx, &account)?.len() as u64;
            quotas::room("OpenIdConnectProvidersPerAccount", have, quotas::PROVIDERS)?;
            oidc_providers::insert(tx, &account, &provider)?;
            principal_tags::put(tx, &account, Tagged::OidcProvider, &provider.arn, &tags)?;
            Ok((provider.arn, tags))
        })
        .await?;
    let mut xml = Xml::default();
    xml.text("OpenIDConnectProviderArn", &arn);
    write_tags(&mut xml, &tags);
    Ok(Some(xml))
}

/// An issuer without its scheme. It is compared with tokens, letter by letter, so that what could
/// be written in two ways is refused.
fn issuer(url: &str) -> Result<String, Failure> {
    let bare = url.strip_prefix("https://").ok_or_else(|| {
        Failure::input("The Url must begin with https://, as the issuer in its tokens does.")
    })?;
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let is_plain = bare
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._~/:".contains(c));
    let host = bare.split('/').next().unwrap_or_default();
    if host.is_empty() || !is_plain || bare.contains("//") {
        return Err(Failure::input(
            "The Url must hold a host and a path of letters, digits, '-', '.', '_', '~' and '/' \
             only.",
        ));
    }
    Ok(bare.to_owned())
}

/// The provider that the request names, if the caller may do the operation to it.
async fn found(call: &Call) -> Result<(OidcProvider, Tags), Failure> {
    let arn = call
        .form
        .required("OpenIDConnectProviderArn", &names::ARN)?;
    let (account, wanted) = (call.account.clone(), arn.clone());
    let found = call
        .read(move |connection| {
            let Some(provider) = oidc_providers::get(connection, &account, &wanted)? else {
                return Ok(None);
            };
            let tags = principal_tags::get(connection, &account, Tagged::OidcProvider, &wanted)?;
            Ok(Some((provider, tags)))
        })
        .await?;
    let tags = found.as_ref().map(|(_, tags)| tags.clone());
    call.authorize(&call.ask(&arn).tagged(&tags.unwrap_or_default()))?;
    found.ok_or_else(|| missing(&arn))
}

fn missing(arn: &str) -> Failure {
    let arn: String = arn.chars().take(512).collect();
    Failure::not_found(format!("OpenIDConnect Provider not found for arn {arn}"))
}

pub(super) async fn get(call: &Call) -> Answer {
    let (provider, tags) = found(call).await?;
    let mut xml = Xml::default();
    xml.text("Url", &provider.url);
    xml.texts("ClientIDList", &provider.client_ids);
    xml.texts("ThumbprintList", &provider.thumbprints);
    xml.text("CreateDate", provider.created.rfc3339());
    write_tags(&mut xml, &tags);
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| Ok(oidc_providers::all(connection, &account)?))
        .await?;
    let mut xml = Xml::default();
    xml.list("OpenIDConnectProviderList", &found, |xml, provider| {
        xml.text("Arn", &provider.arn);
    });
    Ok(Some(xml))
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (provider, _) = found(call).await?;
    let account = call.account.clone();
    call.write(move |tx| {
        principal_tags::forget(tx, &account, Tagged::OidcProvider, &provider.arn)?;
        Ok(oidc_providers::delete(tx, &account, &provider.arn)?)
    })
    .await?;
    Ok(None)
}

/// Changes a provider that nobody else has taken away.
async fn change(
    call: &Call,
    change: impl FnOnce(&mut OidcProvider) -> Result<(), Failure> + Send + 'static,
) -> Answer {
    let (provider, _) = found(call).await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let now: Result<_, StoreError> = oidc_providers::get(tx, &account, &provider.arn);
        let Some(mut now) = now? else {
            return Err(missing(&provider.arn));
        };
        change(&mut now)?;
        Ok(oidc_providers::update(tx, &account, &now)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn add_client_id(call: &Call) -> Answer {
    let id = call.form.required("ClientID", &names::CLIENT_ID)?;
    change(call, move |provider| {
        if !provider.client_ids.contains(&id) {
            let have = provider.client_ids.len() as u64;
            quotas::room(
                "ClientIdsPerOpenIdConnectProvider",
                have,
                quotas::CLIENT_IDS,
            )?;
            provider.client_ids.push(id);
        }
        Ok(())
    })
    .await
}

pub(super) async fn remove_client_id(call: &Call) -> Answer {
    let id = call.form.required("ClientID", &names::CLIENT_ID)?;
    change(call, move |provider| {
        provider.client_ids.retain(|held| *held != id);
        Ok(())
    })
    .await
}

pub(super) async fn update_thumbprints(call: &Call) -> Answer {
    let thumbprints = call.form.list("ThumbprintList", &names::THUMBPRINT)?;
    if thumbprints.len() as u64 > quotas::THUMBPRINTS {
        return Err(quotas::exceeded(
            "ThumbprintsPerOpenIdConnectProvider",
            quotas::THUMBPRINTS,
        ));
    }
    change(call, move |provider| {
        provider.thumbprints = thumbprints;
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_and_has_one_spelling() {
        assert_eq!(
            issuer("https://id.example.test/realm/").ok().as_deref(),
            Some("id.example.test/realm")
        );
        for url in [
            "http://id.example.test",
            "https://",
            "https://id.example.test/a?b",
            "https://ann@id.example.test",
            "https://id.example.test//a",
            "id.example.test",
        ] {
            assert!(issuer(url).is_err(), "{url}");
        }
    }
}
