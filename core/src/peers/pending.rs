//! Pending places: which pending connection makes room for a new one.

use super::ranges::Crowd;
use crate::contract::{ConnId, Refusal};

/// The pending connection that a new one of the group `crowd` displaces, if it has to (attack C8): the oldest of its own group,
/// if that has `crowd_max` already; else, if there are `max` in all, the oldest of the largest group. So a flood from a few
/// subnets displaces itself, and a place lasts for the number of places divided by the rate of the flood.
///
/// `pending` are the live pending connections in order, so that those of a group follow each other, oldest first.
pub fn displaced(
    pending: impl Iterator<Item = (Crowd, ConnId)>,
    crowd: Crowd,
    crowd_max: usize,
    max: usize,
) -> Option<(ConnId, Refusal)> {
    let (mut count, mut own) = (0, None);
    // The group that is being counted, and the largest so far: size and oldest connection.
    let mut current: Option<(Crowd, usize, ConnId)> = None;
    let mut largest: Option<(usize, ConnId)> = None;
    for (group, conn) in pending {
        count += 1;
        let (size, oldest) = match current {
            Some((same, size, oldest)) if same == group => (size + 1, oldest),
            _ => (1, conn),
        };
        current = Some((group, size, oldest));
        if group == crowd {
            own = Some((size, oldest));
        }
        if largest.is_none_or(|(most, first)| size > most || size == most && oldest < first) {
            largest = Some((size, oldest));
        }
    }
    match (own, largest) {
        (Some((size, oldest)), _) if size >= crowd_max => Some((oldest, Refusal::TooManyFromSubnet)),
        (_, Some((_, oldest))) if count >= max => Some((oldest, Refusal::TooManyPending)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(crowds: &[(u64, u64)]) -> impl Iterator<Item = (Crowd, ConnId)> {
        crowds.iter().map(|(subnet, conn)| (Crowd::Subnet(*subnet), ConnId(*conn)))
    }

    #[test]
    fn a_group_at_its_share_displaces_its_own_oldest() {
        let conns = [(1, 9), (2, 3), (2, 5), (3, 1)];
        assert_eq!(displaced(pending(&conns), Crowd::Subnet(2), 2, 100), Some((ConnId(3), Refusal::TooManyFromSubnet)));
        assert_eq!(displaced(pending(&conns), Crowd::Subnet(2), 3, 100), None);
        assert_eq!(displaced(pending(&conns), Crowd::Subnet(1), 2, 100), None);
    }

    #[test]
    fn a_full_house_displaces_the_oldest_of_the_largest_group() {
        let conns = [(1, 1), (2, 6), (2, 7), (3, 4), (3, 9), (4, 2)];
        assert_eq!(displaced(pending(&conns), Crowd::Subnet(9), 4, 7), None);
        let of_largest = Some((ConnId(4), Refusal::TooManyPending));
        assert_eq!(displaced(pending(&conns), Crowd::Subnet(9), 4, 6), of_largest, "of equal ones, the older");
        let alone = [(1, 5), (2, 4), (3, 8)];
        assert_eq!(
            displaced(pending(&alone), Crowd::Alone(ConnId(9)), 4, 3),
            Some((ConnId(4), Refusal::TooManyPending))
        );
        assert_eq!(displaced(pending(&[]), Crowd::Subnet(1), 4, 0), None);
    }
}
