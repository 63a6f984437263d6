//! Several pictures on one screen: a near-square grid in list order, each picture as large as its
//! cell allows with its own aspect ratio, black around it.
//!
//! Smaller by box filter (every source pixel counts, so thin lines and text survive), larger by
//! nearest neighbour. For display only.

use crate::picture::{Picture, PictureMut};
use crate::ring::PIXEL_BYTES;

/// Columns and rows of the grid for so many pictures.
#[must_use]
pub fn grid(pictures: usize) -> (usize, usize) {
    let mut columns = pictures.isqrt();
    if columns * columns < pictures {
        columns += 1;
    }
    let columns = columns.max(1);
    (columns, pictures.div_ceil(columns).max(1))
}

/// Draws the pictures into the target, which is black where there is none.
pub fn draw_tiles(pictures: &[Picture<'_>], target: &mut PictureMut<'_>) {
    for y in 0..target.height() {
        target.row_mut(y).fill(0);
    }
    let (columns, rows) = grid(pictures.len());
    for (index, picture) in pictures.iter().enumerate() {
        let (column, row) = (index % columns, index / columns);
        let [left, right] = [column, column + 1].map(|c| c * target.width() / columns);
        let [top, bottom] = [row, row + 1].map(|r| r * target.height() / rows);
        let (width, height) = fit(picture, right - left, bottom - top);
        if width == 0 || height == 0 {
            continue;
        }
        let left = left + (right - left - width) / 2;
        let top = top + (bottom - top - height) / 2;
        draw_scaled(picture, target, [left, top], [width, height]);
    }
}

/// The largest size of the picture's aspect ratio within a cell.
fn fit(picture: &Picture<'_>, width: usize, height: usize) -> (usize, usize) {
    let by_height = picture.width() * height / picture.height();
    if by_height <= width {
        (by_height, height)
    } else {
        (width, picture.height() * width / picture.width())
    }
}

/// `left` and `top` plus the size lie inside of the target.
fn draw_scaled(
    source: &Picture<'_>,
    target: &mut PictureMut<'_>,
    [left, top]: [usize; 2],
    [width, height]: [usize; 2],
) {
    // Column sums of the source rows that make one target row: two passes instead of one keep the
    // inner loops straight, which the compiler turns into vector code.
    let mut sums = vec![0_u32; source.width() * PIXEL_BYTES];
    let spans: Vec<_> = (0..width).map(|x| span(x, width, source.width())).collect();
    for y in 0..height {
        let (first, end) = span(y, height, source.height());
        sums.fill(0);
        for row in first..end {
            for (sum, byte) in sums.iter_mut().zip(source.row(row)) {
                *sum += u32::from(*byte);
            }
        }
        let rows = (end - first) as u32;
        let line = &mut target.row_mut(top + y)[left * PIXEL_BYTES..(left + width) * PIXEL_BYTES];
        for (pixel, (first, end)) in line.chunks_exact_mut(PIXEL_BYTES).zip(&spans) {
            let mut colour = [0_u32; PIXEL_BYTES];
            for column in sums[first * PIXEL_BYTES..end * PIXEL_BYTES].chunks_exact(PIXEL_BYTES) {
                for (channel, sum) in colour.iter_mut().zip(column) {
                    *channel += sum;
                }
            }
            let area = rows * (end - first) as u32;
            for (byte, channel) in pixel.iter_mut().zip(colour) {
                *byte = ((channel + area / 2) / area) as u8;
            }
        }
    }
}

/// The source positions, at least one, that make target position `at`.
fn span(at: usize, target: usize, source: usize) -> (usize, usize) {
    let first = at * source / target;
    (first, ((at + 1) * source / target).max(first + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(width: u32, height: u32, bgr: [u8; 3]) -> Vec<u8> {
        bgr.repeat((width * height) as usize)
    }

    fn tiled(pictures: &[(&[u8], u32, u32)], width: u32, height: u32) -> Vec<[u8; 3]> {
        let pictures: Vec<_> = pictures
            .iter()
            .map(|(p, w, h)| Picture::new(p, *w, *h).unwrap())
            .collect();
        let mut pixels = vec![77; (width * height * 3) as usize];
        draw_tiles(
            &pictures,
            &mut PictureMut::new(&mut pixels, width, height).unwrap(),
        );
        pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
    }

    #[test]
    fn the_grid_is_nearly_square() {
        let grids: Vec<_> = (0..=10).map(grid).collect();
        let expected = [
            (1, 1),
            (1, 1),
            (2, 1),
            (2, 2),
            (2, 2),
            (3, 2),
            (3, 2),
            (3, 3),
            (3, 3),
            (3, 3),
            (4, 3),
        ];
        assert_eq!(grids, expected);
    }

    #[test]
    fn pictures_stand_in_list_order() {
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
        let pictures = colours.map(|c| plain(32, 18, c));
        let list: Vec<_> = pictures.iter().map(|p| (p.as_slice(), 32, 18)).collect();
        let screen = tiled(&list, 64, 36);
        let at = |x: usize, y: usize| screen[y * 64 + x];
        assert_eq!([at(10, 10), at(40, 10), at(10, 30)], colours);
        assert_eq!(at(40, 30), [0; 3], "the fourth cell is empty");
    }

    #[test]
    fn another_aspect_ratio_is_framed_in_black() {
        let picture = plain(40, 40, [9, 9, 9]);
        let screen = tiled(&[(&picture, 40, 40)], 64, 32);
        let row = &screen[16 * 64..17 * 64];
        assert!(row[..16].iter().chain(&row[48..]).all(|p| *p == [0; 3]));
        assert!(row[16..48].iter().all(|p| *p == [9; 3]));
    }

    #[test]
    fn a_smaller_picture_is_the_mean_of_the_larger() {
        let checks: Vec<u8> = (0..64 * 64)
            .flat_map(|i| [if (i % 64 + i / 64) % 2 == 0 { 200 } else { 100 }; 3])
            .collect();
        assert!(
            tiled(&[(&checks, 64, 64)], 16, 16)
                .iter()
                .all(|p| *p == [150; 3])
        );
    }

    #[test]
    fn a_larger_picture_keeps_its_colours() {
        let picture = [0, 0, 0, 255, 255, 255];
        let screen = tiled(&[(&picture, 2, 1)], 8, 4);
        assert_eq!(screen[..4], [[0; 3]; 4]);
        assert_eq!(screen[4..8], [[255; 3]; 4]);
    }

    proptest! {
        #[test]
        fn any_sizes_can_be_tiled(
            sizes in prop::collection::vec((1_u32..40, 1_u32..40), 0..12),
            width in 1_u32..50, height in 1_u32..50,
        ) {
            let pictures: Vec<_> = sizes.iter().map(|(w, h)| plain(*w, *h, [200; 3])).collect();
            let list: Vec<_> = pictures
                .iter()
                .zip(&sizes)
                .map(|(p, (w, h))| (p.as_slice(), *w, *h))
                .collect();
            prop_assert!(tiled(&list, width, height).iter().all(|p| *p == [0; 3] || *p == [200; 3]));
        }
    }
}
