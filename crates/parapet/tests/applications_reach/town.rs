//! A world, an appliance and a side for cameras, each in a network namespace of its own.
//!
//! `world` has 10.99.1.2, .3 (resolver), .9, cameras at .77 and .78, and the metadata address; the appliance is
//! 10.99.1.1 at `up0` and 10.77.1.1 at `cam0`; `cameras` has 10.77.1.2. Dropping a town ends its
//! processes and removes the namespaces.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::wait_for;
use serde_json::{Value, json};

/// How the agent is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Root,
    User,
}

const NOBODY: u32 = 65534;
/// Two towns of one process have names of their own.
static NUMBER: AtomicU32 = AtomicU32::new(0);

const PROGRAMS: [(&str, &str); 7] = [
    ("caller.py", include_str!("caller.py")),
    ("doors.py", include_str!("doors.py")),
    ("flood.py", include_str!("flood.py")),
    ("learner.py", include_str!("learner.py")),
    ("nobody.py", include_str!("nobody.py")),
    ("steady.py", include_str!("steady.py")),
    ("visit.py", include_str!("visit.py")),
];

/// On the host, for applications to try to reach.
const ON_THE_HOST: &str = "
import socket, sys
log = open(sys.argv[1], 'a', buffering=1)
listener = socket.socket()
listener.bind(('0.0.0.0', 9999))
listener.listen()
while True:
    _, peer = listener.accept()
    log.write('%s\\n' % (peer,))
";

pub(crate) struct Town {
    how: As,
    directory: tempfile::TempDir,
    name: String,
    generation: u64,
    image: Value,
    children: Vec<Child>,
}

impl Town {
    pub(crate) fn build(how: As) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("parapet-reach-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut town = Self {
            how,
            directory,
            name: format!("parapet-r{}-{number}", std::process::id()),
            generation: 0,
            image: Value::Null,
            children: Vec::new(),
        };
        town.install()?;
        town.connect()?;
        Ok(town)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies, since the directories above the build may be closed to an ordinary user.
    fn install(&mut self) -> Result<()> {
        let built = Path::new(env!("CARGO_BIN_EXE_parapet"));
        let path = self.path().to_owned();
        fs::create_dir_all(path.join("bin"))?;
        for program in ["parapet", "parapet-launcher"] {
            let from = built.with_file_name(program);
            fs::copy(&from, path.join("bin").join(program))
                .with_context(|| format!("{} is built by `cargo build`", from.display()))?;
        }
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python");
        run("cp", &["-rT", text(&python), text(&path.join("python"))])?;
        fs::create_dir_all(path.join("image/panorama"))?;
        for (name, program) in PROGRAMS {
            fs::write(path.join("image/panorama").join(name), program)?;
        }
        fs::write(path.join("world.py"), include_str!("world.py"))?;
        fs::write(path.join("host.py"), ON_THE_HOST)?;
        fs::create_dir_all(path.join("blobs"))?;
        let blob = path.join("blob");
        run(
            "tar",
            &[
                "-C",
                text(&path.join("image")),
                "-czf",
                text(&blob),
                "panorama",
            ],
        )?;
        let digest = run("sha256sum", &[text(&blob)])?;
        let digest = digest.split(' ').next().unwrap_or_default().to_owned();
        self.image = json!({"sha256": digest, "bytes": fs::metadata(&blob)?.len()});
        fs::rename(&blob, path.join("blobs").join(digest))?;
        fs::write(
            path.join("resolv.conf"),
            "nameserver 10.99.1.3\noptions timeout:2\n",
        )?;
        fs::write(
            path.join("agent.toml"),
            "[network]\nuplink = ['up0']\n[limits]\nring_mb = 400\n",
        )?;
        fs::create_dir(path.join("data"))?;
        if self.how == As::User {
            std::os::unix::fs::chown(path.join("data"), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let [host, world, cameras] = ["host", "world", "cameras"].map(|zone| self.zone(zone));
        for zone in [&host, &world, &cameras] {
            run("ip", &["netns", "add", zone])?;
            run("ip", &["-n", zone, "link", "set", "lo", "up"])?;
        }
        for (there, near, far) in [(&world, "up0", "w0"), (&cameras, "cam0", "c0")] {
            let pair = [
                "link", "add", near, "netns", &host, "type", "veth", "peer", "name", far,
            ];
            run("ip", &[&pair[..], &["netns", there]].concat())?;
            run("ip", &["-n", &host, "link", "set", near, "up"])?;
            run("ip", &["-n", there, "link", "set", far, "up"])?;
        }
        for (zone, address, device) in [
            (&host, "10.99.1.1/24", "up0"),
            (&host, "fd99:1::1/64", "up0"),
            (&host, "10.77.1.1/24", "cam0"),
            (&world, "10.99.1.2/24", "w0"),
            (&world, "10.99.1.3/24", "w0"),
            (&world, "10.99.1.9/24", "w0"),
            (&world, "10.99.1.77/24", "w0"),
            (&world, "10.99.1.78/24", "w0"),
            (&world, "169.254.169.254/32", "w0"),
            (&world, "fd99:1::2/64", "w0"),
            (&cameras, "10.77.1.2/24", "c0"),
        ] {
            let nodad: &[&str] = if address.contains("::") {
                &["nodad"]
            } else {
                &[]
            };
            let add = ["-n", zone, "address", "add", address, "dev", device];
            run("ip", &[&add[..], nodad].concat())?;
        }
        run(
            "ip",
            &["-n", &host, "route", "add", "default", "via", "10.99.1.2"],
        )?;
        run(
            "ip",
            &["-n", &host, "route", "add", "default", "via", "fd99:1::2"],
        )?;
        run(
            "ip",
            &[
                "-n",
                &cameras,
                "route",
                "add",
                "default",
                "via",
                "10.77.1.1",
            ],
        )?;
        let (script, log) = (self.path().join("world.py"), self.path().join("world.log"));
        self.begin("world", &["python3", text(&script), text(&log), "w0"])?;
        let (script, log) = (self.path().join("host.py"), self.path().join("host.log"));
        fs::write(&log, "")?;
        self.begin("host", &["python3", text(&script), text(&log)])?;
        wait_for("the world", Duration::from_secs(20), || {
            ensure!(self.world().contains("ready"), "not ready");
            Ok(())
        })
    }

    /// The namespace's name.
    fn zone(&self, zone: &str) -> String {
        format!("{}-{zone}", self.name)
    }

    fn inside(&self, zone: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.zone(zone)));
        command
    }

    fn begin(&mut self, zone: &str, command: &[&str]) -> Result<()> {
        let errors = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path().join(format!("{zone}.err")))?;
        let child = self.inside(zone).args(command).stderr(errors).spawn()?;
        self.children.push(child);
        Ok(())
    }

    /// Starts the agent, with the world's resolver.
    pub(crate) fn start(&mut self) -> Result<()> {
        let path = self.path().to_owned();
        let resolv = path.join("resolv.conf");
        let user = match self.how {
            As::Root => "",
            As::User => "setpriv --reuid 65534 --regid 65534 --clear-groups ",
        };
        let start = format!(
            "mount --bind {} /etc/resolv.conf && exec {user}{} agent --data {} --config {} \
             --desired {}",
            resolv.display(),
            path.join("bin/parapet").display(),
            path.join("data").display(),
            path.join("agent.toml").display(),
            path.join("desired.json").display()
        );
        // The settings of this test's own user are not the agent's.
        fs::write(
            path.join("agent.toml"),
            format!(
                "{}[paths]\nlibexec = '{}'\nsdk = '{}'\n",
                fs::read_to_string(path.join("agent.toml"))?,
                path.join("bin").display(),
                path.join("python").display()
            ),
        )?;
        self.begin("host", &["unshare", "--mount", "sh", "-c", &start])
    }

    /// Replaces the desired document: instances by name, with a program and a confinement.
    pub(crate) fn desire(&mut self, wanted: &[(&str, &str, Value)]) -> Result<()> {
        self.generation += 1;
        let instances: Vec<Value> = wanted
            .iter()
            .map(|(name, program, confinement)| {
                let camera = |node: &str, host: &str| {
                    json!({
                        "node": node, "stream": node, "url": format!("rtsp://{host}:554/x"),
                        "secret": null, "paused": true,
                    })
                };
                json!({
                    "id": format!("applicationInstance-{name}"), "name": name, "models": [],
                    "displays": [],
                    "cameras": [camera("gate", "10.99.1.77"), camera("yard", "named-camera.test")],
                    "applications": [{
                        "node": "code", "asset": self.image, "environment": [], "inputs": [],
                        "outputs": [], "confinement": confinement,
                        "command": ["python3", "-u", format!("/panorama/{program}")],
                    }],
                })
            })
            .collect();
        let document = json!({
            "version": 1, "device": "device-reach", "generation": self.generation,
            "instances": instances,
        });
        let next = self.path().join("desired.json.new");
        fs::File::create(&next)?.write_all(document.to_string().as_bytes())?;
        fs::rename(&next, self.path().join("desired.json"))?;
        Ok(())
    }

    /// What an instance's application has printed.
    pub(crate) fn said(&self, name: &str) -> Result<String> {
        let instance = format!("data/instances/applicationInstance-{name}");
        let path = self.path().join(instance).join("logs/console_output");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    pub(crate) fn wait_said(&self, name: &str, text: &str, limit: Duration) -> Result<String> {
        wait_for(&format!("{name} to say {text:?}"), limit, || {
            let said = self.said(name)?;
            ensure!(said.contains(text), "it said:\n{said}");
            Ok(said)
        })
    }

    /// The instance's report, from `status.json`.
    pub(crate) fn instance(&self, name: &str) -> Result<Value> {
        let status: Value =
            serde_json::from_slice(&fs::read(self.path().join("data/status.json"))?)?;
        let id = format!("applicationInstance-{name}");
        let instances = status["reported"]["instances"].as_array().cloned();
        instances
            .unwrap_or_default()
            .into_iter()
            .find(|instance| instance["id"] == id.as_str())
            .with_context(|| format!("{name} is not reported: {status}"))
    }

    /// What has arrived in the world.
    pub(crate) fn world(&self) -> String {
        fs::read_to_string(self.path().join("world.log")).unwrap_or_default()
    }

    /// Who has reached the host's own service.
    pub(crate) fn on_the_host(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path().join("host.log"))?)
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path().join("host.err"))?)
    }

    /// Connects from `own` in `zone`; what came of it.
    pub(crate) fn visit(
        &self,
        zone: &str,
        own: &str,
        host: &str,
        port: u16,
        tls: &[&str],
    ) -> Result<String> {
        let script = self.path().join("image/panorama/visit.py");
        let output = self
            .inside(zone)
            .args(["python3", text(&script), own, host, &port.to_string()])
            .args(tls)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// `client.pem` and `client.key`, signed by `clients.pem`.
    pub(crate) fn client_certificate(&self) -> Result<()> {
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
             -days 2 -subj /CN=clients -keyout clients.key -out clients.pem -addext \
             basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign && \
             openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
             -subj /CN=visitor -keyout client.key -out client.csr && \
             printf 'extendedKeyUsage=clientAuth\\n' > client.ext && \
             openssl x509 -req -in client.csr -CA clients.pem -CAkey clients.key -days 2 \
             -CAcreateserial -extfile client.ext -out client.pem";
        run(
            "sh",
            &["-ec", &format!("cd {}; {script}", text(self.path()))],
        )
        .map(|_| ())
    }

    /// Everything that was said, for whoever reads the failure.
    pub(crate) fn show(&self) {
        eprintln!("the agent:\n{}", self.log().unwrap_or_default());
        eprintln!("the world:\n{}", self.world());
        let status = fs::read_to_string(self.path().join("data/status.json"));
        eprintln!("the status:\n{}", status.unwrap_or_default());
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        for child in &mut self.children {
            // The agent's launcher and all below end with it.
            child.kill().ok();
            child.wait().ok();
        }
        for zone in ["host", "world", "cameras"] {
            run("ip", &["netns", "delete", &self.zone(zone)]).ok();
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
