//! Which addresses a user-given URL may reach.
//!
//! The judgement is of the address that is about to be connected to, never of a name: whatever DNS says at that moment is
//! what is judged. Public addresses are free. Private ones need an entry of the administrator's list; loopback needs an
//! entry that names loopback itself; metadata services, link-local and addresses that are no host's are never reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The networks that an administrator named (`--outbound-allow`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Private and loopback networks that may be reached.
    pub allow: Vec<IpNet>,
}

/// Networks or single addresses, separated by commas.
impl FromStr for Lists {
    type Err = String;
    fn from_str(text: &str) -> Result<Lists, String> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        Ok(Lists {
            allow: entries.map(read_entry).collect::<Result<_, _>>()?,
        })
    }
}

fn read_entry(entry: &str) -> Result<IpNet, String> {
    let net: Option<IpNet> = entry.parse().ok();
    let net = net.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| net.trunc()).ok_or_else(|| {
        format!(
            "{entry:?} is neither a network such as 10.0.0.0/8 nor an address such as 127.0.0.1"
        )
    })
}

impl Lists {
    /// Whether an entry holds the address.
    fn names(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&address))
    }

    /// Whether an entry that is itself within loopback holds the address: `0.0.0.0/0` does not mean loopback.
    fn names_loopback(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|net| net.contains(&address) && is_loopback_net(net))
    }

    /// The entries that open loopback, to warn of at start.
    pub fn loopback_entries(&self) -> impl Iterator<Item = &IpNet> {
        self.allow.iter().filter(|net| is_loopback_net(net))
    }
}

fn is_loopback_net(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() >= 8 && net.network().is_loopback(),
        IpNet::V6(net) => net.prefix_len() == 128 && net.network().is_loopback(),
    }
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Of the internet at large.
    Public,
    /// Of somebody's own network: RFC 1918, unique local, and the carrier range 100.64.0.0/10 that VPNs use.
    Private,
    /// This machine.
    Loopback,
    /// A cloud's metadata service: credentials for the asking.
    Metadata,
    /// Of one link.
    LinkLocal,
    /// "This host", "this network".
    Unspecified,
    /// Many hosts at once.
    Multicast,
    /// Every host of a network.
    Broadcast,
    /// For examples in books.
    Documentation,
    /// For measuring equipment.
    Benchmarking,
    /// Anything else that is no host's address, or hides another one in a way that cannot be told.
    Reserved,
}

impl Class {
    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Class::Public => "a public address",
            Class::Private => "a private address",
            Class::Loopback => "a loopback address",
            Class::Metadata => "a cloud's metadata service",
            Class::LinkLocal => "a link-local address",
            Class::Unspecified => "an unspecified address",
            Class::Multicast => "a multicast address",
            Class::Broadcast => "a broadcast address",
            Class::Documentation => "an address for documentation",
            Class::Benchmarking => "an address for benchmarks",
            Class::Reserved => "a reserved address",
        }
    }
}

/// An address that is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The address as it was resolved or written.
    pub address: IpAddr,
    /// What it is.
    pub class: Class,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, ", self.address, self.class.words())?;
        match self.class {
            Class::Private => f.write_str("which needs an entry in --outbound-allow"),
            Class::Loopback => {
                f.write_str("which --outbound-allow must name itself, as 127.0.0.1 or ::1")
            }
            _ => f.write_str("which is never connected to"),
        }
    }
}

/// Whether `address` may be connected to.
///
/// An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as the IPv4 address, by the lists' IPv4 entries.
///
/// # Errors
/// [`Refusal`] with the class of the address.
pub fn judge_address(address: IpAddr, lists: &Lists) -> Result<(), Refusal> {
    let judged = match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    };
    let class = match judged {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    };
    let allowed = match class {
        Class::Public => true,
        Class::Private => lists.names(judged),
        Class::Loopback => lists.names_loopback(judged),
        _ => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Refusal { address, class })
    }
}

/// Metadata services that live outside link-local addresses: Alibaba, Azure's host, Oracle.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same on IPv6, with how many leading bits are theirs: AWS (a range of its services), Google, Oracle, Scaleway.
const METADATA_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
];

/// The registry of special IPv4 addresses, row by row.
fn class_of_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Metadata;
    }
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18 | 19, ..] => Class::Benchmarking,
        [192, 0, 0, _] | [192, 88, 99, _] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

/// The registry of special IPv6 addresses. Public is only what is handed out for it, `2000::/3`, less its special parts.
fn class_of_v6(address: Ipv6Addr) -> Class {
    let bits = address.to_bits();
    let within = |(net, length): &(Ipv6Addr, u32)| (bits ^ net.to_bits()) >> (128 - length) == 0;
    if METADATA_V6.iter().any(within) {
        return Class::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [0xfc00..=0xfdff, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Documentation,
        [0x2001, 2, 0, ..] => Class::Benchmarking,
        // `2001::/23` is for protocols: Teredo hides an IPv4 address, ORCHIDs are no addresses.
        [0x2001, 0..=0x1ff, ..] => Class::Reserved,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

/// The IPv4 address that packets to this IPv6 address end at.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(text: &str) -> Lists {
        text.parse().unwrap()
    }

    fn judged(address: &str, lists: &Lists) -> Result<(), Class> {
        judge_address(address.parse().unwrap(), lists).map_err(|refusal| refusal.class)
    }

    /// Each address with what it is judged as where no list names anything.
    const TABLE: &[(&str, Class)] = &[
        ("1.1.1.1", Class::Public),
        ("8.8.8.8", Class::Public),
        ("9.255.255.255", Class::Public),
        ("11.0.0.0", Class::Public),
        ("100.63.255.255", Class::Public),
        ("100.128.0.0", Class::Public),
        ("126.255.255.255", Class::Public),
        ("128.0.0.0", Class::Public),
        ("169.253.255.255", Class::Public),
        ("169.255.0.0", Class::Public),
        ("172.15.255.255", Class::Public),
        ("172.32.0.0", Class::Public),
        ("192.0.1.0", Class::Public),
        ("192.0.3.0", Class::Public),
        ("192.167.255.255", Class::Public),
        ("192.169.0.0", Class::Public),
        ("198.17.255.255", Class::Public),
        ("198.20.0.0", Class::Public),
        ("223.255.255.255", Class::Public),
        ("2606:4700:4700::1111", Class::Public),
        ("2001:200::1", Class::Public),
        ("2001:4860:4860::8888", Class::Public),
        ("2a00::1", Class::Public),
        ("3ffe:ffff::1", Class::Public),
        ("3fff:1000::1", Class::Public),
        ("::ffff:8.8.8.8", Class::Public),
        ("2002:808:808::1", Class::Public),
        ("64:ff9b::808:808", Class::Public),
        ("10.0.0.0", Class::Private),
        ("10.255.255.255", Class::Private),
        ("172.16.0.0", Class::Private),
        ("172.31.255.255", Class::Private),
        ("192.168.0.0", Class::Private),
        ("192.168.255.255", Class::Private),
        ("100.64.0.0", Class::Private),
        ("100.127.255.255", Class::Private),
        ("fc00::1", Class::Private),
        ("fdff:ffff::1", Class::Private),
        ("::ffff:10.0.0.1", Class::Private),
        ("2002:a00:1::", Class::Private),
        ("64:ff9b::c0a8:1", Class::Private),
        ("127.0.0.1", Class::Loopback),
        ("127.255.255.254", Class::Loopback),
        ("::1", Class::Loopback),
        ("::ffff:127.0.0.1", Class::Loopback),
        ("2002:7f00:1::", Class::Loopback),
        ("64:ff9b::7f00:1", Class::Loopback),
        ("169.254.169.254", Class::Metadata),
        ("100.100.100.200", Class::Metadata),
        ("168.63.129.16", Class::Metadata),
        ("192.0.0.192", Class::Metadata),
        ("fd00:ec2::254", Class::Metadata),
        ("fd00:ec2::23", Class::Metadata),
        ("fd20:ce::254", Class::Metadata),
        ("fd00:c1::a9fe:a9fe", Class::Metadata),
        ("fd00:42::42", Class::Metadata),
        ("::ffff:169.254.169.254", Class::Metadata),
        ("2002:a9fe:a9fe::", Class::Metadata),
        ("64:ff9b::a9fe:a9fe", Class::Metadata),
        ("169.254.0.1", Class::LinkLocal),
        ("169.254.170.2", Class::LinkLocal),
        ("fe80::1", Class::LinkLocal),
        ("fe80::a9fe:a9fe", Class::LinkLocal),
        ("febf::1", Class::LinkLocal),
        ("0.0.0.0", Class::Unspecified),
        ("0.1.2.3", Class::Unspecified),
        ("::", Class::Unspecified),
        ("::ffff:0.0.0.0", Class::Unspecified),
        ("224.0.0.1", Class::Multicast),
        ("239.255.255.255", Class::Multicast),
        ("ff02::1", Class::Multicast),
        ("255.255.255.255", Class::Broadcast),
        ("192.0.2.1", Class::Documentation),
        ("198.51.100.1", Class::Documentation),
        ("203.0.113.1", Class::Documentation),
        ("2001:db8::1", Class::Documentation),
        ("3fff::1", Class::Documentation),
        ("3fff:fff::1", Class::Documentation),
        ("198.18.0.1", Class::Benchmarking),
        ("198.19.255.255", Class::Benchmarking),
        ("2001:2::1", Class::Benchmarking),
        ("192.0.0.1", Class::Reserved),
        ("192.88.99.1", Class::Reserved),
        ("240.0.0.1", Class::Reserved),
        ("255.255.255.254", Class::Reserved),
        ("::2", Class::Reserved),
        ("::7f00:1", Class::Reserved),
        ("64:ff9b:1::7f00:1", Class::Reserved),
        ("100::1", Class::Reserved),
        ("2001::1", Class::Reserved),
        ("2001:20::1", Class::Reserved),
        ("2001:1ff::1", Class::Reserved),
        ("4000::1", Class::Reserved),
        ("5f00::1", Class::Reserved),
        ("fec0::1", Class::Reserved),
        ("::ffff:0:7f00:1", Class::Reserved),
    ];

    #[test]
    fn without_a_list_only_public_addresses_are_reached() {
        for (address, class) in TABLE {
            let expected = if *class == Class::Public {
                Ok(())
            } else {
                Err(*class)
            };
            assert_eq!(judged(address, &Lists::default()), expected, "{address}");
        }
    }

    #[test]
    fn a_list_of_everything_opens_private_ranges_and_nothing_worse() {
        let all = lists("0.0.0.0/0, ::/0");
        for (address, class) in TABLE {
            let open = matches!(class, Class::Public | Class::Private);
            assert_eq!(
                judged(address, &all),
                if open { Ok(()) } else { Err(*class) },
                "{address}"
            );
        }
    }

    #[test]
    fn a_list_opens_what_it_names() {
        for (list, address, expected) in [
            ("10.1.0.0/16", "10.1.2.3", Ok(())),
            ("10.1.0.0/16", "10.2.2.3", Err(Class::Private)),
            ("10.1.2.3", "10.1.2.3", Ok(())),
            ("10.1.2.3/16", "10.1.9.9", Ok(())),
            ("10.1.0.0/16", "::ffff:10.1.2.3", Ok(())),
            ("10.1.0.0/16", "64:ff9b::a01:203", Ok(())),
            ("100.64.0.0/10", "100.101.1.2", Ok(())),
            ("100.64.0.0/10", "100.100.100.200", Err(Class::Metadata)),
            ("fd00::/8", "fd12::1", Ok(())),
            ("fd00::/8", "fd00:ec2::254", Err(Class::Metadata)),
            ("127.0.0.1", "127.0.0.1", Ok(())),
            ("127.0.0.1", "127.0.0.2", Err(Class::Loopback)),
            ("127.0.0.0/8", "127.0.0.2", Ok(())),
            ("127.0.0.0/8", "::ffff:127.0.0.1", Ok(())),
            ("127.0.0.0/8", "::1", Err(Class::Loopback)),
            ("::1", "::1", Ok(())),
            ("::1", "127.0.0.1", Err(Class::Loopback)),
            ("126.0.0.0/7", "127.0.0.1", Err(Class::Loopback)),
            ("::/64", "::1", Err(Class::Loopback)),
            ("169.254.0.0/16", "169.254.169.254", Err(Class::Metadata)),
            ("169.254.0.0/16", "169.254.1.1", Err(Class::LinkLocal)),
            ("fe80::/10", "fe80::1", Err(Class::LinkLocal)),
            ("0.0.0.0", "0.0.0.0", Err(Class::Unspecified)),
        ] {
            assert_eq!(
                judged(address, &lists(list)),
                expected,
                "{address} by {list}"
            );
        }
    }

    #[test]
    fn a_list_is_read_or_refused_with_the_entry() {
        assert_eq!(lists(""), Lists::default());
        assert_eq!(lists(" 10.0.0.0/8 , ::1,").allow.len(), 2);
        for wrong in ["10.0.0.0/33", "localhost", "10.0.0", "10.0.0.0/8;::1"] {
            let error = wrong.parse::<Lists>().unwrap_err();
            assert!(
                error.contains(wrong) && error.contains("10.0.0.0/8"),
                "{error}"
            );
        }
        let all = lists("127.0.0.1,10.0.0.0/8,::1,0.0.0.0/0");
        assert_eq!(all.loopback_entries().count(), 2);
    }

    #[test]
    fn a_refusal_says_what_would_help() {
        for (address, expected) in [
            (
                "10.0.0.1",
                "10.0.0.1 is a private address, which needs an entry in --outbound-allow",
            ),
            (
                "::1",
                "::1 is a loopback address, which --outbound-allow must name itself, as 127.0.0.1 or ::1",
            ),
            (
                "169.254.169.254",
                "169.254.169.254 is a cloud's metadata service, which is never connected to",
            ),
        ] {
            let refusal = judge_address(address.parse().unwrap(), &Lists::default()).unwrap_err();
            assert_eq!(refusal.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_standard_librarys_opinion_is_never_more_cautious(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast()
                || address.is_unspecified();
            if special {
                prop_assert!(judge_address(address.into(), &Lists::default()).is_err());
            }
        }

        #[test]
        fn every_way_to_write_an_ipv4_address_is_judged_alike(bits in any::<u32>(), open in any::<bool>()) {
            let lists = if open { lists("0.0.0.0/0,127.0.0.0/8") } else { Lists::default() };
            let v4 = Ipv4Addr::from_bits(bits);
            let class = |address: IpAddr| judge_address(address, &lists).map_err(|r| r.class);
            let expected = class(v4.into());
            let nat64 = Ipv6Addr::from_bits((0x64_ff9b_u128 << 96) | u128::from(bits));
            let sixtofour = Ipv6Addr::from_bits((0x2002_u128 << 112) | (u128::from(bits) << 80) | 7);
            prop_assert_eq!(class(v4.to_ipv6_mapped().into()), expected);
            prop_assert_eq!(class(nat64.into()), expected);
            prop_assert_eq!(class(sixtofour.into()), expected);
        }
    }
}
