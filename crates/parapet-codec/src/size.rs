//! How large a picture is handed over (`spec/sdk.md` 2.4).
//!
//! Up to 2 megapixels as the camera sends it; what is larger becomes 1920x1080 or a picture of
//! the same area with the camera's aspect ratio.

/// Pixels of the largest picture: 1920x1080.
const MAX_PIXELS: u64 = 1920 * 1080;

/// Columns and rows of the picture made from one of this size. Both sides are at least 1.
#[must_use]
pub fn picture_size(width: u32, height: u32) -> (u32, u32) {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= MAX_PIXELS {
        return (width, height);
    }
    let factor = (MAX_PIXELS as f64 / pixels as f64).sqrt();
    // Even sides, rounded down: chroma planes stay whole and the area stays below the limit.
    // The tiny addition keeps 1080.0 from becoming 1079.999.
    let side = |pixels: u32| (((f64::from(pixels) * factor + 1e-6) as u32) & !1).max(2);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_two_megapixels_nothing_is_scaled() {
        for size in [
            (1920, 1080),
            (1280, 720),
            (768, 432),
            (1600, 1200),
            (1080, 1920),
            (1, 1),
        ] {
            assert_eq!(picture_size(size.0, size.1), size);
        }
    }

    #[test]
    fn larger_pictures_keep_their_aspect_ratio_and_fit_the_area() {
        assert_eq!(picture_size(3840, 2160), (1920, 1080));
        assert_eq!(picture_size(2560, 1440), (1920, 1080));
        assert_eq!(picture_size(2160, 3840), (1080, 1920));
        for (width, height) in [
            (4096, 2160),
            (2592, 1944),
            (2048, 2048),
            (8192, 8192),
            (8192, 300),
        ] {
            let (w, h) = picture_size(width, height);
            assert!(u64::from(w) * u64::from(h) <= MAX_PIXELS);
            let error = f64::from(w) / f64::from(h) / (f64::from(width) / f64::from(height)) - 1.0;
            assert!(error.abs() < 0.01, "{width}x{height} becomes {w}x{h}");
        }
    }
}
