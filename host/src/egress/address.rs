//! Which addresses are of the public internet. Everything else is denied unless a rule names it literally.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address of the public internet.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4_is_global(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => v4_is_global(v4),
            None => v6_is_global(v6),
        },
    }
}

/// IANA's special-purpose registry for IPv4 (RFC 6890 and later), and what clouds use for metadata.
fn v4_is_global(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 168 && b == 63 && c == 129 && d == 16)
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113);
    !special
}

/// IPv6: only 2000::/3 is global, less its special parts (RFC 4291, RFC 6890).
fn v6_is_global(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let unicast = s[0] & 0xe000 == 0x2000;
    let protocol_assignments = s[0] == 0x2001 && s[1] < 0x200;
    let documentation = (s[0] == 0x2001 && s[1] == 0xdb8) || (s[0] == 0x3fff && s[1] < 0x1000);
    unicast && !protocol_assignments && !documentation
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 (both prefixes), 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(v4(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::UNSPECIFIED),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// What an address is that is not of the public internet, for whoever may want to grant it; none where it is of that.
pub fn local_words(address: IpAddr) -> Option<&'static str> {
    if is_global(address) {
        return None;
    }
    let words = match address {
        IpAddr::V4(v4) => v4_words(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => v4_words(v4),
            None => v6_words(v6),
        },
    };
    Some(words)
}

const THIS_MACHINE: &str = "it is an address of this machine itself";
const PRIVATE: &str = "it is a private address";
const LINK_LOCAL: &str = "it is a link-local address, as clouds have for a machine's metadata and keys";
const OTHER: &str = "it is no public address";

fn v4_words(address: Ipv4Addr) -> &'static str {
    if address.is_loopback() || address.is_unspecified() {
        THIS_MACHINE
    } else if address.is_private() {
        PRIVATE
    } else if address.is_link_local() {
        LINK_LOCAL
    } else {
        OTHER
    }
}

fn v6_words(address: Ipv6Addr) -> &'static str {
    let first = address.segments()[0];
    if address.is_loopback() || address.is_unspecified() {
        THIS_MACHINE
    } else if first & 0xfe00 == 0xfc00 {
        PRIVATE
    } else if first & 0xffc0 == 0xfe80 {
        LINK_LOCAL
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_grant_an_address_is_told_what_it_is() {
        for (text, words) in [
            ("127.0.0.1", Some(THIS_MACHINE)),
            ("0.0.0.0", Some(THIS_MACHINE)),
            ("::1", Some(THIS_MACHINE)),
            ("::", Some(THIS_MACHINE)),
            ("::ffff:127.0.0.1", Some(THIS_MACHINE)),
            ("10.1.2.3", Some(PRIVATE)),
            ("192.168.1.1", Some(PRIVATE)),
            ("fd00::1", Some(PRIVATE)),
            ("169.254.169.254", Some(LINK_LOCAL)),
            ("::ffff:a9fe:a9fe", Some(LINK_LOCAL)),
            ("fe80::1", Some(LINK_LOCAL)),
            ("100.64.0.1", Some(OTHER)),
            ("ff02::1", Some(OTHER)),
            ("8.8.8.8", None),
            ("2606:4700::1111", None),
        ] {
            assert_eq!(local_words(text.parse().expect(text)), words, "{text}");
        }
    }

    #[test]
    fn local_addresses_are_not_global_in_any_spelling() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "168.63.129.16",
            "::ffff:a83f:8110",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:0:7f00:1",
        ] {
            assert!(!is_global(text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_global() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "168.63.129.15",
            "168.63.129.17",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_global(text.parse().expect(text)), "{text}");
        }
    }
}
