//! Randomness of the server, from the one cryptographic library.

use std::io;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

/// Random bytes.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the random number generator gives nothing"))?;
    Ok(bytes)
}

/// `2 * N` hexadecimal digits.
pub fn hex<const N: usize>() -> io::Result<String> {
    Ok(HEXLOWER.encode(&bytes::<N>()?))
}

/// Upper-case base32, at least `8 * N / 5` characters.
pub fn base32<const N: usize>() -> io::Result<String> {
    Ok(BASE32_NOPAD.encode(&bytes::<N>()?))
}
