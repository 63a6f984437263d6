//! `parapet demo`: a control plane, an appliance, cameras and a sample application, all real.
//!
//! The demo is a user of Parapet: it starts the executables as a service manager would
//! ([`processes`]), deploys through the signed API with the AWS CLI ([`deploy`]) and watches what
//! the application reports ([`observe`]). It has no door of its own into anything.

mod aws;
mod cameras;
mod deploy;
mod network;
mod observe;
mod patience;
mod place;
mod processes;
mod project;
mod report;
mod score;
mod screen;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use aws::{Aws, member};
use cameras::{Footage, Source};
use network::{Ground, Wanted};
use observe::Observer;
use patience::Patience;
use place::{Place, Settings};
use processes::{Service, Supervisor};
use project::Project;
use report::{Report, VisitSeconds, round};
use screen::Screen;

/// How often the demo looks.
const LOOK: Duration = Duration::from_millis(250);
/// After the end of a clip, the time in which the application closes its last visit.
const AFTER_CLIP: Duration = Duration::from_secs(6);

/// Run the whole of Parapet on this machine, and show it working
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 seen working, 1 not, 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Run without a screen until detections of every camera are right, print one JSON object
    #[arg(long)]
    check: bool,
    /// Where everything is kept [default: ~/.local/state/parapet/demo; with --check a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds until a check gives up, beside the length of a clip
    #[arg(long, value_name = "S", default_value_t = 180)]
    timeout: u64,
    /// Use this camera instead of the synthetic ones; again for more
    #[arg(long = "camera", value_name = "NAME=URL", value_parser = cameras::parse)]
    cameras: Vec<Source>,
    /// Stream this clip, as it is, into the sample that finds visits to a zone
    #[arg(long, value_name = "FILE", conflicts_with = "cameras", value_parser = cameras::parse_clip)]
    footage: Option<PathBuf>,
    /// Leave the virtual cameras on this machine's own network, where any player can open them
    #[arg(long)]
    one_network: bool,
    /// The zone, relative to the picture: left, top, right, bottom
    #[arg(long, value_name = "L,T,R,B", requires = "footage", value_parser = cameras::parse_zone)]
    zone: Option<cameras::Zone>,
}

/// Runs the demo; the answer is whether all was well.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    let stop = stop_on_signal()?;
    // Kept until the end: dropping it deletes what a check has written.
    let temporary = (arguments.check && arguments.data.is_none())
        .then(|| tempfile::Builder::new().prefix("parapet-demo-").tempdir())
        .transpose()
        .context("make a temporary directory")?;
    let dir = match (&arguments.data, &temporary) {
        (Some(dir), _) => std::path::absolute(dir).context("read --data")?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => default_dir()?,
    };
    let mut report = Report::nothing();
    let demo = Demo {
        arguments,
        dir,
        started,
        stop: Arc::clone(&stop),
    };
    let mut result = demo.run(&mut report);
    if result.is_err() && stop.load(Ordering::Relaxed) {
        // What then fails first is of no interest.
        result = Err(anyhow::anyhow!("interrupted"));
    }
    if arguments.check {
        report.ok = result.is_ok();
        report.reason = result.as_ref().err().map(|error| format!("{error:#}"));
        println!(
            "{}",
            serde_json::to_string(&report).context("print the report")?
        );
        return Ok(report.ok);
    }
    result.map(|()| true)
}

fn default_dir() -> Result<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .map(|state| state.join("parapet/demo"))
        .context("HOME is not set: say where with --data")
}

/// A flag that SIGINT and SIGTERM raise.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("listen for signals")?;
    // Lives as long as the process.
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            raised.store(true, Ordering::Relaxed);
        });
    });
    Ok(stop)
}

struct Demo<'a> {
    arguments: &'a Arguments,
    dir: PathBuf,
    started: Instant,
    stop: Arc<AtomicBool>,
}

/// A running instance and the means to ask for it.
struct Deployed {
    aws: Aws,
    device: String,
    instance: String,
}

impl Demo<'_> {
    fn ground(&self, place: &Place, settings: &mut Settings, cameras: usize) -> Result<Ground> {
        let given = &self.arguments.cameras;
        let real = given
            .iter()
            .any(|camera| matches!(camera, Source::Real { .. }));
        let one_network = if self.arguments.one_network {
            Some("--one-network")
        } else {
            real.then_some("cameras of your own are reached through it")
        };
        let wanted = Wanted {
            passing: self.arguments.check,
            one_network,
            cameras,
        };
        Ground::prepare(place, settings, wanted)
    }

    fn run(&self, report: &mut Report) -> Result<()> {
        let screen = Screen::new(self.arguments.check);
        let place = Place::find(self.dir.clone())?;
        let application = if self.arguments.footage.is_some() {
            "table-visits"
        } else {
            "people-counter"
        };
        let footage = self
            .arguments
            .footage
            .as_deref()
            .map(Footage::open)
            .transpose()?;
        let clip_length = footage
            .as_ref()
            .map_or(Duration::ZERO, |footage| footage.length);
        let deadline = self.started + Duration::from_secs(self.arguments.timeout) + clip_length;
        let patience = Patience::new(deadline, Arc::clone(&self.stop));
        let sources = cameras::sources(&self.arguments.cameras, footage);
        let files = cameras::files(&sources);
        let mut settings = Settings::load_or_create(&place, self.arguments.check, sources.len())?;
        // Before the supervisor, so that it is given back after everything in there has ended.
        let ground = self.ground(&place, &mut settings, sources.len())?;
        if let Some(lacking) = &ground.lacking {
            screen.step(&format!("cameras on this machine's own network: {lacking}"));
            report.lacking.clone_from(&ground.lacking);
        }
        let supervisor = Supervisor::new();

        screen.step("starting cameras and control plane");
        let mut running = cameras::start(&supervisor, &place, &settings, &ground, sources)?;
        start_server(&supervisor, &place, &settings, !files.is_empty())?;
        let aws = Aws::new(&place.aws, &place.server(), settings.api_port);
        let account = deploy::wait_for_account(&aws, &patience)?;

        screen.step("enrolling the appliance");
        let archive = place.dir.join("certificates-omni_demo-appliance.zip");
        let enrolled = place.agent().join("device/certificate.pem").is_file();
        let device = deploy::device(&aws, &archive, enrolled)?;
        start_agent(
            &supervisor,
            &place,
            device.provisioned.then_some(archive.as_path()),
            ground.agent_configuration(&place, &files)?.as_deref(),
        )?;

        screen.step(&format!("registering cameras, uploading {application}"));
        let project = Project::import(
            &place.examples.join(application),
            &place.dir.join("work").join(application),
            &account,
        )?;
        let new_packages = std::thread::scope(|scope| {
            let uploading = scope.spawn(|| deploy::packages(&aws, &project, &patience));
            let registered = register(&aws, &place, &settings, &mut running, &patience);
            let uploaded = uploading
                .join()
                .unwrap_or_else(|_| bail!("uploading the packages failed"));
            registered.and(uploaded)
        })?;

        screen.step(&format!("deploying {application}"));
        let names: Vec<&str> = running.iter().map(|camera| camera.name.as_str()).collect();
        let zone = self
            .arguments
            .zone
            .as_ref()
            .map_or(Vec::new(), cameras::Zone::parameters);
        let overrides = project.overrides(&account, &names, &zone)?;
        let existing = deploy::existing_instance(&aws, &device.id, application)?;
        let reusable = match &existing {
            Some(instance) if !new_packages => {
                deploy::is_made_of(&aws, instance, &project, &overrides)?
            }
            _ => false,
        };
        let instance = match &existing {
            Some(instance) if reusable => instance.clone(),
            _ => {
                deploy::remove_others(&aws, &device.id, application)?;
                let replaced = existing.as_deref();
                deploy::create_instance(
                    &aws,
                    &project,
                    &device.id,
                    application,
                    &overrides,
                    replaced,
                )?
            }
        };
        let views = running
            .iter()
            .map(|c| Ok((c.name.clone(), c.truth()?)))
            .collect::<Result<_>>()?;
        let mut seen = Observer::new(&place.agent(), &instance, views);
        if reusable {
            seen.skip_past();
        }
        report.take(&seen);
        let deployed = Deployed {
            aws,
            device: device.id,
            instance,
        };
        let waited = deploy::wait_deployed(&deployed.aws, &deployed.instance, &patience);
        if let Err(error) = waited {
            // The report tells what is known; that this may fail too is of no interest then.
            let _: Result<()> = deployed.tell(report);
            return Err(error);
        }

        if self.arguments.check {
            screen.step("watching what the application reports");
            let mut watch = Watch {
                deployed,
                supervisor: &supervisor,
                running: &running,
                separated: ground.has_camera_network(),
                seen,
            };
            watch.check(self.started, report, &patience)
        } else {
            Screen::addresses(&place, settings.api_port);
            show(&supervisor, &running, &mut seen, &patience, &screen);
            Ok(())
        }
    }
}

/// Registers the cameras once they can be opened. One that an earlier run has registered gets the
/// address and credentials of this run: somebody's own may have changed, and virtual ones may be
/// on another network.
fn register(
    aws: &Aws,
    place: &Place,
    settings: &Settings,
    running: &mut [cameras::Running],
    patience: &Patience,
) -> Result<()> {
    cameras::wait_listening(running, place, patience)?;
    let cameras: Vec<deploy::Camera> = running
        .iter()
        .map(|camera| camera.registration(settings))
        .collect();
    let known = deploy::cameras(aws, &cameras, patience)?;
    for camera in known {
        deploy::set_camera(place, camera)?;
    }
    Ok(())
}

/// Shows the status line until it is interrupted.
fn show(
    supervisor: &Supervisor,
    running: &[cameras::Running],
    seen: &mut Observer,
    patience: &Patience,
    screen: &Screen,
) {
    let mut clip = ClipWatch::default();
    while !patience.interrupted() {
        seen.look();
        if let Err(error) = clip.look(supervisor, running, seen) {
            eprintln!("demo: {error:#}");
        }
        screen.status(seen);
        std::thread::sleep(LOOK);
    }
    screen.end();
}

impl Deployed {
    /// What the API says of device and instance.
    fn tell(&self, report: &mut Report) -> Result<()> {
        let device = deploy::describe_device(&self.aws, &self.device)?;
        let instance = deploy::describe_instance(&self.aws, &self.instance)?;
        report.device_status = Some(member(&device, "DeviceConnectionStatus")?.to_owned());
        report.instance_status = Some(member(&instance, "Status")?.to_owned());
        report.health = Some(member(&instance, "HealthStatus")?.to_owned());
        Ok(())
    }
}

/// A check under way.
struct Watch<'a> {
    deployed: Deployed,
    supervisor: &'a Supervisor,
    running: &'a [cameras::Running],
    /// The cameras have a network of their own, and nothing less will do.
    separated: bool,
    seen: Observer,
}

impl Watch<'_> {
    /// Looks until everything a check asks for has been seen, then asks the API; also when time is
    /// up, so that the report tells what is known.
    fn check(&mut self, started: Instant, report: &mut Report, patience: &Patience) -> Result<()> {
        let mut clip = ClipWatch::default();
        let mut told = false;
        let watched = loop {
            let lacking = self.look(started, report, &mut clip)?;
            // A clip that has ended is a camera that has stopped: what matters is how all was
            // until then.
            if clip.ended.is_some() && !told {
                self.deployed.tell(report)?;
                told = true;
            }
            if lacking.is_empty() {
                break Ok(());
            }
            if let Err(error) = patience.check(|| lacking.join("; ")) {
                break Err(error);
            }
            std::thread::sleep(LOOK);
        };
        let told = if told {
            Ok(())
        } else {
            self.deployed.tell(report)
        };
        watched.and(told)
    }

    /// What is still lacking after one look.
    fn look(
        &mut self,
        started: Instant,
        report: &mut Report,
        clip: &mut ClipWatch,
    ) -> Result<Vec<String>> {
        let seen = &mut self.seen;
        seen.look();
        clip.look(self.supervisor, self.running, seen)?;
        report.take(seen);
        report.seconds_to_first_detection = seen
            .first_detection
            .map(|at| round(at.duration_since(started).as_secs_f64(), 2));
        let mut lacking: Vec<String> = seen
            .cameras
            .iter()
            .filter_map(|(name, view)| report::lacks(name, view))
            .collect();
        if self.separated {
            lacking.extend(report::lacks_separation(seen.network.as_ref()));
        }
        if self.running.iter().any(cameras::Running::is_clip) {
            report.visits = clip.visits(seen);
            if !clip.is_over() {
                lacking.push("the clip has not been played to its end".to_owned());
            }
        }
        Ok(lacking)
    }
}

/// Plays the clip once the application is ready, and reads its visits in the clip's own time.
#[derive(Default)]
struct ClipWatch {
    told: bool,
    epoch_us: Option<u64>,
    ended: Option<Instant>,
}

impl ClipWatch {
    fn look(
        &mut self,
        supervisor: &Supervisor,
        running: &[cameras::Running],
        seen: &Observer,
    ) -> Result<()> {
        let Some(camera) = running.iter().find(|camera| camera.is_clip()) else {
            return Ok(());
        };
        if seen.ready && !self.told {
            supervisor.say(&camera.name, "start")?;
            self.told = true;
        }
        for event in camera.events() {
            match event {
                cameras::Event::Started { epoch_us } => self.epoch_us = Some(epoch_us),
                cameras::Event::Ended => self.ended = Some(Instant::now()),
                cameras::Event::Listening { .. } | cameras::Event::Other => {}
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() > AFTER_CLIP)
    }

    fn visits(&self, seen: &Observer) -> Option<Vec<VisitSeconds>> {
        let epoch_us = self.epoch_us?;
        let seconds = |from: u64, to: u64| round((to as f64 - from as f64) / 1e6, 2);
        Some(
            seen.visits
                .iter()
                .map(|visit| VisitSeconds {
                    begin_s: seconds(epoch_us, visit.begin.as_micros()),
                    dwell_s: seconds(visit.begin.as_micros(), visit.end.as_micros()),
                })
                .collect(),
        )
    }
}

/// `files`: files may be cameras.
fn start_server(
    supervisor: &Supervisor,
    place: &Place,
    settings: &Settings,
    files: bool,
) -> Result<()> {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut arguments = vec![
        "server".to_owned(),
        "--data".to_owned(),
        place.server().display().to_string(),
        "--listen".to_owned(),
        address(settings.api_port),
        "--device-listen".to_owned(),
        address(settings.device_port),
        "--admin-listen".to_owned(),
        address(settings.admin_port),
    ];
    if files {
        let file = place.dir.join("server.toml");
        std::fs::write(&file, "[cameras]\nfiles = true\n")
            .with_context(|| format!("write {}", file.display()))?;
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    supervisor.start(Service {
        name: "server".to_owned(),
        program: place.libexec.join("parapet"),
        arguments,
        environment: vec![(
            "PARAPET_MASTER_KEY_FILE".to_owned(),
            place.dir.join("master.key").display().to_string(),
        )],
        log: place.dir.join("server.log"),
        lines: None,
    })
}

fn start_agent(
    supervisor: &Supervisor,
    place: &Place,
    archive: Option<&Path>,
    configuration: Option<&Path>,
) -> Result<()> {
    let mut arguments = vec![
        "agent".to_owned(),
        "--data".to_owned(),
        place.agent().display().to_string(),
    ];
    if let Some(archive) = archive {
        arguments.extend(["--enroll".to_owned(), archive.display().to_string()]);
    }
    if let Some(file) = configuration {
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    supervisor.start(Service {
        name: "agent".to_owned(),
        program: place.libexec.join("parapet"),
        arguments,
        environment: place
            .onnxruntime
            .iter()
            .map(|file| ("ORT_DYLIB_PATH".to_owned(), file.display().to_string()))
            .collect(),
        log: place.dir.join("agent.log"),
        lines: None,
    })
}

/// A channel whose receiving end is read now and then.
fn lines() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel()
}
