//! Addresses that channels may reach: the administrator's list and an address, a line for each.

use std::net::IpAddr;

use systole_server::outbound::guard::{Class, Lists, judge_address};

use super::{is_said, texts};

pub fn run(input: &[u8]) {
    let Some([list, address]) = texts(input) else {
        return;
    };
    let lists = match list.parse::<Lists>() {
        Ok(lists) => lists,
        Err(why) => {
            is_said(&why, 3_000);
            Lists::default()
        }
    };
    assert!(lists.allow.iter().all(|net| net.trunc() == *net));
    let Ok(address) = address.trim().parse::<IpAddr>() else {
        return;
    };
    let judged = judge_address(address, &lists);
    // An address in IPv6's form of an IPv4 address is that address.
    if let IpAddr::V4(v4) = address {
        let class = judged.map_err(|refusal| refusal.class);
        let [a, b, c, d] = v4.octets();
        let relays = [
            v4.to_ipv6_mapped(),
            format!("64:ff9b::{a:02x}{b:02x}:{c:02x}{d:02x}")
                .parse()
                .unwrap(),
            format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1")
                .parse()
                .unwrap(),
        ];
        for relay in relays {
            let relayed = judge_address(relay.into(), &lists).map_err(|refusal| refusal.class);
            assert_eq!(relayed, class, "{relay} hides {v4}");
        }
    }
    match judged {
        Err(refusal) => {
            is_said(&refusal.to_string(), 300);
            assert_ne!(refusal.class, Class::Public);
            assert!(
                judge_address(address, &Lists::default()).is_err(),
                "a list closes nothing"
            );
        }
        Ok(()) => {
            let address = address.to_canonical();
            assert!(!address.is_unspecified() && !address.is_multicast());
            assert!(
                !address.is_loopback() || lists.loopback_entries().count() > 0,
                "loopback was not named"
            );
            let is_link_local = match address {
                IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.is_documentation(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            assert!(!is_link_local, "{address} may be a metadata service");
        }
    }
}
