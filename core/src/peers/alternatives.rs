//! Second endpoints of nodes, which are dialled once a dial of the first has failed: those of a record's other address family.
//!
//! The address book and the declared peers hold one endpoint of a node. Here is the other one; the two change places with each
//! failure.

use super::bounded::Bounded;
use crate::crypto::NodeId;
use crate::limits::ALTERNATIVES_MAX;
use crate::netfilter::NetFilter;
use crate::wire::enode::Contact;

#[derive(Clone, Copy, Debug)]
struct Alternative {
    contact: Contact,
    is_permitted: bool,
    /// Whether it has failed since the other one last did.
    has_failed: bool,
}

/// The second endpoints of at most [`ALTERNATIVES_MAX`] nodes; a new one displaces the oldest.
#[derive(Clone, Debug)]
pub(super) struct Alternatives {
    by_id: Bounded<NodeId, u64, Alternative>,
    noted: u64,
}

impl Default for Alternatives {
    fn default() -> Self {
        Self { by_id: Bounded::new(ALTERNATIVES_MAX), noted: 0 }
    }
}

impl Alternatives {
    /// Remembers an endpoint.
    pub(super) fn note(&mut self, contact: Contact, filter: &NetFilter) {
        self.put(Alternative { contact, is_permitted: filter.permits(contact.ip()), has_failed: false });
    }

    fn put(&mut self, alternative: Alternative) {
        self.noted += 1;
        self.by_id.insert(alternative.contact.id(), self.noted, alternative);
    }

    /// What to dial instead of `unusable`, which has failed or is not permitted any more, and whether to dial it at once: not
    /// if it has failed itself since. The two change places.
    pub(super) fn replace(&mut self, unusable: &Contact, is_permitted: bool) -> Option<(Contact, bool)> {
        let other = *self.by_id.get(&unusable.id())?;
        if !other.is_permitted || other.contact.tcp_addr() == unusable.tcp_addr() {
            return None;
        }
        self.put(Alternative { contact: *unusable, is_permitted, has_failed: !other.has_failed });
        Some((other.contact, !other.has_failed))
    }

    /// Notes which endpoints the filter permits now.
    pub(super) fn filter_changed(&mut self, filter: &NetFilter) {
        let all: alloc::vec::Vec<Alternative> = self.by_id.iter().map(|(_, alternative)| *alternative).collect();
        for alternative in all {
            self.put(Alternative { is_permitted: filter.permits(alternative.contact.ip()), ..alternative });
        }
    }
}
