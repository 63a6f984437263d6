//! A picture in memory: rows of BGR pixels without gaps, checked once.

use thiserror::Error;

use crate::ring::PIXEL_BYTES;

/// The bytes are not those of a picture of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("read {bytes} bytes as a picture of {width}x{height}")]
pub struct SizeMismatch {
    /// Bytes given.
    pub bytes: usize,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A picture to look at.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    pixels: &'a [u8],
    width: usize,
    height: usize,
}

impl<'a> Picture<'a> {
    /// `height` rows of `width` BGR pixels.
    pub fn new(pixels: &'a [u8], width: u32, height: u32) -> Result<Self, SizeMismatch> {
        check(pixels.len(), width, height)?;
        Ok(Self {
            pixels,
            width: width as usize,
            height: height as usize,
        })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes of a row; empty below the last.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let bytes = self.width * PIXEL_BYTES;
        self.pixels
            .get(y * bytes..(y + 1) * bytes)
            .unwrap_or_default()
    }
}

/// A picture to draw into.
#[derive(Debug)]
pub struct PictureMut<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
}

impl<'a> PictureMut<'a> {
    /// `height` rows of `width` BGR pixels.
    pub fn new(pixels: &'a mut [u8], width: u32, height: u32) -> Result<Self, SizeMismatch> {
        check(pixels.len(), width, height)?;
        Ok(Self {
            pixels,
            width: width as usize,
            height: height as usize,
        })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes of a row; empty below the last.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        let bytes = self.width * PIXEL_BYTES;
        self.pixels
            .get_mut(y * bytes..(y + 1) * bytes)
            .unwrap_or_default()
    }

    /// Fills the part of a rectangle that lies inside of the picture. Ends are exclusive.
    pub fn fill(&mut self, columns: [i64; 2], rows: [i64; 2], bgr: [u8; 3]) {
        let clip = |[from, to]: [i64; 2], size: usize| {
            let clip = |at: i64| usize::try_from(at.max(0)).map_or(size, |at| at.min(size));
            (clip(from), clip(to))
        };
        let (left, right) = clip(columns, self.width);
        let (top, bottom) = clip(rows, self.height);
        if left >= right {
            return;
        }
        for y in top..bottom {
            for pixel in self.row_mut(y)[left * PIXEL_BYTES..right * PIXEL_BYTES]
                .chunks_exact_mut(PIXEL_BYTES)
            {
                pixel.copy_from_slice(&bgr);
            }
        }
    }
}

fn check(bytes: usize, width: u32, height: u32) -> Result<(), SizeMismatch> {
    let expected = u128::from(width) * u128::from(height) * PIXEL_BYTES as u128;
    if width == 0 || height == 0 || bytes as u128 != expected {
        return Err(SizeMismatch {
            bytes,
            width,
            height,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_another_size_are_no_picture() {
        assert!(Picture::new(&[0; 12], 2, 2).is_ok());
        for (bytes, width, height) in [(11, 2, 2), (13, 2, 2), (0, 0, 0), (12, u32::MAX, u32::MAX)]
        {
            assert!(Picture::new(&vec![0; bytes], width, height).is_err());
        }
    }

    #[test]
    fn filling_is_clipped_at_the_border() {
        let mut pixels = [0; 3 * 3 * 3];
        let mut picture = PictureMut::new(&mut pixels, 3, 3).unwrap();
        picture.fill([2, i64::MAX], [i64::MIN, 1], [1, 2, 3]);
        picture.fill([2, 1], [0, 3], [9, 9, 9]);
        picture.fill([-5, -1], [0, 3], [9, 9, 9]);
        let mut expected = [0; 27];
        expected[6..9].copy_from_slice(&[1, 2, 3]);
        assert_eq!(pixels, expected);
    }
}
