//! New inputs from known ones.

use crate::tree;

/// Makes inputs, the same ones for the same seed.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// From any seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next input: one of the corpus, changed in one to eight places as bytes, or in one to
    /// four as a tree where it is JSON, or both.
    pub fn next(&mut self, corpus: &[Vec<u8>], words: &[&str], longest: usize) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        if self.below(2) == 0 {
            let other = &corpus[self.below(corpus.len())];
            if let Some(changed) = tree::change(self, &input, other, words) {
                input = changed;
                if self.below(4) > 0 {
                    input.truncate(longest);
                    return input;
                }
            }
        }
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus, words);
        }
        input.truncate(longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(32)).min(input.len());
        match self.below(10) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.draw() as u8;
                }
            }
            2 => drop(input.drain(at..end.max(at))),
            3 => {
                let copy = input[at..end.max(at)].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 if !words.is_empty() => {
                let word = words[self.below(words.len())];
                input.splice(at..at, word.bytes());
            }
            5 if !words.is_empty() => {
                let word = words[self.below(words.len())];
                input.splice(at..end.max(at), word.bytes());
            }
            6 => {
                // The head of one, the tail of another.
                let other = &corpus[self.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[self.below(other.len() + 1)..]);
            }
            7 => {
                // Lengths and counts of binary formats.
                let width = [1, 2, 4, 8][self.below(4)];
                let fill = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                for byte in input.iter_mut().skip(at).take(width) {
                    *byte = fill;
                }
            }
            8 => {
                let number = [0, 1, -1, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN];
                let number = number[self.below(number.len())].to_string();
                input.splice(at..end.max(at), number.into_bytes());
            }
            _ => {
                // Deep nesting, long runs.
                let byte = b"[{\"(0 a\xff"[self.below(8)];
                let run = vec![byte; self.below(4096)];
                input.splice(at..at, run);
            }
        }
    }

    /// A number below a bound, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    /// xorshift64*.
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_again_and_another_makes_others() {
        let corpus = [b"{\"a\": [1, 2]}".to_vec()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100)
                .map(|_| mutator.next(&corpus, &["x"], 100))
                .collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= 100));
    }
}
