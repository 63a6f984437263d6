//! Screens: what applications put out, and cameras as they come, as JPEG for whoever watches.
//!
//! Works only while a view is watched, at most twelve pictures a second, on a blocking thread, with
//! at most one picture being made and one waiting per view. Pixels of an application are read with
//! `pread`, never mapped: what it does to its memory can spoil its own picture only.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder};
use parapet_device::live::{LiveHeader, View};
use parapet_device::reported::NodeStatus;
use parapet_device::{InstanceId, NodeName, TimeStamp};
use parapet_media::overlay::{draw_label, draw_rect};
use parapet_media::picture::PictureMut;
use parapet_media::ring::RingError;
use parapet_media::tile::draw_tiles;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::board::Line;
use crate::camera::CameraFrames;
use crate::frames::Frame;
use crate::launcher::lock;
use crate::logs::Task;
use crate::views::Views;

/// Size of what is shown.
const WIDTH: u16 = 1280;
const HEIGHT: u16 = 720;
const QUALITY: u8 = 80;
/// Between two pictures of a view.
const INTERVAL: Duration = Duration::from_millis(83);
/// Widest and highest picture that an application may put out.
const LARGEST: u32 = 8192;
/// Pixels of one `put` that are loaded at a time: ten pictures of 3840x2160. Memory that an
/// application sends may be a hole that costs it nothing.
pub(crate) const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// A frame that stays as it is until this is dropped.
pub(crate) struct Leased {
    camera: Arc<CameraFrames>,
    frame: Frame,
}

impl Leased {
    /// The newest frame of a camera.
    pub(crate) fn newest(camera: &Arc<CameraFrames>) -> Option<Self> {
        let frame = camera.lease_newest()?;
        Some(Self {
            camera: Arc::clone(camera),
            frame,
        })
    }

    /// One more lease of the same frame.
    pub(crate) fn again(&self) -> Option<Self> {
        let leased = self.camera.lease(self.frame);
        leased.then(|| Self {
            camera: Arc::clone(&self.camera),
            frame: self.frame,
        })
    }

    /// Which frame.
    pub(crate) fn frame(&self) -> Frame {
        self.frame
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.camera.release(self.frame);
    }
}

/// Where a picture's pixels are.
pub(crate) enum Pixels {
    /// In the ring, unchanged.
    Ring(Leased),
    /// In memory of the application.
    Changed {
        memory: Arc<OwnedFd>,
        offset: u64,
        width: u32,
        height: u32,
    },
}

/// One picture of a `put`.
pub(crate) struct Picture {
    pub(crate) time: TimeStamp,
    /// `None`: the SDK sent none, nobody was watching.
    pub(crate) pixels: Option<Pixels>,
    pub(crate) rects: Vec<[f32; 4]>,
    pub(crate) labels: Vec<(String, f32, f32)>,
}

/// What an application puts on its screens at once.
pub(crate) struct Put {
    pub(crate) pictures: Vec<Picture>,
}

struct Shared {
    view: View,
    views: Views,
    next: Mutex<Option<Arc<Put>>>,
    put: Notify,
}

/// A display node.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    _task: Task,
}

impl Screen {
    /// Takes pictures from now on.
    pub(crate) fn start(views: &Views, line: &Line) -> Self {
        line.set(NodeStatus::Running, None);
        let view = View::Display {
            instance: line.instance().clone(),
            node: line.node().clone(),
        };
        let shared = Arc::new(Shared {
            view,
            views: views.clone(),
            next: Mutex::default(),
            put: Notify::new(),
        });
        let task = tokio::spawn(show_puts(Arc::clone(&shared))).into();
        Self {
            shared,
            _task: task,
        }
    }

    /// Whether somebody looks.
    pub(crate) fn is_watched(&self) -> bool {
        self.shared.views.is_watched(&self.shared.view)
    }

    /// Replaces what is shown. Without a watcher the frames are let go at once.
    pub(crate) fn show(&self, put: Arc<Put>) {
        if self.is_watched() {
            *lock(&self.shared.next) = Some(put);
            self.shared.put.notify_one();
        } else {
            lock(&self.shared.next).take();
        }
    }
}

async fn show_puts(shared: Arc<Shared>) {
    let mut due = Instant::now();
    loop {
        shared.put.notified().await;
        sleep_until(due).await;
        let Some(put) = lock(&shared.next).take() else {
            continue;
        };
        due = Instant::now() + INTERVAL;
        make(&shared.views, shared.view.clone(), put).await;
    }
}

/// A camera's own picture for whoever watches it.
pub(crate) fn show_camera(
    views: &Views,
    instance: &InstanceId,
    node: &NodeName,
    camera: &Arc<CameraFrames>,
) -> Task {
    let view = View::Camera {
        instance: instance.clone(),
        node: node.clone(),
    };
    let (views, camera) = (views.clone(), Arc::clone(camera));
    tokio::spawn(async move {
        let mut shown = None;
        let mut due = Instant::now();
        loop {
            views.watched(&view).await;
            sleep_until(due).await;
            due = Instant::now() + INTERVAL;
            let Some(leased) = Leased::newest(&camera) else {
                continue;
            };
            // A camera that has stopped is shown once to a new watcher, not twelve times a second;
            // a second later the question is asked again, for whoever has come.
            if shown == Some(leased.frame().number) {
                due += INTERVAL * 12;
            }
            shown = Some(leased.frame().number);
            let picture = Picture {
                time: TimeStamp::from_micros(leased.frame().time),
                pixels: Some(Pixels::Ring(leased)),
                rects: Vec::new(),
                labels: Vec::new(),
            };
            let put = Arc::new(Put {
                pictures: vec![picture],
            });
            make(&views, view.clone(), put).await;
        }
    })
    .into()
}

async fn make(views: &Views, view: View, put: Arc<Put>) {
    let made = tokio::task::spawn_blocking(move || {
        let time = put.pictures.iter().map(|picture| picture.time).max();
        compose(&put).map(|jpeg| (time, jpeg))
    });
    match made.await {
        Ok(Ok((Some(time_stamp), jpeg))) => {
            let content_type = "image/jpeg".to_owned();
            views.publish(
                LiveHeader {
                    view,
                    content_type,
                    time_stamp,
                },
                jpeg,
            );
        }
        Ok(Ok((None, _)) | Err(ShowError::Nothing)) => {}
        Ok(Err(error)) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "picture cannot be shown"
            );
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "picture cannot be made"
            );
        }
    }
}

#[derive(Debug, Error)]
enum ShowError {
    #[error("show a put without pixels")]
    Nothing,
    #[error("show a picture of {0}x{1}")]
    Size(u32, u32),
    #[error("show pictures of more than {} MiB at once", MOST_BYTES >> 20)]
    TooMuch,
    #[error("read a frame")]
    Ring(#[from] RingError),
    #[error("read a picture")]
    Read(#[from] std::io::Error),
    #[error("encode a picture")]
    Encode(#[from] jpeg_encoder::EncodingError),
}

struct Loaded {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

fn compose(put: &Put) -> Result<Bytes, ShowError> {
    let mut loaded = Vec::new();
    let mut bytes = 0;
    for picture in &put.pictures {
        bytes += picture.pixels.as_ref().map_or(0, pixel_bytes);
        if bytes > MOST_BYTES {
            return Err(ShowError::TooMuch);
        }
        let Some(mut copy) = picture.pixels.as_ref().map(load).transpose()? else {
            continue;
        };
        if let Ok(mut target) = PictureMut::new(&mut copy.pixels, copy.width, copy.height) {
            for rect in &picture.rects {
                draw_rect(&mut target, rect.map(f64::from));
            }
            for (text, x, y) in &picture.labels {
                draw_label(&mut target, text, f64::from(*x), f64::from(*y));
            }
        }
        loaded.push(copy);
    }
    if loaded.is_empty() {
        return Err(ShowError::Nothing);
    }
    let tiles: Vec<_> = loaded
        .iter()
        .filter_map(|l| parapet_media::picture::Picture::new(&l.pixels, l.width, l.height).ok())
        .collect();
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    let mut screen = vec![0; (width * height * 3) as usize];
    if let Ok(mut target) = PictureMut::new(&mut screen, width, height) {
        draw_tiles(&tiles, &mut target);
    }
    let mut jpeg = Vec::with_capacity(256 * 1024);
    Encoder::new(&mut jpeg, QUALITY).encode(&screen, WIDTH, HEIGHT, ColorType::Bgr)?;
    Ok(jpeg.into())
}

/// Memory that the pixels take once they are loaded; nothing where they are too large to be.
fn pixel_bytes(pixels: &Pixels) -> u64 {
    let (width, height) = match pixels {
        Pixels::Ring(leased) => match leased.camera.ring(leased.frame.ring) {
            Some((layout, _)) => (layout.width, layout.height),
            None => (0, 0),
        },
        Pixels::Changed { width, height, .. } => (*width, *height),
    };
    if width > LARGEST || height > LARGEST {
        return 0;
    }
    u64::from(width) * u64::from(height) * 3
}

/// Copies the pixels out, so that nobody's later writing is seen while they are encoded.
fn load(pixels: &Pixels) -> Result<Loaded, ShowError> {
    match pixels {
        Pixels::Ring(leased) => {
            let (layout, memory) = leased
                .camera
                .ring(leased.frame.ring)
                .ok_or(ShowError::Nothing)?;
            let pixels = memory.copy(leased.frame.slot)?;
            Ok(Loaded {
                pixels,
                width: layout.width,
                height: layout.height,
            })
        }
        Pixels::Changed {
            memory,
            offset,
            width,
            height,
        } => read(memory.as_fd(), *offset, *width, *height),
    }
}

fn read(
    memory: std::os::fd::BorrowedFd<'_>,
    offset: u64,
    width: u32,
    height: u32,
) -> Result<Loaded, ShowError> {
    if width == 0 || height == 0 || width > LARGEST || height > LARGEST {
        return Err(ShowError::Size(width, height));
    }
    let length = u64::from(width) * u64::from(height) * 3;
    // Before memory is given for it: a descriptor may be anything. On a pipe or a directory the
    // length is 0, so that no read can wait.
    let there = rustix::fs::fstat(memory).map_err(std::io::Error::from)?;
    let is_file = rustix::fs::FileType::from_raw_mode(there.st_mode).is_file();
    let end = offset.checked_add(length);
    if !is_file || end.is_none_or(|end| u64::try_from(there.st_size).is_ok_and(|size| end > size)) {
        return Err(ShowError::Size(width, height));
    }
    let mut pixels = vec![0; length as usize];
    let mut done = 0;
    while done < pixels.len() {
        let rest = &mut pixels[done..];
        match rustix::io::pread(memory, rest, offset + done as u64) {
            Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
    Ok(Loaded {
        pixels,
        width,
        height,
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::MemfdFlags;

    use super::*;

    fn changed(bytes: usize, offset: u64, width: u32, height: u32) -> Put {
        let memory = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::pwrite(&memory, &vec![200; bytes], 0).unwrap();
        let memory = Arc::new(memory);
        let picture = Picture {
            time: TimeStamp::from_micros(1),
            pixels: Some(Pixels::Changed {
                memory,
                offset,
                width,
                height,
            }),
            rects: vec![[0.1, 0.1, 2.0, f32::NAN]],
            labels: vec![("text".to_owned(), -1.0, 7.0)],
        };
        Put {
            pictures: vec![picture],
        }
    }

    #[test]
    fn a_put_becomes_a_jpeg_of_the_screen() {
        let jpeg = compose(&changed(64 * 48 * 3, 0, 64, 48)).unwrap();
        assert_eq!(&jpeg[..2], [0xff, 0xd8]);
        // Start of frame 0: precision, height, width.
        let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        assert_eq!(jpeg[sof + 5..sof + 9], [2, 208, 5, 0]);
    }

    #[test]
    fn a_picture_beyond_its_memory_is_not_read() {
        for (offset, width, height) in [
            (1, 64, 48),
            (u64::MAX, 64, 48),
            (0, 65, 48),
            (0, 0, 48),
            (0, u32::MAX, u32::MAX),
        ] {
            let refused = compose(&changed(64 * 48 * 3, offset, width, height));
            assert!(
                matches!(refused, Err(ShowError::Size(..))),
                "{offset} {width}x{height}"
            );
        }
    }

    #[test]
    fn pictures_that_cost_their_sender_nothing_do_not_fill_the_memory() {
        let mut put = changed(0, 0, 8192, 8192);
        let Some(Pixels::Changed { memory, .. }) = &put.pictures[0].pixels else {
            unreachable!()
        };
        // A hole of the largest picture's size, shown twice.
        let memory = Arc::clone(memory);
        rustix::fs::ftruncate(&memory, 8192 * 8192 * 3).unwrap();
        put.pictures.push(changed(0, 0, 1, 1).pictures.remove(0));
        put.pictures[1].pixels = Some(Pixels::Changed {
            memory,
            offset: 0,
            width: 8192,
            height: 8192,
        });
        assert!(matches!(compose(&put), Err(ShowError::TooMuch)));
    }

    #[test]
    fn a_descriptor_that_is_no_file_is_not_read() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let refused = read(reader.as_fd(), 0, 8, 8);
        assert!(matches!(refused, Err(ShowError::Size(..))));
    }
}
