//! The tokens and run ids of a run, recomputed from a seed instead of stored.

use uuid::{Builder, Uuid};

/// A small fast generator (`SplitMix64`); the same seed gives the same load on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which must not be zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The token of the seeded heartbeat `index`: a version 4 UUID.
pub fn token(seed: u64, index: u64) -> Uuid {
    uuid_of(mix(seed), index)
}

/// The run id of the request `number`.
pub fn run_id(seed: u64, number: u64) -> Uuid {
    uuid_of(!mix(seed), number)
}

fn uuid_of(stream: u64, index: u64) -> Uuid {
    let high = mix(stream ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let low = mix(high ^ index);
    Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_are_distinct_version_4_uuids() {
        let tokens: HashSet<Uuid> = (0..20_000).map(|index| token(7, index)).collect();
        assert_eq!(tokens.len(), 20_000);
        assert!(tokens.iter().all(|token| token.get_version_num() == 4));
    }

    #[test]
    fn a_seed_has_its_own_tokens_and_its_run_ids_are_none_of_them() {
        assert_eq!(token(7, 3), token(7, 3));
        assert_ne!(token(7, 3), token(8, 3));
        assert_ne!(token(7, 3), run_id(7, 3));
    }
}
