//! The demo's cameras: synthetic scenes, a clip, or somebody's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::deploy;
use super::lines;
use super::network::Ground;
use super::patience::Patience;
use super::place::{Place, Settings};
use super::processes::{Service, Supervisor};
use super::score::Truth;

/// User of the virtual cameras.
const USER: &str = "viewer";

/// Where pictures come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A scene whose truth is known.
    Scene {
        /// Name of the camera.
        name: &'static str,
        /// Width and height.
        size: &'static str,
        /// Frames per second.
        fps: u32,
        /// Which scene.
        seed: u32,
        /// Spoken to in TLS.
        tls: bool,
    },
    /// A clip, streamed as it is.
    Clip(Footage),
    /// A clip that the appliance itself plays, again and again.
    File {
        /// Name of the camera.
        name: String,
        /// Its absolute path.
        file: PathBuf,
        /// The same as an address.
        url: String,
    },
    /// A real camera.
    Real {
        /// Name of the camera.
        name: String,
        /// Address without credentials.
        url: String,
        /// User name and password.
        credentials: Option<(String, String)>,
    },
}

/// A clip.
#[derive(Debug, Clone)]
pub(crate) struct Footage {
    file: PathBuf,
    /// How long it plays.
    pub(crate) length: Duration,
}

impl Footage {
    /// Asks `ffprobe` for the length.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let output = Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-show_entries",
                "format=duration",
                "-of",
                "csv=p=0",
            ])
            .arg(file)
            .output()
            .context("run ffprobe (package ffmpeg)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let seconds: f64 = text.trim().parse().map_err(|_| {
            anyhow::anyhow!(
                "--footage {}: this is no clip that can be played: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })?;
        ensure!(
            seconds.is_finite() && (0.0..=86_400.0).contains(&seconds),
            "--footage {}: a clip of {seconds} s cannot be played",
            file.display()
        );
        let file = std::path::absolute(file).context("read --footage")?;
        Ok(Self {
            file,
            length: Duration::from_secs_f64(seconds),
        })
    }
}

/// A zone of the picture, relative.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Zone([f32; 4]);

impl Zone {
    /// Values for the sample's input ports.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, f32)> {
        ["left", "top", "right", "bottom"]
            .into_iter()
            .zip(self.0)
            .collect()
    }
}

/// A file that is there; whether it is a clip is told by playing it.
pub(crate) fn parse_clip(text: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(text);
    if file.is_file() {
        Ok(file)
    } else {
        Err("there is no such file".to_owned())
    }
}

/// Reads `L,T,R,B`.
pub(crate) fn parse_zone(text: &str) -> Result<Zone, String> {
    let numbers: Vec<f32> = text
        .split(',')
        .map(|part| {
            part.trim()
                .parse()
                .map_err(|_| format!("{part:?} is not a number"))
        })
        .collect::<Result<_, _>>()?;
    let zone: [f32; 4] = numbers
        .try_into()
        .map_err(|_| "four numbers, e.g. 0.45,0.10,0.75,0.95".to_owned())?;
    let [left, top, right, bottom] = zone;
    if !(0.0 <= left && left < right && right <= 1.0 && 0.0 <= top && top < bottom && bottom <= 1.0)
    {
        return Err("0 <= left < right <= 1 and 0 <= top < bottom <= 1".to_owned());
    }
    Ok(Zone(zone))
}

/// Reads `NAME=rtsp://user:password@host/path`, `NAME=rtsps://…` or `NAME=file:///PATH`.
pub(crate) fn parse(text: &str) -> Result<Source, String> {
    let (name, url) = text
        .split_once('=')
        .ok_or("NAME=URL, e.g. door=rtsp://10.0.0.30/s1")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        return Err(format!("name {name:?}: 1-128 letters, digits, '-' and '_'"));
    }
    let mut parsed = url::Url::parse(url).map_err(|error| format!("URL: {error}"))?;
    if parsed.scheme() == "file" {
        let file = parsed
            .to_file_path()
            .ok()
            .filter(|file| file.is_file())
            .ok_or("URL: there is no such file; write file:///PATH")?;
        return Ok(Source::File {
            name: name.to_owned(),
            file,
            url: parsed.to_string(),
        });
    }
    if !["rtsp", "rtsps"].contains(&parsed.scheme()) || parsed.host_str().is_none() {
        return Err("URL: only rtsp://host[:port]/path, rtsps://… or file:///path".to_owned());
    }
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let credentials = (!parsed.username().is_empty()).then(|| {
        (
            decode(parsed.username()),
            decode(parsed.password().unwrap_or_default()),
        )
    });
    // Both fail only for addresses that have no host, and this one has.
    let cleared = parsed
        .set_username("")
        .and_then(|()| parsed.set_password(None));
    cleared.map_err(|()| "URL: only rtsp://host[:port]/path".to_owned())?;
    Ok(Source::Real {
        name: name.to_owned(),
        url: parsed.to_string(),
        credentials,
    })
}

/// The files that the appliance is to play.
pub(crate) fn files(sources: &[Source]) -> Vec<PathBuf> {
    let files = sources.iter().filter_map(|source| match source {
        Source::File { file, .. } => Some(file.clone()),
        _ => None,
    });
    files.collect()
}

/// The cameras of this run: those given, the clip, or the two scenes.
pub(crate) fn sources(given: &[Source], footage: Option<Footage>) -> Vec<Source> {
    if let Some(footage) = footage {
        return vec![Source::Clip(footage)];
    }
    if !given.is_empty() {
        return given.to_vec();
    }
    vec![
        Source::Scene {
            name: "gate",
            size: "1280x720",
            fps: 25,
            seed: 7,
            tls: false,
        },
        Source::Scene {
            name: "yard",
            size: "1920x1080",
            fps: 15,
            seed: 11,
            tls: true,
        },
    ]
}

/// A camera that can be opened.
pub(crate) struct Running {
    /// Its name: package, node and stream.
    pub(crate) name: String,
    source: Source,
    url: String,
    truth: Option<PathBuf>,
    lines: Option<Receiver<String>>,
}

/// A line that the virtual camera prints.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// It can be opened.
    Listening {
        /// Where.
        url: String,
        /// The file that says what it shows.
        truth: Option<PathBuf>,
    },
    /// The clip's first frame has this time.
    Started {
        /// Microseconds since the epoch.
        epoch_us: u64,
    },
    /// The clip has been played.
    Ended,
    /// Something else.
    #[serde(other)]
    Other,
}

impl Running {
    /// Whether it plays a clip.
    pub(crate) fn is_clip(&self) -> bool {
        matches!(self.source, Source::Clip(_))
    }

    /// How the control plane gets to know it.
    pub(crate) fn registration(&self, settings: &Settings) -> deploy::Camera {
        let credentials = match &self.source {
            Source::Real { credentials, .. } => credentials.clone(),
            Source::File { .. } => None,
            Source::Scene { .. } | Source::Clip(_) => {
                Some((USER.to_owned(), settings.camera_password.clone()))
            }
        };
        deploy::Camera {
            name: self.name.clone(),
            url: self.url.clone(),
            credentials,
        }
    }

    /// What it shows, where that is known.
    pub(crate) fn truth(&self) -> Result<Option<Truth>> {
        self.truth.as_deref().map(Truth::load).transpose()
    }

    /// What it has said since the last look.
    pub(crate) fn events(&self) -> Vec<Event> {
        let lines = self.lines.iter().flat_map(Receiver::try_iter);
        lines
            .filter_map(|line| serde_json::from_str(&line).ok())
            .collect()
    }
}

/// Starts the virtual ones.
pub(crate) fn start(
    supervisor: &Supervisor,
    place: &Place,
    settings: &Settings,
    ground: &Ground,
    sources: Vec<Source>,
) -> Result<Vec<Running>> {
    let mut all = Vec::new();
    for (index, (source, port)) in sources.into_iter().zip(&settings.camera_ports).enumerate() {
        let mut arguments: Vec<String> = Vec::new();
        let name = match &source {
            Source::File { name, url, .. } | Source::Real { name, url, .. } => {
                let (name, url) = (name.clone(), url.clone());
                all.push(Running {
                    name,
                    source,
                    url,
                    truth: None,
                    lines: None,
                });
                continue;
            }
            Source::Scene {
                name,
                size,
                fps,
                seed,
                tls,
            } => {
                for (flag, value) in [
                    ("--size", (*size).to_owned()),
                    ("--fps", fps.to_string()),
                    ("--seed", seed.to_string()),
                    ("--cache", place.cache.display().to_string()),
                ] {
                    arguments.extend([flag.to_owned(), value]);
                }
                if *tls {
                    let certificate = place.dir.join(format!("camera-{name}.pem"));
                    arguments.extend(["--tls".to_owned(), certificate.display().to_string()]);
                }
                (*name).to_owned()
            }
            Source::Clip(footage) => {
                arguments.extend(["--file".to_owned(), footage.file.display().to_string()]);
                "clip".to_owned()
            }
        };
        let address = format!("{}:{port}", ground.camera(index));
        for (flag, value) in [
            ("--listen", address.as_str()),
            ("--name", &name),
            ("--user", USER),
        ] {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        }
        let (sender, receiver) = lines();
        supervisor.start(ground.among_cameras(Service {
            name: name.clone(),
            program: place.libexec.join("parapet-virtual-camera"),
            arguments,
            environment: vec![(
                "PARAPET_CAMERA_PASSWORD".to_owned(),
                settings.camera_password.clone(),
            )],
            log: place.dir.join(format!("camera-{name}.log")),
            lines: Some(sender),
        }))?;
        all.push(Running {
            name,
            source,
            url: String::new(),
            truth: None,
            lines: Some(receiver),
        });
    }
    Ok(all)
}

/// Waits until all can be opened; a scene may have to be drawn first.
pub(crate) fn wait_listening(
    cameras: &mut [Running],
    place: &Place,
    patience: &Patience,
) -> Result<()> {
    for camera in cameras {
        let Some(lines) = &camera.lines else { continue };
        let log = place.dir.join(format!("camera-{}.log", camera.name));
        let what = format!("camera {}; its log is {}", camera.name, log.display());
        let (url, truth) = patience.wait(&what, || {
            Ok(lines
                .try_iter()
                .find_map(|line| match serde_json::from_str(&line) {
                    Ok(Event::Listening { url, truth }) => Some((url, truth)),
                    _ => None,
                }))
        })?;
        camera.url = url;
        camera.truth = truth;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_a_name_and_an_address_and_its_credentials_leave_the_address() {
        let Ok(Source::Real {
            name,
            url,
            credentials,
        }) = parse("door=rtsp://user:p%40ss@10.0.0.30:554/s1")
        else {
            panic!("a good camera was refused");
        };
        assert_eq!(
            (name.as_str(), url.as_str()),
            ("door", "rtsp://10.0.0.30:554/s1")
        );
        assert_eq!(credentials, Some(("user".to_owned(), "p@ss".to_owned())));
    }

    #[test]
    fn what_is_no_camera_is_refused_with_the_reason() {
        for text in [
            "door",
            "=rtsp://h/s",
            "a b=rtsp://h/s",
            "door=http://h/s",
            "door=file:///x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_lies_within_the_picture() {
        assert_eq!(
            parse_zone("0.45,0.10,0.75,0.95"),
            Ok(Zone([0.45, 0.10, 0.75, 0.95]))
        );
        for text in [
            "",
            "1,2,3",
            "0.5,0,0.4,1",
            "0,0,1.1,1",
            "nan,0,1,1",
            "a,b,c,d",
        ] {
            assert!(parse_zone(text).is_err(), "{text}");
        }
    }
}
