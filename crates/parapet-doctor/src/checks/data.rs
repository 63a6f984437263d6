//! The state directory.

use super::{Verdict, count};
use crate::facts::{Encryption, Facts, Kept, Known, Room};

pub(super) fn encryption(facts: &Facts) -> Known<Verdict> {
    Ok(match facts.data.encryption.clone()? {
        Encryption::Device(through) => Verdict::ok(format!("by the disk: {through}")),
        Encryption::Directory => Verdict::ok("by the directory's own policy"),
        Encryption::Memory => Verdict::ok("it is memory: nothing is left without power"),
        Encryption::None(through) => Verdict::warning(format!("none: {through}")),
    })
}

pub(super) fn secrets(facts: &Facts) -> Known<Verdict> {
    let secrets = facts.data.secrets.clone()?;
    let of = |kept: Kept| secrets.iter().filter(move |secret| secret.kept == kept);
    let plain: Vec<String> = of(Kept::Plain).map(|secret| secret.file.clone()).collect();
    if secrets.is_empty() {
        return Ok(Verdict::ok("there are none yet"));
    }
    if plain.is_empty() {
        return Ok(if of(Kept::ByTpm).next().is_some() {
            Verdict::ok("the device key is sealed by this machine's TPM, and seals the others")
        } else {
            Verdict::failure("the device key is gone, and with it what it sealed")
        });
    }
    let is_encrypted = matches!(
        facts.data.encryption,
        Ok(Encryption::Device(_) | Encryption::Directory | Encryption::Memory)
    );
    let opened = of(Kept::ByDeviceKey).count();
    let found = match (plain.len(), opened) {
        (1, 0) => "1 key in a plain file".to_owned(),
        (1, opened) => format!("1 key in a plain file, which opens {opened} sealed"),
        (several, _) => format!("{several} keys in plain files"),
    };
    Ok(if is_encrypted {
        Verdict::ok(format!("{found}, on encrypted storage"))
    } else {
        Verdict::warning(found).with(plain)
    })
}

pub(super) fn modes(facts: &Facts) -> Known<Verdict> {
    let wrong = facts.data.modes.clone()?;
    Ok(if wrong.is_empty() {
        Verdict::ok("closed to other users")
    } else {
        Verdict::failure(format!("{} open or foreign", count(wrong.len(), "file"))).with(wrong)
    })
}

pub(super) fn space(facts: &Facts) -> Known<Verdict> {
    let Room {
        free_bytes,
        total_bytes,
        free_files,
        total_files,
    } = facts.data.space.clone()?;
    let share = |free: u64, total: u64| {
        let percent = u128::from(free) * 100 / u128::from(total.max(1));
        u64::try_from(percent).unwrap_or(100)
    };
    let bytes = share(free_bytes, total_bytes);
    // Without a limit of its own.
    let files = if total_files == 0 {
        100
    } else {
        share(free_files, total_files)
    };
    let found = format!(
        "{} MiB of {} MiB free ({bytes} %)",
        free_bytes >> 20,
        total_bytes >> 20
    );
    let found = if files < 10 {
        format!("{found}, and {files} % of its files")
    } else {
        found
    };
    Ok(match bytes.min(files) {
        0..3 => Verdict::failure(found),
        3..10 => Verdict::warning(found),
        _ => Verdict::ok(found),
    })
}
