use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::data::{DataError, Unlocked, unlock_data};
use super::super::encrypt::{EncryptError, encrypt_data};
use super::super::protect::{Ask, ProtectError};
use super::super::settings::{KeySettings, TpmUse};
use super::super::tidy_up;
use super::swtpm::Swtpm;
use crate::examine::is_locked;
use crate::state;

/// What must not be found on the disk.
const SECRET: &str = "opensesame-opensesame-opensesame";
const NAME: &str = "a-name-that-tells-something";

fn run(program: &str, words: &[&str]) -> bool {
    let done = Command::new(program).args(words).output().unwrap();
    if !done.status.success() {
        eprintln!(
            "{program} {words:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    done.status.success()
}

/// A file system in a file, mounted for one test.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// `None`, said loudly, where this host cannot.
    fn make(features: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root: only root mounts");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        let file = fs::File::create(disk.image()).unwrap();
        file.set_len(64 << 20).unwrap();
        fs::create_dir(disk.mount_point()).unwrap();
        let image = disk.image();
        let image = image.to_str().unwrap();
        if !run("mkfs.ext4", &[&["-q"], features, &[image]].concat()) || !disk.mount() {
            eprintln!("skipped: no ext4, or no loop device, for a disk of the test's own");
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn data(&self) -> PathBuf {
        self.mount_point().join("agent")
    }

    fn mount(&self) -> bool {
        let (image, point) = (self.image(), self.mount_point());
        let words = [
            "-o",
            "loop",
            image.to_str().unwrap(),
            point.to_str().unwrap(),
        ];
        run("mount", &words)
    }

    fn unmount(&self) -> bool {
        run("umount", &[self.mount_point().to_str().unwrap()])
    }

    /// Power off and on: the kernel has no key any more. Another process that has just made a mount
    /// namespace may hold a copy of the mount, and with it the key, for a moment.
    fn restart(&self) {
        assert!(self.unmount());
        let begun = std::time::Instant::now();
        while self.is_in_use() {
            assert!(begun.elapsed().as_secs() < 60, "the disk is still in use");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(self.mount());
    }

    /// Whether a loop device, which ends with the last mount, has the image still.
    fn is_in_use(&self) -> bool {
        let mut losetup = Command::new("losetup");
        let listed = losetup.arg("-j").arg(self.image()).output().unwrap();
        !listed.stdout.is_empty()
    }

    /// Whether a text is anywhere on the disk, as who took it would look for it.
    fn holds(&self, text: &str) -> bool {
        rustix::fs::sync();
        let image = fs::read(self.image()).unwrap();
        image
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// State of an appliance: secrets, owners, links, holes.
fn fill(data: &Path) {
    fs::create_dir_all(data.join("device/secrets")).unwrap();
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).unwrap();
    for file in ["device/key.pem", "status.json", &format!("device/{NAME}")] {
        fs::write(data.join(file), SECRET.repeat(200)).unwrap();
    }
    symlink("key.pem", data.join("device/link")).unwrap();
    fs::hard_link(data.join("status.json"), data.join("twin")).unwrap();
    let deep = data.join("instances/one/storage/a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), SECRET).unwrap();
    std::os::unix::fs::chown(deep.join("file"), Some(0x5000_0007), Some(0x5000_0007)).unwrap();
    std::os::unix::fs::chown(data, Some(0x5000_0000), Some(0x5000_0000)).unwrap();
}

fn is_whole(data: &Path) {
    let text = fs::read_to_string(data.join(format!("device/{NAME}"))).unwrap();
    assert_eq!(text, SECRET.repeat(200));
    let link = fs::read_link(data.join("device/link")).unwrap();
    assert_eq!(link, Path::new("key.pem"));
    assert_eq!(fs::metadata(data.join("twin")).unwrap().nlink(), 2);
    let deep = fs::metadata(data.join("instances/one/storage/a/b/file")).unwrap();
    assert_eq!((deep.uid(), deep.len()), (0x5000_0007, 32));
    let top = fs::metadata(data).unwrap();
    assert_eq!((top.uid(), top.mode() & 0o7777), (0x5000_0000, 0o700));
}

/// A passphrase in a file, in place of a TPM.
fn passphrase(directory: &Path) -> KeySettings {
    let file = directory.join("passphrase");
    fs::write(&file, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    KeySettings {
        tpm: TpmUse::Never,
        passphrase_file: Some(file),
        ..KeySettings::default()
    }
}

fn unlock(data: &Path, settings: &KeySettings) -> Result<Unlocked, DataError> {
    unlock_data(data, settings, Ask::Nobody)
}

#[test]
fn an_encrypted_state_directory_is_unreadable_without_its_key_and_whole_with_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    let (data, settings) = (disk.data(), passphrase(elsewhere.path()));
    fill(&data);
    assert!(disk.holds(SECRET), "plain before");
    assert_eq!(unlock(&data, &settings).unwrap(), Unlocked::Plain);
    let mut told = Vec::new();
    encrypt_data(&data, &settings, &mut |step| told.push(step.to_owned())).unwrap();
    assert!(told[0].contains("a passphrase opens it"), "{told:?}");
    is_whole(&data);
    assert!(!disk.holds(SECRET), "what lay there is overwritten");
    fs::write(data.join("new"), SECRET.repeat(300)).unwrap();
    assert!(!disk.holds(SECRET), "what is new is encrypted");
    assert_eq!(unlock(&data, &settings).unwrap(), Unlocked::Before);
    let left: Vec<_> = fs::read_dir(disk.mount_point())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("agent"))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");

    disk.restart();
    assert!(is_locked(&data).unwrap());
    let names: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names.len(), 6, "entries are counted, not named: {names:?}");
    assert!(!data.join("device").exists());
    for path in names.iter().filter(|path| path.is_file()) {
        assert!(fs::read(path).is_err(), "{}", path.display());
    }
    assert!(fs::write(data.join("planted"), "x").is_err());
    assert!(state::hold(&data).is_err(), "no agent starts");
    let locked = unlock(
        &data,
        &KeySettings {
            passphrase_file: None,
            ..settings.clone()
        },
    );
    let why = std::error::Error::source(&locked.unwrap_err()).map(ToString::to_string);
    assert!(why.unwrap().contains("--unlock-data"));
    let file = settings.passphrase_file.clone().unwrap();
    fs::write(&file, "another passphrase\n").unwrap();
    let wrong = unlock(&data, &settings).unwrap_err();
    assert!(
        matches!(wrong, DataError::Key(_, ProtectError::Wrong)),
        "{wrong}"
    );
    assert!(is_locked(&data).unwrap());
    let settings = passphrase(elsewhere.path());
    assert_eq!(unlock(&data, &settings).unwrap(), Unlocked::Now);
    is_whole(&data);
    assert!(!disk.holds(SECRET));
}

#[test]
fn a_tpm_unlocks_an_encrypted_state_directory_and_another_does_not() {
    let tpm = tempfile::tempdir().unwrap();
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    let data = disk.data();
    // Not even made: nothing of it has ever been plain.
    encrypt_data(&data, &swtpm.settings(), &mut |_| {}).unwrap();
    fill(&data);
    disk.restart();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Swtpm::start(elsewhere.path()).unwrap();
    let refused = unlock(&data, &other.settings()).unwrap_err();
    assert!(
        matches!(refused, DataError::Key(_, ProtectError::Tpm(_))),
        "{refused}"
    );
    assert!(is_locked(&data).unwrap());
    assert_eq!(unlock(&data, &swtpm.settings()).unwrap(), Unlocked::Now);
    is_whole(&data);
    assert!(!disk.holds(SECRET) && !disk.holds(NAME));
}

#[test]
fn a_directory_bound_to_secure_boot_is_freed_before_a_change_and_locked_after_one() {
    let tpm = tempfile::tempdir().unwrap();
    let Some(swtpm) = Swtpm::start(tpm.path()) else {
        return;
    };
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    let data = disk.data();
    let bound = KeySettings {
        pcr7: true,
        ..swtpm.settings()
    };
    encrypt_data(&data, &bound, &mut |_| {}).unwrap();
    disk.restart();
    assert_eq!(unlock(&data, &bound).unwrap(), Unlocked::Now);
    let change = || {
        let value = format!("7:sha256={}", "ab".repeat(32));
        swtpm.ask("tpm2_pcrextend", &[&value]);
        disk.restart();
    };
    // One start without the binding; then the change.
    assert_eq!(unlock(&data, &swtpm.settings()).unwrap(), Unlocked::Before);
    change();
    assert_eq!(unlock(&data, &bound).unwrap(), Unlocked::Now, "bound anew");
    change();
    for settings in [bound, swtpm.settings()] {
        let refused = unlock(&data, &settings).unwrap_err();
        assert!(
            matches!(refused, DataError::Key(_, ProtectError::Tpm(_))),
            "{refused}"
        );
    }
}

#[test]
fn an_encryption_that_was_cut_off_loses_nothing_and_is_repeated_to_its_end() {
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    let (data, settings) = (disk.data(), passphrase(elsewhere.path()));
    fill(&data);
    // Before the exchange: half a copy, and a key that nothing needs.
    let copy = disk.mount_point().join("agent.encrypting");
    let begun = disk.mount_point().join("begun");
    encrypt_data(&begun, &settings, &mut |_| {}).unwrap();
    fs::create_dir_all(begun.join("half/a/copy")).unwrap();
    fs::write(begun.join("half/file"), SECRET).unwrap();
    fs::rename(&begun, &copy).unwrap();
    fs::write(disk.mount_point().join("agent.unlock"), "half").unwrap();
    disk.restart();
    tidy_up(&data).unwrap();
    assert_eq!(unlock(&data, &settings).unwrap(), Unlocked::Plain);
    is_whole(&data);
    encrypt_data(&data, &settings, &mut |_| {}).unwrap();
    is_whole(&data);
    // After it: what was there before still lies there. The next start goes on.
    for again in [false, true] {
        fill(&copy);
        fs::write(copy.join("before"), SECRET).unwrap();
        disk.restart();
        unlock(&data, &settings).unwrap();
        if again {
            encrypt_data(&data, &settings, &mut |_| {}).unwrap();
        } else {
            tidy_up(&data).unwrap();
        }
        assert!(!copy.exists() && !data.join("before").exists());
        is_whole(&data);
        assert!(!disk.holds(SECRET));
    }
}

#[test]
fn an_agent_that_runs_a_mount_and_a_file_system_without_encryption_are_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    let settings = passphrase(elsewhere.path());
    let Some(plain) = Disk::make(&["-O", "^encrypt"]) else {
        return;
    };
    fill(&plain.data());
    let refused = encrypt_data(&plain.data(), &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, EncryptError::Unsupported(_)), "{refused}");
    assert!(refused.to_string().contains("tune2fs -O encrypt DEVICE"));
    is_whole(&plain.data());
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    fill(&disk.data());
    let agent = state::hold(&disk.data()).unwrap();
    let refused = encrypt_data(&disk.data(), &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, EncryptError::Lock(_)), "{refused}");
    drop(agent);
    let refused = encrypt_data(&disk.mount_point(), &settings, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, EncryptError::Mount(_)), "{refused}");
    is_whole(&disk.data());
}

#[test]
fn a_reset_of_an_encrypted_state_directory_destroys_its_key_first_locked_or_not() {
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::make(&["-O", "encrypt"]) else {
        return;
    };
    let (data, settings) = (disk.data(), passphrase(elsewhere.path()));
    for is_unlocked in [true, false] {
        fill(&data);
        encrypt_data(&data, &settings, &mut |_| {}).unwrap();
        let unlock_file = disk.mount_point().join("agent.unlock");
        let key = fs::File::open(&unlock_file).unwrap();
        if !is_unlocked {
            drop(fs::read(&unlock_file).unwrap());
            drop(key);
            disk.restart();
        }
        let mut told = Vec::new();
        crate::reset(&data, &mut |step| told.push(step.to_owned())).unwrap();
        assert!(told[0].starts_with("the key of the encrypted"), "{told:?}");
        assert!(!unlock_file.exists());
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        let top = fs::metadata(&data).unwrap();
        assert_eq!((top.uid(), top.mode() & 0o7777), (0x5000_0000, 0o700));
        assert_eq!(unlock(&data, &settings).unwrap(), Unlocked::Plain);
        state::hold(&data).unwrap();
    }
}
