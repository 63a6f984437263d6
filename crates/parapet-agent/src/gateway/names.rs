//! Answers to an application's questions for names: a pure function from a packet to a packet.
//!
//! Nothing that is asked here ever leaves the appliance. A name that may be called has an address
//! that stands for it; any other does not exist, and whatever else can be asked (a text record, a
//! long name, a zone) is not there. The wire format is read by `simple-dns`.

use std::net::Ipv4Addr;

use parapet_device::confinement::host_name;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

/// A question is short; what is longer is none.
pub(super) const LONGEST: usize = 512;
/// Programs keep an answer about so long; the address stays valid far longer.
const TTL: u32 = 30;
/// Bytes of a packet before its first question.
const HEAD: usize = 12;

/// What is asked of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Its IPv4 address.
    Address,
    /// Its IPv6 address. It has none, and its IPv4 address is asked for beside it.
    SecondAddress,
    /// Something else. There is none.
    Other,
}

/// The answer to a packet; `None` for what is no question and gets none. `address` tells the
/// address that stands for a name, if the name may be called.
pub(super) fn answer(
    bytes: &[u8],
    address: impl FnOnce(&str, Question) -> Option<Ipv4Addr>,
) -> Option<Vec<u8>> {
    // One question, no records but the options of the client: anything else costs nothing here.
    let (head, _) = bytes.split_first_chunk::<HEAD>()?;
    let counts = [4, 6, 8, 10].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
    if bytes.len() > LONGEST || !matches!(counts, [1, 0, 0, 0 | 1]) {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let code = if packet.opcode() == OPCODE::StandardQuery {
        let question = packet.questions.first()?;
        let kind = match question.qtype {
            QTYPE::TYPE(TYPE::A) | QTYPE::ANY => Question::Address,
            QTYPE::TYPE(TYPE::AAAA) => Question::SecondAddress,
            _ => Question::Other,
        };
        let name = Some(&question.qname)
            .filter(|_| question.qclass == QCLASS::CLASS(CLASS::IN))
            .and_then(|name| host_name(&name.to_string()));
        match name.and_then(|name| address(&name, kind)) {
            Some(address) if kind == Question::Address => {
                let data = RData::A(A::from(address));
                let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data);
                reply.answers.push(record);
                RCODE::NoError
            }
            Some(_) => RCODE::NoError,
            None => RCODE::NameError,
        }
    } else {
        RCODE::NotImplemented
    };
    *reply.rcode_mut() = code;
    reply.questions = packet.questions;
    reply.build_bytes_vec_compressed().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::Name;

    use super::*;

    const STANDS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

    fn question(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(simple_dns::Question::new(
            Name::new_unchecked(name),
            kind.into(),
            CLASS::IN.into(),
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    /// Code and addresses of the answer, and the names that were looked for.
    fn asked(bytes: &[u8]) -> (RCODE, Vec<Ipv4Addr>, Vec<String>) {
        let mut names = Vec::new();
        let reply = answer(bytes, |name, _| {
            names.push(name.to_owned());
            (name == "api.example.com").then_some(STANDS)
        })
        .unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!((reply.id(), reply.questions.len()), (77, 1));
        assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        let addresses = reply.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from_bits(a.address),
            other => panic!("{other:?}"),
        });
        (reply.rcode(), addresses.collect(), names)
    }

    #[test]
    fn a_name_that_may_be_called_has_an_address_and_nothing_else() {
        let name = vec!["api.example.com".to_owned()];
        let found = (RCODE::NoError, vec![STANDS], name.clone());
        assert_eq!(asked(&question("API.example.com", TYPE::A)), found);
        for kind in [TYPE::AAAA, TYPE::TXT, TYPE::MX, TYPE::Unknown(65), TYPE::NS] {
            let nothing = (RCODE::NoError, Vec::new(), name.clone());
            assert_eq!(
                asked(&question("api.example.com", kind)),
                nothing,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn any_other_name_does_not_exist() {
        for name in ["example.com", "c2VjcmV0.tunnel.test", "localhost"] {
            for kind in [TYPE::A, TYPE::AAAA, TYPE::TXT, TYPE::NULL, TYPE::PTR] {
                let (code, addresses, _) = asked(&question(name, kind));
                assert_eq!((code, addresses), (RCODE::NameError, Vec::new()), "{name}");
            }
        }
        // No name of a host: not even looked for.
        for name in ["api.exam ple.com", "a\u{e4}.test", ""] {
            let (code, _, names) = asked(&question(name, TYPE::A));
            assert_eq!((code, names), (RCODE::NameError, Vec::new()), "{name}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let none = |bytes: &[u8]| answer(bytes, |_, _| Some(STANDS)).is_none();
        assert!(none(&[]));
        assert!(none(&[0; HEAD]));
        let good = question("api.example.com", TYPE::A);
        assert!(none(&good[..good.len() - 1]));
        let mut reply = good.clone();
        reply[2] |= 0x80;
        assert!(none(&reply), "an answer");
        let mut long = good.clone();
        long.resize(LONGEST + 1, 0);
        assert!(none(&long), "too long");
        let mut many = good.clone();
        many[4..6].copy_from_slice(&u16::MAX.to_be_bytes());
        assert!(none(&many), "65,535 questions");
        let mut update = good;
        update[2] |= 5 << 3;
        let reply = answer(&update, |_, _| panic!("looked for")).unwrap();
        assert_eq!(
            Packet::parse(&reply).unwrap().rcode(),
            RCODE::NotImplemented
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_within_bounds_or_not_at_all(
            head in prop::array::uniform4(any::<u8>()),
            rest in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let bytes = [&head[..], &[0, 1, 0, 0, 0, 0, 0, rest.len() as u8 & 1], &rest].concat();
            let reply = answer(&bytes, |name, _| {
                assert_eq!(host_name(name).as_deref(), Some(name));
                Some(STANDS)
            });
            prop_assert!(reply.is_none_or(|reply| reply.len() <= 600));
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;

    /// An answer is one to the question, of bounded length; only names of hosts are looked for.
    #[test]
    fn names_breaks_no_promise() {
        parapet_fuzz::feed(&parapet_fuzz::Target {
            name: "names",
            words: &["\u{3}api\u{7}example\u{3}com\0", "\0\u{1}\0\u{1}"],
            run: &|bytes| {
                let reply = answer(bytes, |name, _| {
                    assert_eq!(host_name(name).as_deref(), Some(name));
                    Some(Ipv4Addr::new(198, 18, 0, 7))
                });
                if let Some(reply) = &reply {
                    assert!(reply.len() <= LONGEST + 100);
                    assert_eq!(reply[..2], bytes[..2], "the number of the question");
                    assert!(reply[2] & 0x80 != 0, "an answer");
                }
                reply.is_some()
            },
        });
    }
}
