//! Keys of which the hostile nodes choose theirs: for each of the nearest buckets of the real node's table, which honest
//! nodes leave empty, the numbers of 24 keys that fall into it (attack E2).
//!
//! An attacker computes a few million keys for this in a minute. Here that is done once, for the same real node in all runs:
//! `cargo test -p peerless-sim --release ground -- --ignored --nocapture` prints the table.

use peerless::crypto::{SecretKey, keccak256};

/// The number of the real node's key.
pub(super) const REAL: u32 = 0;

/// Keys by bucket, the nearest first: those at logarithmic distances up to 240, then at 241 to 249.
const NUMBERS: [[u32; 24]; 10] = [
    [
        195086, 284762, 340045, 355805, 393919, 409565, 558217, 627677, 725533, 760758, 761734, 969400, 982631,
        1095579, 1137268, 1227835, 1246772, 1310355, 1359150, 1569027, 1578962, 1646716, 1647379, 1650543,
    ],
    [
        49853, 257742, 330514, 517351, 579629, 603354, 612809, 645771, 654683, 716980, 826269, 837717, 931359, 936508,
        953255, 964240, 1048095, 1050814, 1228843, 1252230, 1477220, 1528970, 1701055, 1725899,
    ],
    [
        38046, 80509, 166558, 247172, 442245, 476382, 494090, 495051, 539815, 619815, 636400, 699961, 741211, 745680,
        762452, 769547, 874647, 875189, 879931, 880960, 885445, 1014847, 1017285, 1065920,
    ],
    [
        10291, 16113, 25928, 30672, 52047, 54856, 83255, 106334, 132236, 143567, 159108, 178061, 227732, 251373,
        258561, 258968, 261170, 274230, 278679, 290559, 293433, 298222, 362548, 388434,
    ],
    [
        4785, 5413, 6571, 6682, 14076, 15057, 41283, 54474, 60541, 76360, 76820, 81737, 82867, 98768, 103557, 110982,
        113063, 131022, 136673, 138241, 148220, 158275, 172183, 182048,
    ],
    [
        6877, 7711, 8618, 10541, 10559, 16787, 17171, 30418, 35731, 36049, 41015, 45156, 50647, 51354, 51670, 54114,
        55919, 78785, 88480, 96871, 98005, 99596, 102376, 115418,
    ],
    [
        502, 3228, 6769, 8235, 10354, 11395, 13873, 18560, 18733, 18848, 25807, 26817, 28148, 28802, 31756, 33213,
        33778, 36432, 37617, 41791, 45013, 48652, 50427, 53092,
    ],
    [
        731, 2235, 2619, 3453, 4314, 4758, 7196, 7297, 9286, 9304, 11285, 11349, 11909, 11928, 12089, 12221, 13242,
        14828, 16371, 16634, 19071, 19167, 20347, 20495,
    ],
    [
        153, 244, 299, 1317, 1921, 2002, 2921, 4133, 4134, 4215, 4648, 4857, 4926, 5109, 5267, 5495, 5717, 5757, 6668,
        7165, 8226, 8966, 9036, 9129,
    ],
    [
        104, 570, 812, 1058, 1136, 1184, 1230, 1591, 1845, 1995, 2074, 2117, 2987, 3781, 4339, 4412, 5546, 5646, 5686,
        6061, 6168, 6253, 6284, 6292,
    ],
];

/// The key of a number.
pub(super) fn secret(number: u32) -> SecretKey {
    let mut bytes = keccak256(&[&b"peerless-sim eclipse"[..], &number.to_be_bytes()].concat());
    // Makes the number non-zero and less than the group's order.
    bytes[0] = 1;
    SecretKey::from_bytes(bytes).expect("in range")
}

/// The chosen keys: one of each bucket, then a second one of each, and so on.
pub(super) fn chosen() -> impl Iterator<Item = SecretKey> {
    (0..NUMBERS[0].len()).flat_map(|round| NUMBERS.iter().map(move |bucket| secret(bucket[round])))
}

#[cfg(test)]
mod tests {
    use peerless::crypto::{Crypto, NodeId, Secp256k1};

    use super::*;

    fn id(crypto: &Secp256k1, number: u32) -> NodeId {
        crypto.public_key(&secret(number)).node_id()
    }

    fn bucket(real: &NodeId, id: &NodeId) -> usize {
        usize::from(real.log_distance(id).max(240)) - 240
    }

    #[test]
    fn each_key_falls_into_its_bucket() {
        let crypto = Secp256k1::new();
        let real = id(&crypto, REAL);
        for (place, numbers) in NUMBERS.iter().enumerate() {
            assert!(numbers.iter().all(|number| bucket(&real, &id(&crypto, *number)) == place), "bucket {place}");
        }
        assert_eq!(chosen().count(), 240);
    }

    #[test]
    #[ignore = "a long run"]
    fn the_first_keys_of_each_bucket() {
        let crypto = Secp256k1::new();
        let real = id(&crypto, REAL);
        let mut found = vec![Vec::new(); NUMBERS.len()];
        for number in 1.. {
            if let Some(numbers) = found.get_mut(bucket(&real, &id(&crypto, number)))
                && numbers.len() < NUMBERS[0].len()
            {
                numbers.push(number);
                if found.iter().all(|numbers| numbers.len() == NUMBERS[0].len()) {
                    break;
                }
            }
        }
        found.iter().for_each(|numbers| println!("{numbers:?},"));
        assert!(found.iter().zip(NUMBERS).all(|(found, known)| *found == known));
    }
}
