//! RTP packets of H.264 (RFC 6184) and the sender reports (RFC 3550) that give them wall time.
//!
//! Pure: times and numbers come in, bytes go out, each packet in the frame of RTSP's interleaved
//! transport (RFC 2326 section 10.12).

use bytes::{BufMut as _, BytesMut};

use crate::units::AccessUnit;

/// Ticks a second of every video clock in RTP.
const CLOCK_HZ: u128 = 90_000;
/// Dynamic payload type that the session description names.
pub(crate) const PAYLOAD_TYPE: u8 = 96;
/// Type of a fragment of a NAL unit (RFC 6184 table 1).
const TYPE_FU_A: u8 = 0x1c;
/// Bytes of a packet after the RTP header: what fits into an Ethernet frame even in a tunnel.
const LARGEST_PAYLOAD: usize = 1400;
/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// The RTP time of a wall time, microseconds since the epoch: a pure function, so that sessions,
/// clients and restarts agree.
pub(crate) fn time_of(wall_us: u64) -> u32 {
    let ticks = (u128::from(wall_us) * CLOCK_HZ + 500_000) / 1_000_000;
    (ticks % (1 << 32)) as u32
}

/// The state of one outgoing stream.
#[derive(Debug)]
pub(crate) struct Sender {
    source: u32,
    channel: u8,
    sequence: u16,
    packets: u32,
    octets: u32,
}

impl Sender {
    /// A stream with a source number and a first sequence number of its own; `channel` and the
    /// next one are the session's interleaved channels.
    pub(crate) fn new(source: u32, sequence: u16, channel: u8) -> Self {
        Self {
            source,
            channel,
            sequence,
            packets: 0,
            octets: 0,
        }
    }

    /// The number of the next packet.
    pub(crate) fn sequence(&self) -> u16 {
        self.sequence
    }

    /// Appends the packets of one picture; the last one is marked.
    pub(crate) fn put_unit(&mut self, unit: &AccessUnit, time: u32, out: &mut BytesMut) {
        let count = unit.nals.len();
        for (at, nal) in unit.nals.iter().enumerate() {
            let last = at + 1 == count;
            if nal.len() <= LARGEST_PAYLOAD {
                self.put_packet(&[], nal, time, last, out);
            } else {
                self.put_fragments(nal, time, last, out);
            }
        }
    }

    /// FU-A, RFC 6184 section 5.8.
    fn put_fragments(&mut self, nal: &[u8], time: u32, last: bool, out: &mut BytesMut) {
        let (indicator, kind) = (nal[0] & 0xe0 | TYPE_FU_A, nal[0] & 0x1f);
        let body = &nal[1..];
        let count = body.len().div_ceil(LARGEST_PAYLOAD - 2);
        for (at, part) in body.chunks(LARGEST_PAYLOAD - 2).enumerate() {
            let (first, end) = (at == 0, at + 1 == count);
            let header = kind | u8::from(first) << 7 | u8::from(end) << 6;
            self.put_packet(&[indicator, header], part, time, last && end, out);
        }
    }

    fn put_packet(&mut self, head: &[u8], body: &[u8], time: u32, mark: bool, out: &mut BytesMut) {
        let payload = head.len() + body.len();
        put_frame(self.channel, 12 + payload, out);
        out.put_u8(0x80);
        out.put_u8(u8::from(mark) << 7 | PAYLOAD_TYPE);
        out.put_u16(self.sequence);
        out.put_u32(time);
        out.put_u32(self.source);
        out.put_slice(head);
        out.put_slice(body);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }

    /// Appends a sender report that ties `wall_us` to its RTP time, with the name RFC 3550 asks for.
    pub(crate) fn put_report(&self, wall_us: u64, out: &mut BytesMut) {
        const NAME: &[u8] = b"parapet";
        // Source, item header, name and at least one zero, to a multiple of four.
        let description = (4 + 2 + NAME.len() + 1).next_multiple_of(4);
        put_frame(self.channel + 1, 28 + 4 + description, out);
        out.put_slice(&[0x80, 200]);
        out.put_u16(6);
        out.put_u32(self.source);
        out.put_u32((wall_us / 1_000_000 + NTP_OFFSET_S) as u32);
        // Rounded up, so that a receiver that rounds down gets the same microsecond back.
        out.put_u32((((wall_us % 1_000_000) << 32).div_ceil(1_000_000)) as u32);
        out.put_u32(time_of(wall_us));
        out.put_u32(self.packets);
        out.put_u32(self.octets);
        out.put_slice(&[0x81, 202]);
        out.put_u16((description / 4) as u16);
        out.put_u32(self.source);
        out.put_u8(1);
        out.put_u8(NAME.len() as u8);
        out.put_slice(NAME);
        out.put_bytes(0, description - 6 - NAME.len());
    }
}

fn put_frame(channel: u8, length: usize, out: &mut BytesMut) {
    out.reserve(4 + length);
    out.put_u8(b'$');
    out.put_u8(channel);
    // At most 12 + LARGEST_PAYLOAD.
    out.put_u16(length as u16);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Payloads with their marks, taken apart by the RFC.
    fn packets(mut out: &[u8]) -> Vec<(u16, bool, Vec<u8>)> {
        let mut found = Vec::new();
        while let [b'$', 0, high, low, rest @ ..] = out {
            let (packet, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            found.push((sequence, packet[1] & 0x80 != 0, packet[12..].to_vec()));
            out = rest;
        }
        assert!(out.is_empty(), "bytes between packets");
        found
    }

    #[test]
    fn a_large_unit_is_cut_and_fits_together_again() {
        let nal: Vec<u8> = [0x65]
            .into_iter()
            .chain((0..5000_u32).map(|i| i as u8))
            .collect();
        let unit = AccessUnit {
            nals: vec![Bytes::from_static(&[0x67, 1]), nal.clone().into()],
            is_key: true,
        };
        let mut out = BytesMut::new();
        Sender::new(1, 65_535, 0).put_unit(&unit, 9, &mut out);
        let packets = packets(&out);
        let sequences: Vec<u16> = packets.iter().map(|p| p.0).collect();
        assert_eq!(sequences, [65_535, 0, 1, 2, 3]);
        assert_eq!(
            packets.iter().map(|p| p.1).collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
        assert_eq!(packets[0].2, [0x67, 1]);
        let headers: Vec<[u8; 2]> = packets[1..].iter().map(|p| [p.2[0], p.2[1]]).collect();
        assert_eq!(
            headers,
            [[0x7c, 0x85], [0x7c, 0x05], [0x7c, 0x05], [0x7c, 0x45]]
        );
        let whole: Vec<u8> = packets[1..]
            .iter()
            .flat_map(|p| p.2[2..].to_vec())
            .collect();
        assert_eq!(whole, nal[1..]);
    }

    #[test]
    fn a_report_ties_wall_time_to_rtp_time() {
        let wall_us = 1_700_000_000_040_000;
        let mut out = BytesMut::new();
        Sender::new(7, 0, 2).put_report(wall_us, &mut out);
        assert_eq!((out[0], out[1]), (b'$', 3));
        assert_eq!(
            usize::from(u16::from_be_bytes([out[2], out[3]])),
            out.len() - 4
        );
        let word = |at: usize| u64::from(u32::from_be_bytes(out[at..at + 4].try_into().unwrap()));
        let seconds = word(12) - 2_208_988_800;
        let micros = (word(16) * 1_000_000) >> 32;
        assert_eq!(seconds * 1_000_000 + micros, wall_us);
        assert_eq!(word(20), u64::from(time_of(wall_us)));
        assert_eq!(out[33], 202);
        assert_eq!(out.len() % 4, 0);
    }

    #[test]
    fn rtp_time_counts_90_000_a_second_and_wraps() {
        let second = time_of(1_700_000_001_000_000).wrapping_sub(time_of(1_700_000_000_000_000));
        assert_eq!(second, 90_000);
        let wrap_us = (1_u64 << 32) * 1_000_000 / 90_000;
        assert!(time_of(wrap_us + 1_000) < 100);
    }
}
