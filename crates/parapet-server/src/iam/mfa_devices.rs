//! `CreateVirtualMFADevice`, `DeleteVirtualMFADevice`, `ListVirtualMFADevices`, `EnableMFADevice`,
//! `DeactivateMFADevice`, `ListMFADevices`: programs that show one-time codes (RFC 6238).
//!
//! The seed is in the answer that makes the device and in no other; it is stored wrapped.

use parapet_auth::totp;
use zeroize::Zeroizing;

use super::call::{Ask, Tags};
use super::paging::Page;
use super::tags::write_tags;
use super::users::write_user;
use super::{Answer, Call, arn, names, quotas};
use crate::query::{Code, Failure, Xml};
use crate::random;
use crate::store::mfa_devices::{self, MfaDevice, seed_label};
use crate::store::principal_tags::{self, Tagged};
use crate::store::{Micros, users};

pub(super) async fn create(call: &Call) -> Answer {
    let name = call.form.required("VirtualMFADeviceName", &names::MFA)?;
    let path = names::path(&call.form)?;
    let tags = call.form.tags("Tags")?;
    let serial = arn::mfa(&call.account, &path, &name);
    call.authorize(&call.ask(&serial).tagging(&tags))?;
    if !tags.is_empty() {
        call.authorize(&Ask::new("iam:TagMFADevice", &serial).tagging(&tags))?;
    }
    names::SERIAL.check("SerialNumber", &serial)?;
    let seed = Zeroizing::new(random::bytes::<{ totp::SEED_BYTES }>().map_err(Failure::internal)?);
    let wrapped = call
        .ctx()
        .seal(&seed_label(&call.account, &serial), &*seed)
        .map_err(Failure::internal)?;
    let device = MfaDevice {
        serial,
        wrapped,
        enabled: None,
        last_step: None,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let (serial, tags) = call
        .write(move |tx| {
            if mfa_devices::get(tx, &account, &device.serial)?.is_some() {
                return Err(Failure::refused(
                    Code::EntityAlreadyExists,
                    "MFADevice entity at the same path and name already exists.",
                ));
            }
            let have = mfa_devices::all(tx, &account)?.len() as u64;
            quotas::room("VirtualMFADevicesPerAccount", have, quotas::MFA_DEVICES)?;
            mfa_devices::insert(tx, &account, &device)?;
            principal_tags::put(tx, &account, Tagged::Mfa, &device.serial, &tags)?;
            Ok((device.serial, tags))
        })
        .await?;
    let text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&*seed));
    let mut xml = Xml::default();
    xml.element("VirtualMFADevice", |xml| {
        xml.text("SerialNumber", &serial);
        // A blob of the protocol: base64 of the text that people type.
        let blob = Zeroizing::new(data_encoding::BASE64.encode(text.as_bytes()));
        xml.text("Base32StringSeed", blob.as_str());
        write_tags(xml, &tags);
    });
    Ok(Some(xml))
}

/// The device that `SerialNumber` names, of the account.
fn of_account(call: &Call) -> Result<String, Failure> {
    call.form.required("SerialNumber", &names::SERIAL)
}

fn missing(serial: &str) -> Failure {
    Failure::not_found(format!(
        "VirtualMFADevice with serial number {serial} doesn't exist."
    ))
}

pub(super) async fn delete(call: &Call) -> Answer {
    let serial = of_account(call)?;
    let (account, wanted) = (call.account.clone(), serial.clone());
    let tags: Tags = call
        .read(move |connection| {
            Ok(principal_tags::get(
                connection,
                &account,
                Tagged::Mfa,
                &wanted,
            )?)
        })
        .await?;
    call.authorize(&call.ask(&serial).tagged(&tags))?;
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(device) = mfa_devices::get(tx, &account, &serial)? else {
            return Err(missing(&serial));
        };
        if device.enabled.is_some() {
            return Err(Failure::refused(
                Code::DeleteConflict,
                "MFA VirtualDevice in use. Must deactivate first.",
            ));
        }
        principal_tags::forget(tx, &account, Tagged::Mfa, &serial)?;
        Ok(mfa_devices::delete(tx, &account, &serial)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn list_virtual(call: &Call) -> Answer {
    let words = ["Assigned", "Unassigned", "Any"];
    let status = call
        .form
        .choice("AssignmentStatus", &words)?
        .unwrap_or("Any");
    let page = Page::of(call, &[status])?;
    call.authorize(&call.ask("*"))?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| {
            let mut found = Vec::new();
            for device in mfa_devices::all(connection, &account)? {
                let is_wanted = match status {
                    "Assigned" => device.enabled.is_some(),
                    "Unassigned" => device.enabled.is_none(),
                    _ => true,
                };
                if !is_wanted {
                    continue;
                }
                let user = match &device.enabled {
                    Some((id, _)) => users::by_id(connection, &account, id)?,
                    None => None,
                };
                found.push((device, user));
            }
            Ok(found)
        })
        .await?;
    let (found, more) = page.cut(found, |(device, _)| device.serial.clone());
    let mut xml = Xml::default();
    xml.list("VirtualMFADevices", &found, |xml, (device, user)| {
        xml.text("SerialNumber", &device.serial);
        if let Some(user) = user {
            xml.element("User", |xml| write_user(xml, &call.account, user));
        }
        xml.optional(
            "EnableDate",
            device.enabled.as_ref().map(|(_, at)| at.rfc3339()),
        );
    });
    let last = found.last().map(|(device, _)| device.serial.clone());
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

pub(super) async fn enable(call: &Call) -> Answer {
    let (user, _) = call.user().await?;
    let serial = of_account(call)?;
    let first = call.form.required("AuthenticationCode1", &names::CODE)?;
    let second = call.form.required("AuthenticationCode2", &names::CODE)?;
    let (account, wanted) = (call.account.clone(), serial.clone());
    let device = call
        .read(move |connection| Ok(mfa_devices::get(connection, &account, &wanted)?))
        .await?
        .ok_or_else(|| missing(&serial))?;
    let seed = call
        .ctx()
        .master_key
        .unwrap(&seed_label(&call.account, &serial), &device.wrapped)
        .map_err(Failure::internal)?;
    let now = Micros::now();
    let step =
        totp::verify_pair(&seed, &first, &second, now.0.div_euclid(1_000_000)).map_err(|_| {
            Failure::refused(
                Code::InvalidAuthenticationCode,
                "Authentication code for device is not valid.",
            )
        })?;
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(device) = mfa_devices::get(tx, &account, &serial)? else {
            return Err(missing(&serial));
        };
        if device.enabled.is_some() {
            return Err(Failure::refused(
                Code::EntityAlreadyExists,
                "MFA Device is already in use.",
            ));
        }
        if users::by_id(tx, &account, &user.id)?.is_none() {
            return Err(super::subject::missing(
                crate::store::HolderKind::User,
                &user.name,
            ));
        }
        let have = mfa_devices::of_user(tx, &account, &user.id)?.len() as u64;
        quotas::room("MFADevicesPerUser", have, quotas::MFA_PER_USER)?;
        // The codes that enabled it open no session.
        mfa_devices::accept_step(tx, &account, &serial, step.unsigned_abs())?;
        Ok(mfa_devices::enable(tx, &account, &serial, &user.id, now)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn deactivate(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let serial = of_account(call)?;
    let account = call.account.clone();
    call.write(move |tx| {
        let device = mfa_devices::get(tx, &account, &serial)?;
        let is_of_user = device
            .and_then(|device| device.enabled)
            .is_some_and(|(id, _)| id == user.id);
        if !is_of_user {
            return Err(Failure::not_found(format!(
                "MFA Device {serial} is not one of the user {}.",
                user.name
            )));
        }
        Ok(mfa_devices::disable(tx, &account, &serial)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn list(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let page = Page::of(call, &[&user.id])?;
    let (account, id) = (call.account.clone(), user.id.clone());
    let found = call
        .read(move |connection| Ok(mfa_devices::of_user(connection, &account, &id)?))
        .await?;
    let (found, more) = page.cut(found, |device| device.serial.clone());
    let mut xml = Xml::default();
    xml.list("MFADevices", &found, |xml, device| {
        xml.text("UserName", &user.name);
        xml.text("SerialNumber", &device.serial);
        xml.optional(
            "EnableDate",
            device.enabled.as_ref().map(|(_, at)| at.rfc3339()),
        );
    });
    let last = found.last().map(|device| device.serial.clone());
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}
