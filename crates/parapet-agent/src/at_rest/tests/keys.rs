use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::keep::{self, KeyError, hand_over, peek};
use super::super::settings::{KeySettings, TpmUse};
use super::super::tpm::TpmError;
use super::super::vault::{HeldBy, PrivateKey, Vault};
use super::swtpm::Swtpm;

fn open(data: &Path, settings: &KeySettings) -> Result<Vault, KeyError> {
    keep::open(data, settings, None)
}

/// No TPM anywhere.
fn without(data: &Path) -> KeySettings {
    KeySettings {
        tpm_device: data.join("no-tpm"),
        ..KeySettings::default()
    }
}

fn files(data: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(data.join("device"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn device_pem(vault: &Vault) -> String {
    let pem = vault.private_key(PrivateKey::Device).unwrap();
    pem.unwrap().to_string()
}

#[test]
fn the_device_key_is_sealed_by_the_tpm_and_opens_after_a_restart() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(vault.held_by(), HeldBy::Tpm);
    vault
        .keep_private_key(PrivateKey::Device, "opensesame")
        .unwrap();
    assert_eq!(files(dir.path()), ["key.sealed", "secrets.key.tpm"]);
    let stored = fs::metadata(dir.path().join("device/secrets.key.tpm")).unwrap();
    assert_eq!(stored.permissions().mode() & 0o777, 0o600);

    let swtpm = swtpm.restart();
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(device_pem(&vault), "opensesame");
    let seen = peek(dir.path(), &swtpm.settings()).unwrap().unwrap();
    assert_eq!(device_pem(&seen), "opensesame");
    let again = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(device_pem(&again), "opensesame", "places are given back");
}

#[test]
fn a_cleared_tpm_another_one_and_none_do_not_open_it_and_nothing_is_made_anew() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    vault.keep_private_key(PrivateKey::Device, "pem").unwrap();
    let kept = || fs::read(dir.path().join("device/secrets.key.tpm")).unwrap();
    let before = kept();
    let refused = |settings: &KeySettings| {
        let error = open(dir.path(), settings).unwrap_err();
        assert_eq!(kept(), before);
        assert_eq!(files(dir.path()), ["key.sealed", "secrets.key.tpm"]);
        error
    };

    let elsewhere = tempfile::tempdir().unwrap();
    let other = Swtpm::start(elsewhere.path()).unwrap();
    let error = refused(&other.settings());
    assert!(
        matches!(error, KeyError::Tpm(TpmError::Stranger(_))),
        "{error}"
    );
    assert!(error.to_string().contains("parapet agent reset"), "{error}");
    for settings in [
        without(dir.path()),
        KeySettings {
            tpm: TpmUse::Never,
            ..swtpm.settings()
        },
    ] {
        let error = refused(&settings);
        assert!(matches!(error, KeyError::SealedByTpm { .. }), "{error}");
    }

    swtpm.ask("tpm2_clear", &["-c", "p"]);
    let error = refused(&swtpm.settings());
    assert!(
        matches!(error, KeyError::Tpm(TpmError::Stranger(_))),
        "{error}"
    );
    assert!(error.to_string().contains("it was cleared"), "{error}");
    // Somebody has set the owner's password: the TPM's own words.
    swtpm.ask("tpm2_changeauth", &["-c", "o", "password"]);
    let error = refused(&swtpm.settings());
    assert!(matches!(error, KeyError::Tpm(TpmError::Tool(_))), "{error}");
    // Where nothing is sealed yet, it is as if there were none.
    let fresh = tempfile::tempdir().unwrap();
    let required = KeySettings {
        tpm: TpmUse::Require,
        ..swtpm.settings()
    };
    let error = open(fresh.path(), &required).unwrap_err();
    assert!(matches!(error, KeyError::Tpm(TpmError::Tool(_))), "{error}");
    let vault = open(fresh.path(), &swtpm.settings()).unwrap();
    assert_eq!(vault.held_by(), HeldBy::File);
}

#[test]
fn a_key_in_a_file_goes_over_to_the_tpm_with_all_that_it_sealed() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let vault = open(dir.path(), &without(dir.path())).unwrap();
    assert_eq!(vault.held_by(), HeldBy::File);
    vault.keep_private_key(PrivateKey::Device, "pem").unwrap();
    let path = dir.path().join("device/secrets.key");
    let plain = fs::read(&path).unwrap();
    let file = fs::File::open(&path).unwrap();

    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(
        (vault.held_by(), &*device_pem(&vault)),
        (HeldBy::Tpm, "pem")
    );
    assert_eq!(files(dir.path()), ["key.sealed", "secrets.key.tpm"]);
    let mut zeros = Vec::new();
    std::io::Read::read_to_end(&mut &file, &mut zeros).unwrap();
    assert_eq!(zeros, vec![0; plain.len()], "overwritten where it lay");

    // Cut off before the file was put aside, and while it was overwritten.
    fs::write(&path, &plain).unwrap();
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(device_pem(&vault), "pem");
    fs::write(path.with_extension("key.wiping"), &plain).unwrap();
    open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(files(dir.path()), ["key.sealed", "secrets.key.tpm"]);
}

#[test]
fn a_key_bound_to_secure_boot_is_held_back_after_a_change_and_freed_before_one() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let bound = KeySettings {
        pcr7: true,
        ..swtpm.settings()
    };
    let vault = open(dir.path(), &bound).unwrap();
    vault.keep_private_key(PrivateKey::Device, "pem").unwrap();
    open(dir.path(), &bound).unwrap();
    let extend = || {
        let value = format!("7:sha256={}", "ab".repeat(32));
        swtpm.ask("tpm2_pcrextend", &[&value]);
    };
    let kept = fs::read(dir.path().join("device/secrets.key.tpm")).unwrap();
    extend();
    let error = open(dir.path(), &bound).unwrap_err();
    assert!(
        matches!(error, KeyError::Tpm(TpmError::HeldBack(_))),
        "{error}"
    );
    assert!(error.to_string().contains("pcr7 = false"), "{error}");

    // Off and on again, PCR 7 is as it was.
    let swtpm = swtpm.restart();
    assert_eq!(
        fs::read(dir.path().join("device/secrets.key.tpm")).unwrap(),
        kept
    );
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(device_pem(&vault), "pem");
    let value = format!("7:sha256={}", "ab".repeat(32));
    swtpm.ask("tpm2_pcrextend", &[&value]);
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    assert_eq!(device_pem(&vault), "pem", "sealed anew without PCR 7");
}

#[test]
fn without_a_tpm_the_key_lies_in_a_file_unless_one_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let settings = without(dir.path());
    let required = KeySettings {
        tpm: TpmUse::Require,
        ..settings.clone()
    };
    let error = open(dir.path(), &required).unwrap_err();
    assert!(matches!(error, KeyError::Required(_)), "{error}");
    assert!(files(dir.path()).is_empty());
    let vault = open(dir.path(), &settings).unwrap();
    assert_eq!(vault.held_by(), HeldBy::File);
    let path = dir.path().join("device/secrets.key");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = fs::read(&path).unwrap();
    open(dir.path(), &settings).unwrap();
    assert_eq!(fs::read(&path).unwrap(), key, "once made it stays");
    fs::write(dir.path().join("no-tpm"), "").unwrap();
    open(dir.path(), &settings).unwrap();
    assert!(matches!(
        open(dir.path(), &required),
        Err(KeyError::Required(_))
    ));
}

#[test]
fn a_device_key_that_is_gone_is_never_replaced_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let settings = without(dir.path());
    assert!(peek(dir.path(), &settings).unwrap().is_none());
    for which in [PrivateKey::Device, PrivateKey::Inbound] {
        let vault = open(dir.path(), &settings).unwrap();
        vault.keep_private_key(which, "pem").unwrap();
        fs::remove_file(dir.path().join("device/secrets.key")).unwrap();
        let error = open(dir.path(), &settings).unwrap_err();
        assert!(matches!(error, KeyError::Lost(_)), "{error}");
        fs::remove_dir_all(dir.path().join("device")).unwrap();
    }
    open(dir.path(), &settings).unwrap();
    fs::write(dir.path().join("device/secrets.key"), "short").unwrap();
    let error = open(dir.path(), &settings).unwrap_err();
    assert!(matches!(error, KeyError::Damaged(_)), "{error}");
}

#[test]
fn a_key_is_handed_over_to_an_agent_without_a_tpm_of_its_own_and_to_no_other_appliance() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let run = tempfile::tempdir().unwrap();
    let file = run.path().join("device.key");
    hand_over(dir.path(), &swtpm.settings(), &file).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let no_tpm = without(dir.path());
    let vault = keep::open(dir.path(), &no_tpm, Some(&file)).unwrap();
    assert_eq!(vault.held_by(), HeldBy::Tpm);
    vault.keep_private_key(PrivateKey::Device, "pem").unwrap();

    // Emptied, and started without its unit.
    crate::reset(dir.path(), &mut |_| {}).unwrap();
    let error = keep::open(dir.path(), &no_tpm, Some(&file)).unwrap_err();
    assert!(matches!(error, KeyError::Foreign(_)), "{error}");
    // Where there is no TPM, only that is handed over.
    hand_over(dir.path(), &no_tpm, &file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"file");
    let vault = keep::open(dir.path(), &no_tpm, Some(&file)).unwrap();
    assert_eq!(vault.held_by(), HeldBy::File);
}

#[test]
fn a_reset_destroys_the_sealed_keys_first() {
    let (dir, tpm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let vault = open(dir.path(), &swtpm.settings()).unwrap();
    for which in PrivateKey::ALL {
        vault.keep_private_key(which, "pem").unwrap();
    }
    let sealed = fs::File::open(dir.path().join("device/secrets.key.tpm")).unwrap();
    let mut told = Vec::new();
    crate::reset(dir.path(), &mut |step| told.push(step.to_owned())).unwrap();
    assert!(told[0].starts_with("keys: 4 "), "{told:?}");
    let zeros = std::io::read_to_string(sealed).unwrap();
    assert!(zeros.bytes().all(|byte| byte == 0) && !zeros.is_empty());
}
