//! Planes of luma and chroma to rows of BGR pixels.
//!
//! Matrix and range come from the stream where it says them, else from its size, as players do.
//! Larger pictures are scaled plane by plane before the conversion, which touches half the bytes
//! of scaling after it. Pure: no libav in here.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use thiserror::Error;
use yuv::YuvPlanarImage;
pub use yuv::{YuvRange as Range, YuvStandardMatrix as Matrix};

/// How far apart chroma samples stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// No chroma.
    Grey,
    /// One for four pixels.
    S420,
    /// One for two pixels of a row.
    S422,
    /// One for each pixel.
    S444,
}

impl Sampling {
    /// Size of a chroma plane of a picture of this size.
    pub(crate) fn chroma(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Grey => (0, 0),
            Self::S420 => (width.div_ceil(2), height.div_ceil(2)),
            Self::S422 => (width.div_ceil(2), height),
            Self::S444 => (width, height),
        }
    }
}

/// Rows of samples, `stride` bytes apart; the last row may end with its last sample.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plane<'a> {
    /// The samples.
    pub bytes: &'a [u8],
    /// Distance of rows.
    pub stride: usize,
}

/// A picture as a decoder gives it, 8 bits a sample.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// Luma, then both chroma planes.
    pub planes: [Plane<'a>; 3],
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Size of the chroma planes.
    pub sampling: Sampling,
    /// Weights of the colours.
    pub matrix: Matrix,
    /// Whether black is 0 or 16.
    pub range: Range,
}

/// The matrix that players assume where a stream names none.
#[must_use]
pub fn matrix_by_size(width: u32, height: u32) -> Matrix {
    if width >= 1280 || height > 576 {
        Matrix::Bt709
    } else {
        Matrix::Bt601
    }
}

/// Why a picture cannot be converted.
#[derive(Debug, Error)]
pub enum ColourError {
    /// A plane is shorter than the picture's size needs, or sizes are 0.
    #[error("convert colours")]
    Convert(#[source] yuv::YuvError),
    /// A plane of luma is shorter than the picture's size needs.
    #[error("convert shades of grey: the plane is too short")]
    Grey,
    /// Scaling refused the sizes.
    #[error("scale a plane of {width}x{height}")]
    Scale {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// Converts pictures; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Converter {
    resizer: Resizer,
    tight: Vec<u8>,
    scaled: [Vec<u8>; 3],
}

impl Converter {
    /// Writes the picture, scaled to `width` x `height` where its size differs, as rows of BGR
    /// pixels without gaps. `bgr` is as long as these.
    pub fn convert(
        &mut self,
        source: &Planes<'_>,
        width: u32,
        height: u32,
        bgr: &mut [u8],
    ) -> Result<(), ColourError> {
        if (source.width, source.height) == (width, height) {
            return to_bgr(source, bgr);
        }
        let mut planes = [Plane::default(); 3];
        let count = if source.sampling == Sampling::Grey {
            1
        } else {
            3
        };
        for ((index, scaled), from) in self
            .scaled
            .iter_mut()
            .enumerate()
            .zip(&source.planes)
            .take(count)
        {
            let (old, new) = if index == 0 {
                ((source.width, source.height), (width, height))
            } else {
                (
                    source.sampling.chroma(source.width, source.height),
                    source.sampling.chroma(width, height),
                )
            };
            scale(&mut self.resizer, &mut self.tight, from, old, scaled, new)?;
        }
        for ((index, scaled), plane) in self.scaled.iter().enumerate().zip(&mut planes).take(count)
        {
            let columns = if index == 0 {
                width
            } else {
                source.sampling.chroma(width, height).0
            };
            *plane = Plane {
                bytes: scaled,
                stride: columns as usize,
            };
        }
        to_bgr(
            &Planes {
                planes,
                width,
                height,
                ..*source
            },
            bgr,
        )
    }
}

fn scale(
    resizer: &mut Resizer,
    tight: &mut Vec<u8>,
    plane: &Plane<'_>,
    (width, height): (u32, u32),
    scaled: &mut Vec<u8>,
    (new_width, new_height): (u32, u32),
) -> Result<(), ColourError> {
    let refused = || ColourError::Scale { width, height };
    // The resizer wants rows without gaps; a copy costs a tenth of the scaling.
    tight.clear();
    for row in 0..height as usize {
        let start = row * plane.stride;
        let row = plane
            .bytes
            .get(start..start + width as usize)
            .ok_or_else(refused)?;
        tight.extend_from_slice(row);
    }
    scaled.resize(new_width as usize * new_height as usize, 0);
    let from = ImageRef::new(width, height, tight, PixelType::U8).map_err(|_| refused())?;
    let mut to = Image::from_slice_u8(new_width, new_height, scaled, PixelType::U8)
        .map_err(|_| refused())?;
    // Bilinear as a convolution: every source sample counts, no moiré, and less than half the
    // work of the sharper filters.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    resizer
        .resize(&from, &mut to, &options)
        .map_err(|_| refused())
}

fn to_bgr(source: &Planes<'_>, bgr: &mut [u8]) -> Result<(), ColourError> {
    let [y, u, v] = source.planes;
    let stride = source.width * 3;
    let (range, matrix) = (source.range, source.matrix);
    if source.sampling == Sampling::Grey {
        return grey_to_bgr(source, bgr);
    }
    let image = YuvPlanarImage {
        y_plane: y.bytes,
        y_stride: y.stride as u32,
        u_plane: u.bytes,
        u_stride: u.stride as u32,
        v_plane: v.bytes,
        v_stride: v.stride as u32,
        width: source.width,
        height: source.height,
    };
    let convert = match source.sampling {
        Sampling::S422 => yuv::yuv422_to_bgr,
        Sampling::S444 => yuv::yuv444_to_bgr,
        Sampling::S420 | Sampling::Grey => yuv::yuv420_to_bgr,
    };
    convert(&image, bgr, stride, range, matrix).map_err(ColourError::Convert)
}

/// By hand, because `yuv400_to_bgr` (yuv 0.8.20) leaves the last row out where the plane ends with
/// its last sample.
fn grey_to_bgr(source: &Planes<'_>, bgr: &mut [u8]) -> Result<(), ColourError> {
    let levels: [u8; 256] = std::array::from_fn(|luma| match source.range {
        Range::Full => luma as u8,
        Range::Limited => ((luma.saturating_sub(16) * 255 + 109) / 219).min(255) as u8,
    });
    let (width, luma) = (source.width as usize, &source.planes[0]);
    for (row, pixels) in bgr.chunks_exact_mut(width * 3).enumerate() {
        let start = row * luma.stride;
        let samples = luma
            .bytes
            .get(start..start + width)
            .ok_or(ColourError::Grey)?;
        for (pixel, sample) in pixels.chunks_exact_mut(3).zip(samples) {
            pixel.fill(levels[usize::from(*sample)]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of ITU-R BT.601 and BT.709 in real numbers: an oracle that shares nothing
    /// with the fixed-point code under test.
    fn reference([luma, u, v]: [u8; 3], [kr, kb]: [f64; 2], range: Range) -> [f64; 3] {
        let (black, luma_range, chroma_range) = match range {
            Range::Limited => (16.0, 219.0, 224.0),
            Range::Full => (0.0, 255.0, 255.0),
        };
        let luma = (f64::from(luma) - black) / luma_range;
        let pb = (f64::from(u) - 128.0) / chroma_range;
        let pr = (f64::from(v) - 128.0) / chroma_range;
        let red = luma + 2.0 * (1.0 - kr) * pr;
        let blue = luma + 2.0 * (1.0 - kb) * pb;
        let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
        [blue, green, red].map(|c| (c * 255.0).clamp(0.0, 255.0))
    }

    fn plain(
        yuv: [u8; 3],
        sampling: Sampling,
        size: (u32, u32),
        matrix: Matrix,
        range: Range,
        to: (u32, u32),
    ) -> Vec<u8> {
        let (cw, ch) = sampling.chroma(size.0, size.1);
        // A gap after each row, with other contents, and a last row that ends early.
        let plane = |value: u8, (w, h): (u32, u32)| {
            let stride = w as usize + 5;
            let mut bytes = vec![!value; (stride * h as usize).saturating_sub(5)];
            for row in bytes.chunks_mut(stride) {
                row[..w as usize].fill(value);
            }
            (bytes, stride)
        };
        let planes = [
            plane(yuv[0], size),
            plane(yuv[1], (cw, ch)),
            plane(yuv[2], (cw, ch)),
        ];
        let [a, b, c] = &planes;
        let source = Planes {
            planes: [a, b, c].map(|(bytes, stride)| Plane {
                bytes,
                stride: *stride,
            }),
            width: size.0,
            height: size.1,
            sampling,
            matrix,
            range,
        };
        let mut bgr = vec![0; (to.0 * to.1 * 3) as usize];
        Converter::default()
            .convert(&source, to.0, to.1, &mut bgr)
            .unwrap();
        bgr
    }

    #[test]
    fn colours_follow_the_matrix_and_the_range_within_three() {
        let colours = [
            [16, 128, 128],
            [235, 128, 128],
            [81, 90, 240],
            [145, 54, 34],
            [41, 240, 110],
            [126, 128, 128],
            [180, 100, 150],
            [60, 160, 90],
        ];
        for (matrix, weights) in [
            (Matrix::Bt601, [0.299, 0.114]),
            (Matrix::Bt709, [0.2126, 0.0722]),
        ] {
            for range in [Range::Limited, Range::Full] {
                for sampling in [Sampling::S420, Sampling::S422, Sampling::S444] {
                    for colour in colours {
                        let expected = reference(colour, weights, range);
                        for (size, to) in [
                            ((34, 18), (34, 18)),
                            ((33, 17), (33, 17)),
                            ((64, 36), (32, 18)),
                        ] {
                            for pixel in
                                plain(colour, sampling, size, matrix, range, to).chunks_exact(3)
                            {
                                for (got, want) in pixel.iter().zip(expected) {
                                    assert!(
                                        (f64::from(*got) - want).abs() <= 3.0,
                                        "{colour:?} {matrix:?} {range:?} {sampling:?}: {pixel:?} not {expected:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn grey_needs_no_chroma() {
        let bgr = plain(
            [128, 0, 0],
            Sampling::Grey,
            (20, 10),
            Matrix::Bt601,
            Range::Full,
            (20, 10),
        );
        let outliers: Vec<_> = bgr
            .iter()
            .filter(|byte| !(127..=129).contains(*byte))
            .collect();
        assert!(outliers.is_empty(), "{outliers:?}");
    }

    #[test]
    fn planes_that_are_too_short_are_an_error() {
        let short = Plane {
            bytes: &[0; 10],
            stride: 8,
        };
        let source = Planes {
            planes: [short; 3],
            width: 8,
            height: 8,
            sampling: Sampling::S420,
            matrix: Matrix::Bt601,
            range: Range::Full,
        };
        let mut converter = Converter::default();
        assert!(converter.convert(&source, 8, 8, &mut [0; 192]).is_err());
        assert!(converter.convert(&source, 4, 4, &mut [0; 48]).is_err());
    }
}
