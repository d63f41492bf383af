//! Every row of `vectors/rlp.json`, nesting and length attacks, and the checker against a recursive model.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const WIDE: Bounds = Bounds::MESSAGE;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/rlp.json")).unwrap()
}

fn hex(row: &Value) -> Vec<u8> {
    const_hex::decode(row["hex"].as_str().unwrap()).unwrap()
}

/// The value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tree {
    String(Vec<u8>),
    List(Vec<Tree>),
}

impl Tree {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Number(number) => Self::String(big_endian(&std::format!("{number}"))),
            Value::String(text) if text.starts_with('#') => Self::String(big_endian(&text[1..])),
            Value::String(text) => Self::String(text.as_bytes().to_vec()),
            other => panic!("{other}"),
        }
    }

    fn append(&self, stream: &mut RlpStream) {
        match self {
            Self::String(bytes) => {
                stream.append(bytes);
            }
            Self::List(items) => {
                stream.begin_list(items.len());
                for item in items {
                    item.append(stream);
                }
            }
        }
    }

    fn write(&self, out: &mut Writer<'_>) {
        match self {
            Self::String(bytes) => out.bytes(bytes),
            Self::List(items) => out.list(|out| items.iter().for_each(|item| item.write(out))),
        };
    }

    fn encode(&self) -> Vec<u8> {
        let mut stream = RlpStream::new();
        self.append(&mut stream);
        stream.out().to_vec()
    }

    /// Reads the next item through the typed cursor.
    fn read(list: &mut List<'_>) -> Result<Self, DecodeError> {
        let mut as_string = *list;
        if let Ok(bytes) = as_string.bytes() {
            *list = as_string;
            return Ok(Self::String(bytes.to_vec()));
        }
        let mut inner = list.list()?;
        let mut items = vec![];
        while !inner.is_empty() {
            items.push(Self::read(&mut inner)?);
        }
        Ok(Self::List(items))
    }
}

fn big_endian(decimal: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = vec![];
    for digit in decimal.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.insert(0, carry as u8);
        }
    }
    bytes
}

#[test]
fn encoded_vectors_are_read_back() {
    let vectors = vectors();
    let rows = vectors["encode"].as_array().unwrap();
    assert_eq!(rows.len(), 28);
    for row in rows {
        let tree = Tree::from_json(&row["value"]);
        let encoded = hex(row);
        assert_eq!(tree.encode(), encoded, "{row}");
        assert_eq!(check(&encoded, WIDE), Ok(encoded.len()), "{row}");
        assert_eq!(Tree::read(&mut List { rest: &encoded }), Ok(tree), "{row}");
    }
}

#[test]
fn vectors_are_valid_or_refused() {
    let vectors = vectors();
    let rows = vectors["decode"].as_array().unwrap();
    assert_eq!(rows.len(), 40);
    for row in rows {
        let bytes = hex(row);
        assert_eq!(check(&bytes, WIDE) == Ok(bytes.len()), row["valid"].as_bool().unwrap(), "{row}");
        if bytes.first().is_some_and(|first| *first >= 0xc0) {
            assert_eq!(list(&bytes, WIDE).is_ok(), row["valid"].as_bool().unwrap(), "{row}");
        }
    }
}

/// Encodes `levels` lists, each the only item of the one around it.
fn nested(levels: usize) -> Vec<u8> {
    // From the innermost outwards, in reverse.
    let mut reversed: Vec<u8> = vec![0xc0];
    for _ in 1..levels {
        let payload = reversed.len();
        if payload < 56 {
            reversed.push(0xc0 + payload as u8);
        } else {
            let length = payload.to_be_bytes();
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            reversed.extend(length[zeros..].iter().rev());
            reversed.push(0xf7 + (length.len() - zeros) as u8);
        }
    }
    reversed.reverse();
    reversed
}

/// Attack F4: a level costs the sender a few bytes and the checker no memory.
#[test]
fn nesting_is_bounded() {
    assert_eq!(check(&nested(DEPTH_MAX), WIDE), Ok(DEPTH_MAX));
    for levels in [DEPTH_MAX + 1, 100_000, 4_200_000] {
        assert_eq!(check(&nested(levels), WIDE), Err(DecodeError::TooDeep), "{levels}");
    }
    let greedy = Bounds { depth_max: usize::MAX, items_max: usize::MAX };
    assert_eq!(check(&nested(DEPTH_MAX + 1), greedy), Err(DecodeError::TooDeep));
    let flat = Bounds { depth_max: 1, items_max: 8 };
    assert_eq!(check(&[0xc1, 0xc0], flat), Err(DecodeError::TooDeep));
    assert_eq!(check(&[0xc2, 0x80, 0x80], flat), Ok(3));
    assert_eq!(check(&[0xc0], Bounds { depth_max: 0, ..flat }), Err(DecodeError::TooDeep));
}

/// Attack F6: items are counted before they are decoded.
#[test]
fn the_number_of_items_is_bounded() {
    let bounds = Bounds { depth_max: 4, items_max: 5 };
    assert_eq!(check(&[0xc4, 1, 2, 3, 4], bounds), Ok(5));
    assert_eq!(check(&[0xc5, 1, 2, 3, 4, 5], bounds), Err(DecodeError::TooManyItems));
    assert_eq!(check(&[0xc4, 0xc1, 0xc0, 0xc0, 0xc0], bounds), Ok(5));
    assert_eq!(check(&[0xc5, 0xc1, 0xc0, 0xc0, 0xc0, 0xc0], bounds), Err(DecodeError::TooManyItems));
}

/// Attack F5: a length beyond the input is refused.
#[test]
fn false_lengths_are_refused() {
    use DecodeError::{NonCanonical, Truncated};
    for first in [0xbf, 0xff] {
        for claim in [u64::MAX, u64::MAX - 8, u64::MAX - 9, 1 << 63, 1 << 32, u64::from(u32::MAX), 1 << 24] {
            let bytes = claim.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let mut input = vec![first - zeros as u8];
            input.extend(&bytes[zeros..]);
            input.resize(64, 0);
            assert_eq!(check(&input, WIDE), Err(Truncated), "{claim:#x}");
            // The same length within a list that ends earlier.
            input.splice(0..0, [0xf8, 64]);
            assert_eq!(check(&input, WIDE), Err(Truncated), "{claim:#x} in a list");
        }
    }
    // A length with a leading zero, at every width.
    for first in (0xb8..=0xbf).chain(0xf8..=0xff) {
        let mut input = vec![first, 0];
        input.resize(80, 60);
        assert_eq!(check(&input, WIDE), Err(NonCanonical), "{first:#x}");
    }
    // The long form for up to 55 bytes, and the shortest value that needs it.
    for (first, length) in [(0xb8, 55), (0xf8, 55), (0xb8, 1), (0xf8, 1)] {
        let mut input = vec![first, length];
        input.resize(80, 0);
        assert_eq!(check(&input, WIDE), Err(NonCanonical), "{first:#x} {length}");
    }
    let mut input = vec![0xb8, 56];
    input.resize(80, 0);
    assert_eq!(check(&input, WIDE), Ok(58));
    // A byte with a needless prefix.
    for byte in 0..=0x7f {
        assert_eq!(check(&[0x81, byte], WIDE), Err(NonCanonical));
        assert_eq!(check(&[0xc2, 0x81, byte], WIDE), Err(NonCanonical));
    }
    assert_eq!(check(&[0x81, 0x80], WIDE), Ok(2));
    // An item that extends beyond its list, but not beyond the input.
    assert_eq!(check(&[0xc1, 0x82, 1, 2], WIDE), Err(Truncated));
    assert_eq!(check(&[0xc1, 0xc1, 0], WIDE), Err(Truncated));
    // Bytes after the list are not read.
    assert_eq!(check(&[0xc1, 0x82, 1, 2, 0x81, 0], WIDE), Err(Truncated));
}

#[test]
fn bytes_after_a_list_are_refused_or_returned() {
    assert_eq!(list(&[0xc1, 1, 0], WIDE).map(|_| ()), Err(DecodeError::TrailingBytes));
    let (mut fields, tail) = list_prefix(&[0xc1, 1, 0xff], WIDE).unwrap();
    assert_eq!((fields.u64(), tail), (Ok(1), &[0xff][..]));
    assert_eq!(list(&[0x83, 1, 2, 3], WIDE).map(|_| ()), Err(DecodeError::ExpectedList));
    assert_eq!(list(&[], WIDE).map(|_| ()), Err(DecodeError::Truncated));
}

#[test]
fn typed_reads_require_canonical_values() {
    use DecodeError::{
        ExpectedList, ExpectedString, IntegerOverflow, LeadingZero, MissingField, TooManyItems, WrongLength,
    };
    fn of(input: &[u8]) -> List<'_> {
        list(input, WIDE).unwrap()
    }
    assert_eq!(of(&[0xc1, 0x80]).u64(), Ok(0));
    assert_eq!(of(&[0xc1, 0x00]).u64(), Err(LeadingZero));
    assert_eq!(of(&[0xc3, 0x82, 0, 30]).u16(), Err(LeadingZero));
    assert_eq!(of(&[0xc3, 0x82, 0xff, 0xff]).u16(), Ok(0xffff));
    assert_eq!(of(&[0xc4, 0x83, 1, 0, 0]).u16(), Err(IntegerOverflow));
    assert_eq!(of(&[0xc9, 0x88, 255, 255, 255, 255, 255, 255, 255, 255]).u64(), Ok(u64::MAX));
    assert_eq!(of(&[0xca, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0]).u64(), Err(IntegerOverflow));
    assert_eq!(of(&[0xc3, 0x82, 1, 2]).uint_bytes(1), Err(IntegerOverflow));
    assert_eq!(of(&[0xc3, 0x82, 1, 2]).uint_bytes(2), Ok(&[1, 2][..]));
    assert_eq!(of(&[0xc1, 0xc0]).u64(), Err(ExpectedString));
    assert_eq!(of(&[0xc1, 0xc0]).bytes(), Err(ExpectedString));
    assert_eq!(of(&[0xc1, 0x80]).list().map(|_| ()), Err(ExpectedList));
    assert_eq!(of(&[0xc3, 0x82, 1, 2]).fixed::<2>(), Ok(&[1, 2]));
    assert_eq!(of(&[0xc3, 0x82, 1, 2]).fixed::<3>(), Err(WrongLength));
    assert_eq!(of(&[0xc0]).raw(), Err(MissingField));
    assert_eq!(of(&[0xc0]).u64_or_end(), Ok(None));
    assert_eq!(of(&[0xc1, 5]).u64_or_end(), Ok(Some(5)));
    assert_eq!(of(&[0xc1, 0]).u64_or_end(), Err(LeadingZero));
    assert_eq!((of(&[0xc1, 5]).end(), of(&[0xc0]).end()), (Err(TooManyItems), Ok(())));
    assert_eq!(of(&[0xc4, 5, 0xc1, 6, 0x80]).count(), 3);
    let mut items = of(&[0xc4, 5, 0xc1, 6, 0x80]);
    assert_eq!((items.raw(), items.raw(), items.raw()), (Ok(&[5][..]), Ok(&[0xc1, 6][..]), Ok(&[0x80][..])));
    assert!(items.is_empty());
    assert_eq!(checked_list(&[0xc1, 7]).u64(), Ok(7));
    assert!(checked_list(&[]).is_empty() && checked_list(&[0x80]).is_empty() && checked_list(&[0xc2, 1]).is_empty());
}

/// A naive implementation of the specification's grammar: the length of the item at the start of `input`, if there is
/// one.
fn model(input: &[u8], depth_left: usize, items_left: &mut usize) -> Option<usize> {
    *items_left = items_left.checked_sub(1)?;
    let first = *input.first()?;
    let (is_list, short, long) = match first {
        0..=0x7f => return Some(1),
        0x80..=0xb7 => (false, Some(first - 0x80), 0),
        0xb8..=0xbf => (false, None, first - 0xb7),
        0xc0..=0xf7 => (true, Some(first - 0xc0), 0),
        0xf8..=0xff => (true, None, first - 0xf7),
    };
    let header = 1 + usize::from(long);
    let length = match short {
        Some(length) => u128::from(length),
        None => {
            let digits = input.get(1..header)?;
            let length = digits.iter().fold(0, |value, digit| value << 8 | u128::from(*digit));
            (digits[0] != 0 && length > 55).then_some(length)?
        }
    };
    let payload = input.get(header..)?.get(..usize::try_from(length).ok()?)?;
    if is_list {
        let depth_left = depth_left.checked_sub(1)?;
        let mut at = 0;
        while at < payload.len() {
            at += model(&payload[at..], depth_left, items_left)?;
        }
    } else if payload.len() == 1 && payload[0] < 0x80 {
        return None;
    }
    Some(header + payload.len())
}

fn agrees_with_model(input: &[u8]) {
    for bounds in [Bounds::SMALL, Bounds { depth_max: 2, items_max: 6 }] {
        let mut items_left = bounds.items_max;
        let expected = model(input, bounds.depth_max, &mut items_left);
        assert_eq!(check(input, bounds).ok(), expected, "{}", const_hex::encode(input));
    }
}

/// Bytes at the edges of the grammar.
const EDGES: [u8; 20] =
    [0, 1, 0x37, 0x38, 0x7f, 0x80, 0x81, 0x82, 0xb7, 0xb8, 0xb9, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xf7, 0xf8, 0xf9, 0xff];

#[test]
fn short_inputs_agree_with_the_model() {
    agrees_with_model(&[]);
    for a in 0..=255 {
        agrees_with_model(&[a]);
        for b in 0..=255 {
            agrees_with_model(&[a, b]);
        }
    }
    for a in EDGES {
        for b in EDGES {
            for c in EDGES {
                agrees_with_model(&[a, b, c]);
                for d in EDGES {
                    agrees_with_model(&[a, b, c, d]);
                }
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(Tree::String),
        proptest::collection::vec(any::<u8>(), 50..60).prop_map(Tree::String),
        Just(Tree::List(vec![])),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(Tree::List))
}

proptest! {
    /// Items written in place equal those that the crate encodes.
    #[test]
    fn any_tree_is_written_as_the_crate_does(tree in trees(), before in 0..3usize) {
        let mut reference = RlpStream::new();
        tree.append(&mut reference);
        let mut out = vec![7; before];
        tree.write(&mut Writer::new(&mut out));
        prop_assert_eq!(&out[..before], &[7; 3][..before]);
        prop_assert_eq!(&out[before..], &reference.out()[..]);
    }

    #[test]
    fn any_integer_is_written_as_the_crate_does(value in any::<u64>(), shift in 0..64u32) {
        let mut out = vec![];
        Writer::new(&mut out).u64(value >> shift);
        prop_assert_eq!(out, ::rlp::encode(&(value >> shift)).to_vec());
    }

    #[test]
    fn any_bytes_agree_with_the_model(bytes in proptest::collection::vec(
        prop_oneof![any::<u8>(), proptest::sample::select(EDGES.to_vec())], 0..80)) {
        agrees_with_model(&bytes);
    }

    #[test]
    fn damaged_values_agree_with_the_model(tree in trees(), at in any::<proptest::sample::Index>(), byte: u8, cut: bool) {
        let mut bytes = tree.encode();
        agrees_with_model(&bytes);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        agrees_with_model(&bytes);
    }

    #[test]
    fn values_survive(tree in trees()) {
        let bytes = tree.encode();
        prop_assert_eq!(check(&bytes, WIDE), Ok(bytes.len()));
        prop_assert_eq!(Tree::read(&mut List { rest: &bytes }), Ok(tree));
    }

    /// Reads on unchecked bytes return errors at worst.
    #[test]
    fn unchecked_reads_do_not_panic(bytes in proptest::collection::vec(
        prop_oneof![any::<u8>(), proptest::sample::select(EDGES.to_vec())], 0..80)) {
        let mut list = checked_list(&bytes);
        let mut items = 0;
        while !list.is_empty() {
            let mut copies = [list; 3];
            let _ = (copies[0].u64(), copies[1].fixed::<4>(), copies[2].list());
            items += 1;
            if list.raw().is_err() {
                break;
            }
        }
        prop_assert!(items <= bytes.len());
    }
}
