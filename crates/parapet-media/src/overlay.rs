//! Draws what an application added to a picture: red boxes, white text (`spec/sdk.md` 2.4).
//!
//! For display only, never into what an application or a model sees. Coordinates are relative to
//! the picture and come from applications: what lies outside is clipped, what is no number is left
//! out, nothing fails.

use font8x8::UnicodeFonts;

use crate::picture::PictureMut;

const RED: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];
const BLACK: [u8; 3] = [0, 0, 0];
/// Columns and rows of a glyph.
const GLYPH: i64 = 8;
/// Rows of a glyph above the baseline; the rest is for descenders.
const ASCENT: i64 = 7;
/// Longest label that is drawn: more does not fit on any screen.
const MAX_LABEL: usize = 256;

/// Draws the outline of a box, given as left, top, right, bottom.
pub fn draw_rect(picture: &mut PictureMut<'_>, [left, top, right, bottom]: [f64; 4]) {
    let (width, height) = size(picture);
    let sides = (
        pixel(left, width),
        pixel(top, height),
        pixel(right, width),
        pixel(bottom, height),
    );
    let (Some(x1), Some(y1), Some(x2), Some(y2)) = sides else {
        return;
    };
    let (x1, x2) = (x1.min(x2), x1.max(x2));
    let (y1, y2) = (y1.min(y2), y1.max(y2));
    let line = 2 * scale(picture);
    // A box that leaves the picture is closed at its border, so that it is seen as one.
    if x2 < 0 || y2 < 0 || x1 >= width || y1 >= height {
        return;
    }
    let (x1, y1) = (x1.clamp(0, width), y1.clamp(0, height));
    let (x2, y2) = (
        x2.clamp(x1, width).max(x1 + line),
        y2.clamp(y1, height).max(y1 + line),
    );
    picture.fill([x1, x2], [y1, y1 + line], RED);
    picture.fill([x1, x2], [y2 - line, y2], RED);
    picture.fill([x1, x1 + line], [y1, y2], RED);
    picture.fill([x2 - line, x2], [y1, y2], RED);
}

/// Writes one line of text; `x`, `y` is where its baseline begins. A dark shadow keeps it legible
/// on a bright picture.
pub fn draw_label(picture: &mut PictureMut<'_>, text: &str, x: f64, y: f64) {
    let (width, height) = size(picture);
    let (Some(x), Some(y)) = (pixel(x, width), pixel(y, height)) else {
        return;
    };
    let scale = scale(picture);
    let top = y - ASCENT * scale;
    for (offset, colour) in [(scale, BLACK), (0, WHITE)] {
        let mut left = x + offset;
        for character in text.chars().take(MAX_LABEL) {
            if left >= width {
                break;
            }
            draw_glyph(picture, character, [left, top + offset], scale, colour);
            left += GLYPH * scale;
        }
    }
}

fn draw_glyph(
    picture: &mut PictureMut<'_>,
    character: char,
    [left, top]: [i64; 2],
    scale: i64,
    colour: [u8; 3],
) {
    for (row, bits) in (0..).zip(glyph(character)) {
        let y = top + row * scale;
        for column in (0..GLYPH).filter(|column| bits & (1 << column) != 0) {
            let x = left + column * scale;
            picture.fill([x, x + scale], [y, y + scale], colour);
        }
    }
}

/// A glyph's rows from the top, the lowest bit at the left.
fn glyph(character: char) -> [u8; 8] {
    font8x8::BASIC_FONTS
        .get(character)
        .or_else(|| font8x8::LATIN_FONTS.get(character))
        .or_else(|| font8x8::GREEK_FONTS.get(character))
        .or_else(|| font8x8::BASIC_FONTS.get('?'))
        .unwrap_or_default()
}

/// The same look at every size: one dot of a glyph is two pixels at 720 rows.
fn scale(picture: &PictureMut<'_>) -> i64 {
    (size(picture).1 / 360).max(1)
}

/// Columns and rows as coordinates, which may lie outside.
fn size(picture: &PictureMut<'_>) -> (i64, i64) {
    let side = |pixels: usize| i64::try_from(pixels).unwrap_or(i64::MAX);
    (side(picture.width()), side(picture.height()))
}

fn pixel(relative: f64, size: i64) -> Option<i64> {
    // Far outside is outside: the bound keeps later sums from overflowing.
    const FAR: f64 = 1e6;
    (!relative.is_nan()).then(|| (relative.clamp(-FAR, FAR) * size as f64).round() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(draw: impl FnOnce(&mut PictureMut<'_>)) -> Vec<[u8; 3]> {
        let mut pixels = vec![50; 100 * 60 * 3];
        draw(&mut PictureMut::new(&mut pixels, 100, 60).unwrap());
        pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
    }

    #[test]
    fn a_box_is_red_and_empty_inside() {
        let picture = drawn(|p| draw_rect(p, [0.1, 0.1, 0.5, 0.5]));
        let at = |x: usize, y: usize| picture[y * 100 + x];
        for corner in [at(10, 6), at(49, 6), at(10, 29), at(49, 29)] {
            assert_eq!(corner, RED);
        }
        assert_eq!(at(30, 15), [50; 3]);
        assert_eq!(at(9, 6), [50; 3]);
        assert_eq!(at(50, 29), [50; 3]);
    }

    #[test]
    fn a_box_of_the_whole_picture_shows_all_four_sides() {
        let picture = drawn(|p| draw_rect(p, [-0.5, 0.0, 1.0, 7.0]));
        let at = |x: usize, y: usize| picture[y * 100 + x];
        for side in [at(50, 0), at(50, 59), at(0, 30), at(99, 30)] {
            assert_eq!(side, RED);
        }
    }

    #[test]
    fn a_label_is_white_above_its_baseline() {
        let picture = drawn(|p| draw_label(p, "Hé", 0.1, 0.5));
        let white = |rows: std::ops::Range<usize>| {
            picture[rows.start * 100..rows.end * 100]
                .iter()
                .filter(|p| **p == WHITE)
                .count()
        };
        assert!(white(23..30) > 20, "the letters are there");
        assert_eq!(white(0..23) + white(31..60), 0, "and nowhere else");
        // The stem of the H stands where x says.
        assert_eq!(picture[26 * 100 + 10], WHITE);
    }

    #[test]
    fn an_unknown_character_is_a_question_mark() {
        assert_eq!(
            drawn(|p| draw_label(p, "\u{1F600}", 0.2, 0.5)),
            drawn(|p| draw_label(p, "?", 0.2, 0.5))
        );
    }

    proptest! {
        #[test]
        fn no_coordinates_and_no_text_make_drawing_fail(
            a in any::<f64>(), b in any::<f64>(), c in any::<f64>(), d in any::<f64>(),
            text in ".{0,20}",
        ) {
            drawn(|p| {
                draw_rect(p, [a, b, c, d]);
                draw_label(p, &text, a, b);
            });
        }
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let untouched = drawn(|_| ());
        assert_eq!(
            drawn(|p| draw_rect(p, [f64::NAN, 0.0, 1.0, 1.0])),
            untouched
        );
        assert_eq!(drawn(|p| draw_label(p, "x", f64::NAN, 0.5)), untouched);
        assert_eq!(
            drawn(|p| draw_rect(p, [2.0, 2.0, f64::INFINITY, 3.0])),
            untouched
        );
    }
}
