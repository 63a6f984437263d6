//! The virtual camera as a program: JSON lines out, control lines in.

#![forbid(unsafe_code)]

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use parapet_virtual_camera::{
    AuthScheme, Credentials, Fault, Options, Picture, SceneParameters, VirtualCamera, render,
};
use serde_json::json;
use tokio::sync::mpsc;

const AFTER_HELP: &str = "\
What it prints, one JSON object a line:
  {\"event\":\"listening\",\"url\":...,\"name\":...,\"truth\":FILE}   it can be opened (truth: scenes only)
  {\"event\":\"started\",\"epoch_us\":...}                        wall time of the clip's first picture
  {\"event\":\"ended\"}                                         the clip is over; sessions stay open
  {\"event\":\"error\",\"message\":...}                           a control line was not understood

What it reads, one command a line; it ends when its input ends:
  start        play the clip of --file, once, as soon as somebody watches
  fault NAME   misbehave from now on: refuse-password, garbage, corrupt, stall:N, close:N,
               wrong-codec, bad-sdp, no-describe (N: after so many pictures of a session)
  fault none   behave again

Examples:
  parapet-virtual-camera --name gate --listen 127.0.0.1:8554
  ffplay -rtsp_transport tcp rtsp://127.0.0.1:8554/gate";

/// A camera to develop against without one: serves a synthetic scene whose truth is known, or a
/// clip, as H.264 over RTSP (TCP).
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw and encode a scene, write NAME.h264 and its truth NAME.json, and print both names.
    Render {
        #[command(flatten)]
        scene: SceneArgs,
        /// Where the two files go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct SceneArgs {
    /// Width and height of the picture.
    #[arg(long, default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Pictures a second.
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Which scene.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Length of the loop.
    #[arg(long, default_value_t = 12)]
    seconds: u32,
}

impl SceneArgs {
    fn parameters(&self) -> SceneParameters {
        let (width, height) = self.size;
        SceneParameters {
            width,
            height,
            fps: self.fps,
            seconds: self.seconds,
            seed: self.seed,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Auth {
    Digest,
    Basic,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    scene: SceneArgs,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The path of the camera's URL.
    #[arg(long, default_value = "camera")]
    name: String,
    /// Ask for this user, and for a password: see `--password-file` and `PARAPET_CAMERA_PASSWORD`.
    #[arg(long)]
    user: Option<String>,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// How the password is shown.
    #[arg(long, value_enum, default_value = "digest")]
    auth: Auth,
    /// Where scenes are kept once they have been made.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Stream this clip as it is, in place of a scene, once, after `start`.
    #[arg(long, value_name = "CLIP")]
    file: Option<PathBuf>,
    /// Speak RTSP in TLS (rtsps), with the key and certificate in this file; made where there is none.
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
    /// Misbehave from the start.
    #[arg(long, default_value = "none")]
    fault: Fault,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text
        .split_once('x')
        .and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "width x height in pixels, e.g. 1280x720".to_owned())
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            let causes: String = causes
                .flat_map(|cause| [": ".to_owned(), cause.to_string()])
                .collect();
            eprintln!("parapet-virtual-camera: failed to {error}{causes}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(cli: Cli) -> Result<(), Failure> {
    if let Some(Command::Render { scene, out }) = cli.command {
        let [clip, truth] = render(scene.parameters(), &out)?;
        return print(&json!({"clip": clip, "truth": truth}));
    }
    let options = options(cli.serve)?;
    // One thread serves: packets lie in memory and only have to be written.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(options));
    // The thread that reads the input cannot be interrupted; the process ends without it.
    runtime.shutdown_background();
    result
}

fn options(serve: Serve) -> Result<Options, Failure> {
    let credentials = match serve.user {
        Some(user) => {
            let password = password(serve.password_file)?;
            let scheme = match serve.auth {
                Auth::Digest => AuthScheme::Digest,
                Auth::Basic => AuthScheme::Basic,
            };
            Some(Credentials {
                user,
                password,
                scheme,
            })
        }
        None => None,
    };
    let picture = match serve.file {
        Some(file) => Picture::File(file),
        None => Picture::Scene {
            of: serve.scene.parameters(),
            cache: serve.cache.unwrap_or_else(default_cache),
        },
    };
    Ok(Options {
        listen: serve.listen,
        name: serve.name,
        credentials,
        picture,
        tls: serve.tls,
        fault: serve.fault,
    })
}

fn password(file: Option<PathBuf>) -> Result<String, Failure> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("read --password-file {}: {error}", file.display()))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    std::env::var("PARAPET_CAMERA_PASSWORD").map_err(|_| {
        "find the password of --user: give --password-file or set PARAPET_CAMERA_PASSWORD".into()
    })
}

fn default_cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    base.unwrap_or_else(std::env::temp_dir)
        .join("parapet/virtual-camera")
}

async fn serve(options: Options) -> Result<(), Failure> {
    let name = options.name.clone();
    let is_clip = matches!(options.picture, Picture::File(_));
    let camera = VirtualCamera::start(options).await?;
    let mut listening = json!({"event": "listening", "url": camera.url(), "name": name});
    if let Some(file) = camera.truth_file() {
        listening["truth"] = json!(std::path::absolute(file)?);
    }
    print(&listening)?;
    let mut lines = control_lines();
    let (mut is_wanted, mut epoch_us, mut is_over) = (false, None, false);
    loop {
        tokio::select! {
            line = lines.recv() => match line.as_deref().map(str::trim) {
                None => return Ok(()),
                Some("") => {}
                Some("start") if is_clip => is_wanted = true,
                Some("start") => complain("start: there is no clip; give one with --file")?,
                Some(line) => match line.strip_prefix("fault ").map(str::parse) {
                    Some(Ok(fault)) => camera.set_fault(fault),
                    Some(Err(error)) => complain(&format!("failed to {error}"))?,
                    None => complain("there are the commands start and fault NAME")?,
                },
            },
            begun = camera.start_clip(), if is_wanted && epoch_us.is_none() => {
                epoch_us = Some(begun);
                print(&json!({"event": "started", "epoch_us": begun}))?;
            }
            () = camera.clip_over(epoch_us.unwrap_or_default()), if epoch_us.is_some() && !is_over => {
                is_over = true;
                print(&json!({"event": "ended"}))?;
            }
        }
    }
}

fn complain(message: &str) -> Result<(), Failure> {
    print(&json!({"event": "error", "message": message}))
}

fn print(event: &serde_json::Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{event}")?;
    Ok(out.flush()?)
}

/// Lines of standard input, read on a thread of their own; the channel closes when they end.
fn control_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
