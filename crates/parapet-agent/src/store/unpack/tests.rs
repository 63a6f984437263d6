//! Hostile assets, made by hand: the libraries that write archives refuse what an attacker sends.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;

type Result<T> = std::result::Result<T, UnpackError>;

struct Case {
    dir: tempfile::TempDir,
    builder: Builder<GzEncoder<File>>,
}

impl Case {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let file = File::create(dir.path().join("asset")).unwrap();
        fs::write(dir.path().join("outside"), b"outside").unwrap();
        Self {
            dir,
            builder: Builder::new(GzEncoder::new(file, Compression::best())),
        }
    }

    fn entry(self, kind: EntryType, name: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        self.sized(kind, name, link, mode, data.len() as u64, data)
    }

    fn sized(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        mode: u32,
        size: u64,
        data: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str) -> Self {
        self.entry(EntryType::Regular, name, "", 0o600, b"data")
    }

    /// A PAX record before the next entry; each word with its length in front.
    fn pax(self, words: &[(&str, &str)]) -> Self {
        let mut record = String::new();
        for (key, value) in words {
            let body = format!(" {key}={value}\n");
            let mut length = body.len() + 1;
            while length != body.len() + length.to_string().len() {
                length = body.len() + length.to_string().len();
            }
            record.push_str(&length.to_string());
            record.push_str(&body);
        }
        self.entry(EntryType::XHeader, "pax", "", 0o644, record.as_bytes())
    }

    fn close(self) -> (tempfile::TempDir, PathBuf) {
        self.builder.into_inner().unwrap().finish().unwrap();
        let asset = self.dir.path().join("asset");
        (self.dir, asset)
    }

    fn unpack(
        self,
        unpack: fn(&Path, &Path) -> Result<()>,
    ) -> (tempfile::TempDir, Result<PathBuf>) {
        let (dir, asset) = self.close();
        let target = dir.path().join("target");
        let done = unpack(&asset, &target).map(|()| target);
        (dir, done)
    }

    fn image(self) -> (tempfile::TempDir, Result<PathBuf>) {
        self.unpack(image)
    }

    /// The message with which the package is refused.
    fn refused(self) -> String {
        let (dir, refused) = self.image();
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"outside");
        let error = refused.expect_err("nothing was refused");
        assert!(error.is_final(), "{error} would be tried again");
        error.to_string()
    }
}

#[test]
fn a_tree_keeps_its_shape_and_becomes_readable() {
    let case = Case::new()
        .entry(EntryType::Directory, "./panorama/", "", 0o700, b"")
        .entry(EntryType::Regular, "panorama/app.py", "", 0o600, b"print()")
        .entry(EntryType::Regular, "usr/bin/tool", "", 0o4711, b"x")
        .entry(EntryType::Link, "usr/bin/same", "usr/bin/tool", 0o644, b"")
        .entry(EntryType::Symlink, "bin", "usr/bin", 0o777, b"")
        .entry(EntryType::Symlink, "var/run", "/run", 0o777, b"");
    let (_dir, target) = case.image();
    let root = target.unwrap().join("rootfs");
    assert_eq!(fs::read(root.join("panorama/app.py")).unwrap(), b"print()");
    let mode = |name| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    let modes = ["panorama", "panorama/app.py", "usr/bin/same"].map(mode);
    assert_eq!(modes, [0o755, 0o644, 0o755]);
    let link = fs::read_link(root.join("bin")).unwrap();
    assert_eq!(link, Path::new("usr/bin"));
}

#[test]
fn what_real_images_carry_is_taken_off_and_said_by_name() {
    let case = Case::new()
        .entry(EntryType::Regular, "usr/bin/su", "", 0o4755, b"x")
        .pax(&[("SCHILY.xattr.security.capability", "\u{1}cap")])
        .file("usr/bin/ping")
        .entry(EntryType::Char, "dev/null", "", 0o666, b"")
        .entry(EntryType::Fifo, "run/initctl", "", 0o600, b"");
    let (dir, asset) = case.close();
    let target = dir.path().join("target");
    let mut taken = Taken::default();
    image_noting(&asset, &target, &mut taken).unwrap();
    let root = target.join("rootfs");
    let su = fs::metadata(root.join("usr/bin/su")).unwrap();
    assert_eq!(su.mode() & 0o7777, 0o755);
    assert!(!root.join("dev/null").exists() && !root.join("run/initctl").exists());
    let mut said: Vec<_> = taken
        .kinds
        .iter()
        .map(|(what, names, _)| format!("{what}: {}", names.join(" ")))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "device nodes, pipes and sockets: dev/null run/initctl",
            "file capabilities and other extended attributes: usr/bin/ping",
            "setuid and setgid bits: usr/bin/su",
        ]
    );
}

#[test]
fn a_mount_point_that_is_no_directory_is_refused_by_name() {
    for place in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "etc",
        "var/tmp",
        "opt/aws/panorama/logs",
        "opt/aws/panorama/storage",
        "opt/parapet",
        "opt",
        "var",
    ] {
        let link = Case::new()
            .entry(EntryType::Symlink, place, "/", 0o777, b"")
            .refused();
        assert!(link.contains(place) && link.contains("symbolic"), "{link}");
        let file = Case::new().file(&format!("./{place}")).refused();
        assert!(file.contains(place), "{file}");
        let hard = Case::new()
            .file("a")
            .entry(EntryType::Link, place, "a", 0o644, b"")
            .refused();
        assert!(hard.contains(place), "{hard}");
    }
    // A link that merely leads there is the application's business.
    let (_dir, target) = Case::new()
        .entry(EntryType::Symlink, "devices", "/dev", 0o777, b"")
        .image();
    assert!(target.is_ok(), "{target:?}");
}

#[test]
fn nothing_is_written_outside_by_a_name_or_a_link() {
    for name in ["/etc/evil", "../evil", "a/../../evil", "a/.."] {
        let message = Case::new().file(name).refused();
        assert!(message.contains("must be relative"), "{name}: {message}");
    }
    let message = Case::new()
        .entry(EntryType::Symlink, "a", "..", 0o777, b"")
        .file("a/evil")
        .refused();
    assert!(message.contains("its directory is a link"), "{message}");
    let message = Case::new()
        .entry(EntryType::Symlink, "a", "../../outside", 0o777, b"")
        .file("a")
        .refused();
    assert!(message.contains("twice"), "{message}");
}

#[test]
fn a_hard_link_stays_inside_and_meets_a_file() {
    for target in ["../outside", "/etc/passwd", "nothing", "a", "a/x", ""] {
        let message = Case::new()
            .entry(EntryType::Symlink, "a", "../../outside", 0o777, b"")
            .entry(EntryType::Link, "b", target, 0o644, b"")
            .refused();
        assert!(message.contains("hard link \"b\""), "{target}: {message}");
    }
}

#[test]
fn an_entry_that_is_there_twice_is_refused() {
    let message = Case::new().file("a").file("./a").refused();
    assert!(
        message.contains("\"a\": the asset has it twice"),
        "{message}"
    );
    let message = Case::new()
        .file("a")
        .entry(EntryType::Directory, "a", "", 0o755, b"")
        .refused();
    assert!(message.contains("\"a\""), "{message}");
}

#[test]
fn special_files_where_they_would_be_seen_are_refused_by_name() {
    for (kind, name, found) in [
        (EntryType::Char, "null", "device node"),
        (EntryType::Block, "usr/sda", "device node"),
        (EntryType::Char, "tmp/null", "device node"),
        (EntryType::Fifo, "usr/pipe", "pipe"),
    ] {
        let message = Case::new().entry(kind, name, "", 0o666, b"").refused();
        assert!(
            message.contains(name) && message.contains(found),
            "{message}"
        );
    }
}

#[test]
fn tricks_with_names_and_sizes_are_refused_by_name() {
    let long = |kind, name: &str| Case::new().entry(kind, "long", "", 0o644, name.as_bytes());
    let gnu = EntryType::GNULongName;
    let cases = [
        (long(gnu, "../../evil\0").file("a"), "must be relative"),
        (long(gnu, "/evil\0").file("a"), "must be relative"),
        (long(gnu, "x\0y\0").file("a"), "must be relative"),
        (
            long(gnu, "x\0")
                .entry(gnu, "long", "", 0o644, b"y\0")
                .file("a"),
            "given twice",
        ),
        (
            long(gnu, "x\0").pax(&[("path", "y")]).file("a"),
            "differently",
        ),
        (
            long(EntryType::GNULongLink, "/etc/passwd\0").entry(
                EntryType::Link,
                "a",
                "a",
                0o644,
                b"",
            ),
            "hard link \"a\"",
        ),
        (
            Case::new().pax(&[("path", "../evil")]).file("a"),
            "must be relative",
        ),
        (
            Case::new().pax(&[("path", "a"), ("path", "b")]).file("a"),
            "twice",
        ),
        (
            Case::new().pax(&[("linkpath", "../outside")]).entry(
                EntryType::Link,
                "b",
                "a",
                0o644,
                b"",
            ),
            "hard link \"b\"",
        ),
        (Case::new().pax(&[("size", "1")]).file("a"), "differently"),
        (Case::new().pax(&[("size", "x")]).file("a"), "no number"),
        (
            Case::new()
                .pax(&[("GNU.sparse.realsize", "99999")])
                .file("a"),
            "sparse",
        ),
        (
            Case::new().entry(EntryType::GNUSparse, "a", "", 0o644, b""),
            "sparse",
        ),
        (
            Case::new()
                .entry(EntryType::XGlobalHeader, "g", "", 0o644, b"10 path=b\n")
                .file("a"),
            "many entries",
        ),
        (
            Case::new().entry(EntryType::Symlink, "a", "b", 0o777, b"contents"),
            "has contents",
        ),
        (
            Case::new().entry(EntryType::new(b'V'), "a", "", 0o644, b""),
            "unknown kind",
        ),
        (Case::new().file(&"d/".repeat(49)), "data"),
    ];
    for (number, (case, expected)) in cases.into_iter().enumerate() {
        if number == 16 {
            // Not deep enough: the one that is taken.
            let (_dir, taken) = case.image();
            assert!(taken.is_ok(), "{taken:?}");
            continue;
        }
        let message = case.refused();
        assert!(message.contains(expected), "{number}: {message}");
    }
}

#[test]
fn a_commit_in_a_global_header_is_no_trick() {
    let (_dir, taken) = Case::new()
        .entry(EntryType::XGlobalHeader, "g", "", 0o644, b"13 comment=x\n")
        .file("a")
        .image();
    assert!(taken.is_ok(), "{taken:?}");
}

#[test]
fn bombs_are_refused_before_they_fill_disk_or_memory() {
    // A ratio of 1:1000, refused at its header.
    let zeros = vec![0; 90 << 20];
    let message = Case::new()
        .entry(EntryType::Regular, "zeros", "", 0o644, &zeros)
        .refused();
    assert!(message.contains("far more than it should"), "{message}");
    // A name of a megabyte.
    let message = Case::new()
        .entry(EntryType::GNULongName, "l", "", 0o644, &zeros[..1 << 20])
        .file("a")
        .refused();
    assert!(message.contains("have no end"), "{message}");
    let message = Case::new()
        .entry(EntryType::XHeader, "l", "", 0o644, &zeros[..1 << 20])
        .file("a")
        .refused();
    assert!(message.contains("have no end"), "{message}");
    // Says more than it has: nothing of that is made.
    let message = Case::new()
        .sized(EntryType::Regular, "lie", "", 0o644, 1 << 62, b"")
        .refused();
    assert!(message.contains("far more than it should"), "{message}");
    // Too deep.
    let deep = format!("{}\0", "d/".repeat(DEEPEST + 1));
    let message = Case::new()
        .entry(EntryType::GNULongName, "l", "", 0o644, deep.as_bytes())
        .file("a")
        .refused();
    assert!(message.contains("deep"), "{message}");
    // Too many.
    let mut limits = Limits::of(0);
    limits.entries = MOST_ENTRIES;
    assert!(limits.count(0).is_err());
}

#[test]
fn an_asset_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a");
    for bytes in [&b"PK\x03\x04 not a tar"[..], b"", b"hsqs", b"\x1f\x8b"] {
        fs::write(&archive, bytes).unwrap();
        let refused = image(&archive, &dir.path().join("t"));
        // An empty archive is an image without a file, which holds no program.
        if !bytes.is_empty() {
            assert!(matches!(refused, Err(UnpackError::Read(_))), "{refused:?}");
        }
    }
}

#[test]
fn a_model_asset_holds_exactly_one_model() {
    let (_dir, model_file) = Case::new()
        .file("readme")
        .file("m/net.onnx")
        .file("m/._net.onnx")
        .unpack(model);
    assert_eq!(fs::read(model_file.unwrap()).unwrap(), b"data");
    let (_dir, none) = Case::new().file("readme").unpack(model);
    assert!(matches!(none, Err(UnpackError::Models(0))), "{none:?}");
    let (_dir, two) = Case::new().file("a.onnx").file("b.onnx").unpack(model);
    assert!(matches!(two, Err(UnpackError::Models(2))), "{two:?}");
}

/// Everything below a directory but `target`: path, length, link target.
fn outside(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if path.ends_with("target") {
            continue;
        }
        let length = if metadata.is_dir() { 0 } else { metadata.len() };
        if metadata.is_dir() {
            found.extend(outside(&path));
        }
        found.push((path, length));
    }
    found.sort();
    found
}

/// A directory in memory: a test of many cases waits for no disk.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "..", ".", "dev", "etc", "outside", "target"]);
    let parts = prop::collection::vec(part, 1..4);
    (any::<bool>(), parts).prop_map(|(absolute, parts)| {
        let lead = if absolute { "/" } else { "" };
        format!("{lead}{}", parts.join("/"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_an_archive_says_nothing_is_written_outside(
        entries in prop::collection::vec((0..6u8, hostile_name(), hostile_name()), 1..12)
    ) {
        let dir = scratch();
        fs::create_dir(dir.path().join("a")).unwrap();
        let mut case = Case::at(dir);
        for (kind, name, link) in &entries {
            case = match kind {
                0 | 1 => case.file(name),
                2 => case.entry(EntryType::Directory, name, "", 0o755, b""),
                3 => case.entry(EntryType::Link, name, link, 0o644, b""),
                4 => case
                    .entry(EntryType::GNULongName, "l", "", 0o644, format!("{name}\0").as_bytes())
                    .file("x"),
                _ => case.entry(EntryType::Symlink, name, link, 0o777, b""),
            };
        }
        let (dir, asset) = case.close();
        let before = outside(dir.path());
        let _ = image(&asset, &dir.path().join("target"));
        prop_assert_eq!(outside(dir.path()), before);
        prop_assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"outside");
    }
}

/// A tree as `mksquashfs` packs it.
fn squashfs(directory: &Path, options: &[&str]) -> PathBuf {
    let asset = directory.join("asset");
    let _ = fs::remove_file(&asset);
    let output = Command::new("mksquashfs")
        .arg(directory.join("tree"))
        .arg(&asset)
        .args(["-noappend", "-no-progress", "-processors", "1"])
        .args(options)
        .output()
        .expect("mksquashfs runs; tools/setup --tests installs squashfs-tools");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    asset
}

fn tree(directory: &Path) {
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::create_dir_all(tree.join("panorama/many")).unwrap();
    fs::write(tree.join("usr/bin/su"), b"x").unwrap();
    fs::set_permissions(tree.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    let large: Vec<u8> = (0..3_000_001u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(tree.join("panorama/large"), large).unwrap();
    fs::write(tree.join("panorama/zeros"), vec![0; 1 << 20]).unwrap();
    for number in 0..700 {
        let path = tree.join(format!("panorama/many/{number}"));
        fs::write(path, format!("file {number}\n").repeat(number)).unwrap();
    }
    std::os::unix::fs::symlink("usr/bin", tree.join("bin")).unwrap();
    fs::hard_link(tree.join("usr/bin/su"), tree.join("usr/bin/same")).unwrap();
}

#[test]
fn a_squashfs_image_unpacks_like_an_archive() {
    let dir = scratch();
    tree(dir.path());
    let packings: [&[&str]; 4] = [
        &["-comp", "gzip"],
        &["-comp", "zstd", "-b", "1M"],
        &["-comp", "zstd", "-no-fragments"],
        &["-noI", "-noD", "-noF", "-b", "4K"],
    ];
    for options in packings {
        let asset = squashfs(dir.path(), options);
        let target = dir.path().join("target");
        let _ = fs::remove_dir_all(&target);
        let mut taken = Taken::default();
        image_noting(&asset, &target, &mut taken).unwrap();
        let same = Command::new("diff")
            .args(["-r", "--no-dereference"])
            .arg(dir.path().join("tree"))
            .arg(target.join("rootfs"))
            .output()
            .unwrap();
        assert!(same.status.success() && same.stdout.is_empty(), "{same:?}");
        let su = fs::metadata(target.join("rootfs/usr/bin/su")).unwrap();
        assert_eq!(su.mode() & 0o7777, 0o755);
        assert_eq!(taken.kinds[0].0, "setuid and setgid bits");
    }
    let asset = squashfs(dir.path(), &["-comp", "lzo"]);
    let refused = image(&asset, &dir.path().join("other"));
    let message = format!("{:?}", refused.expect_err("lzo is not read"));
    assert!(message.contains("-comp zstd"), "{message}");
}

#[test]
fn a_hostile_squashfs_image_is_refused_by_name() {
    let dir = scratch();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink("/", tree.join("dev")).unwrap();
    let asset = squashfs(dir.path(), &[]);
    let message = image(&asset, &dir.path().join("target"))
        .expect_err("a link at /dev is taken")
        .to_string();
    assert!(message.contains("\"dev\""), "{message}");

    fs::remove_file(tree.join("dev")).unwrap();
    let bomb = File::create(tree.join("zeros")).unwrap();
    bomb.set_len(1 << 30).unwrap();
    let asset = squashfs(dir.path(), &["-b", "1M"]);
    let message = image(&asset, &dir.path().join("target"))
        .expect_err("a gigabyte of zeros is taken")
        .to_string();
    assert!(message.contains("far more than it should"), "{message}");

    // Names in an uncompressed image, changed on the way.
    fs::remove_file(tree.join("zeros")).unwrap();
    fs::write(tree.join("NAMES"), b"x").unwrap();
    let asset = squashfs(dir.path(), &["-noI", "-noD", "-noF", "-noX"]);
    let good = fs::read(&asset).unwrap();
    let at = good.windows(5).position(|five| five == b"NAMES").unwrap();
    for (name, expected) in [(b"../xx", "../xx"), (b"/etcx", "/etcx"), (b"a\0bcd", "a")] {
        let mut bad = good.clone();
        bad[at..at + 5].copy_from_slice(name);
        fs::write(&asset, bad).unwrap();
        let message = image(&asset, &dir.path().join("target"))
            .expect_err("a name with a way out is taken")
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_squashfs_image_never_panics_nor_writes_outside(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        head in any::<bool>(),
    ) {
        let dir = scratch();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        for number in 0..20 {
            fs::write(tree.join(format!("a/{number}")), vec![number; 300]).unwrap();
        }
        std::os::unix::fs::symlink("..", tree.join("a/b/up")).unwrap();
        let asset = squashfs(dir.path(), &["-noI", "-noD", "-noF"]);
        let mut bytes = fs::read(&asset).unwrap();
        let range = if head { 96 } else { bytes.len() };
        for (place, byte) in changes {
            bytes[place.index(range)] = byte;
        }
        fs::write(&asset, bytes).unwrap();
        let before = outside(dir.path());
        let _ = image(&asset, &dir.path().join("target"));
        prop_assert_eq!(outside(dir.path()), before);
    }
}
