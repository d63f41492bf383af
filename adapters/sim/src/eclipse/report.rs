//! What a run has measured.

use std::collections::BTreeSet;
use std::fmt;

use peerless::contract::{Direction, Stage};
use peerless::netfilter::Subnet;
use peerless::node::Node;
use peerless::wire::enode::Contact;
use serde::Serialize;

use super::Plan;
use super::callers::CallFigures;
use super::cast::Cast;

/// Who holds the places, the table and the book of the real node at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Shares {
    /// Peers in session in outbound places.
    pub outbound: u32,
    /// Hostile ones of them.
    pub hostile_outbound: u32,
    /// Peers in session in inbound places.
    pub inbound: u32,
    /// Hostile ones of them.
    pub hostile_inbound: u32,
    /// Entries of the discovery table.
    pub table: u32,
    /// The hostile share of them, from 0 to 1.
    pub table_share: f64,
    /// The most entries of one hostile /24 in the table.
    pub table_subnet_max: u32,
    /// Entries of the address book.
    pub book: u32,
    /// The hostile share of them, from 0 to 1.
    pub book_share: f64,
    /// The hostile share of the subnets that it has entries of, from 0 to 1.
    pub book_subnet_share: f64,
}

impl Shares {
    pub(super) fn of(node: &Node, cast: &Cast) -> Self {
        let mut shares = Self::default();
        for session in node.sessions() {
            let Some(place) = session.place.filter(|_| session.stage == Stage::Established) else { continue };
            let is_hostile = u32::from(cast.is_hostile(session.addr.ip()));
            match place.share {
                Direction::Outbound => {
                    shares.outbound += 1;
                    shares.hostile_outbound += is_hostile;
                }
                Direction::Inbound => {
                    shares.inbound += 1;
                    shares.hostile_inbound += is_hostile;
                }
            }
        }
        let table = node.discovery().discv4().into_iter().flat_map(|discv4| discv4.table().entries());
        let table: Vec<Contact> = table.map(|entry| *entry.contact()).collect();
        let book: Vec<Contact> = node.peers().book().entries().iter().map(|entry| *entry.contact()).collect();
        let is_hostile = |contact: &&Contact| cast.is_hostile(contact.ip());
        let subnets = |contacts: &[Contact], hostile_only: bool| {
            let contacts = contacts.iter().filter(|contact| !hostile_only || is_hostile(contact));
            contacts.map(|contact| Subnet::of(contact.ip())).collect::<BTreeSet<_>>()
        };
        let entries_of = |subnet: Subnet| table.iter().filter(|contact| Subnet::of(contact.ip()) == subnet).count();
        shares.table = table.len() as u32;
        shares.table_share = share(table.iter().filter(is_hostile).count(), table.len());
        shares.table_subnet_max = subnets(&table, true).into_iter().map(entries_of).max().unwrap_or(0) as u32;
        shares.book = book.len() as u32;
        shares.book_share = share(book.iter().filter(is_hostile).count(), book.len());
        shares.book_subnet_share = share(subnets(&book, true).len(), subnets(&book, false).len());
        shares
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The shares at a time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sample {
    /// Seconds since the start.
    pub t_s: f64,
    /// The shares.
    pub shares: Shares,
}

/// The result of a run. All fields but `wall_s` are functions of the plan.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Honest scripted nodes.
    pub honest: u32,
    /// Hostile /24s.
    pub subnets: u32,
    /// The probability that an honest node has room, in percent.
    pub room_percent: u32,
    /// When that was drawn: `dial` or `node`.
    pub room_drawn: String,
    /// The time of the attack in seconds.
    pub time_s: f64,
    /// The time before it in seconds.
    pub peace_s: f64,
    /// At the end of the attack.
    #[serde(flatten)]
    pub shares: Shares,
    /// How honest callers fared, if there were any.
    pub calls: Option<CallFigures>,
    /// At the end of the time after a restart with what was persisted.
    pub restarted: Option<Shares>,
    /// At the end of the time after a restart without anything.
    pub restarted_bare: Option<Shares>,
    /// Events of all lives of the real node.
    pub events: u64,
    /// The hash of everything that passed between the real node and its driver, in hexadecimal.
    pub trace_hash: String,
    /// Elapsed time on a real clock.
    pub wall_s: f64,
    /// The samples of the life that the attack began in, oldest first.
    #[serde(skip)]
    pub series: Vec<Sample>,
}

impl Report {
    /// Checks what has to hold of a run of [`Plan::small`] with any seed: all outbound places but four are taken, at most nine of
    /// the 16 by hostile peers, and no hostile /24 has more than ten entries of the table, nor all of them more than twice their
    /// share of the book (attacks E1, E2, E4).
    ///
    /// # Errors
    ///
    /// The first demand that is not met, in words.
    pub fn check(&self) -> Result<(), String> {
        let restarts = [("restarted", self.restarted), ("restarted without the book", self.restarted_bare)];
        let restarts = restarts.into_iter().filter_map(|(when, shares)| Some((when, shares?)));
        for (when, shares) in [("attacked", self.shares)].into_iter().chain(restarts) {
            let Shares { outbound, hostile_outbound, table_subnet_max, book_share, book_subnet_share, .. } = shares;
            let unmet = if outbound < 12 {
                "12 outbound places are taken"
            } else if hostile_outbound > 9 {
                "at most 9 outbound peers are hostile"
            } else if table_subnet_max > 10 {
                "a hostile /24 has at most 10 entries of the table"
            } else if book_share > 2.0 * book_subnet_share + 1e-9 {
                "hostile /24s have at most twice their share of the book"
            } else {
                continue;
            };
            return Err(format!("{when}: {unmet}, but {shares}"));
        }
        Ok(())
    }

    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            honest: plan.honest,
            subnets: plan.subnets,
            room_percent: plan.room_percent,
            room_drawn: plan.room_drawn.to_string(),
            time_s: plan.time.as_secs_f64(),
            peace_s: plan.peace.as_secs_f64(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outbound, hostile_outbound, inbound, hostile_inbound, table, book, .. } = self;
        write!(f, "hostile: {hostile_outbound} of {outbound} outbound, {hostile_inbound} of {inbound} inbound, ")?;
        let [in_table, in_book] = [self.table_share, self.book_share].map(|share| share * 100.0);
        write!(f, "{in_table:.0} % of {table} in the table, {in_book:.0} % of {book} in the book")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, honest, subnets, room_percent, room_drawn, .. } = self;
        writeln!(
            f,
            "seed {seed}: {subnets} hostile /24s, {honest} honest nodes, room {room_percent} % per {room_drawn}"
        )?;
        write!(f, "  after {:.1} h     {}", self.time_s / 3600.0, self.shares)?;
        for (name, shares) in [("restarted   ", &self.restarted), ("without book", &self.restarted_bare)] {
            if let Some(shares) = shares {
                write!(f, "\n  {name}     {shares}")?;
            }
        }
        if let Some(calls) = &self.calls {
            let CallFigures { callers, let_in_percent, stay_median_min, honest_in_place, hostile_in_place, .. } = calls;
            write!(
                f,
                "\n  callers          {let_in_percent:.0} % of {callers} honest ones in within ten minutes, stay \
                 {stay_median_min:.0} min at the median; {honest_in_place:.1} honest and {hostile_in_place:.1} hostile in \
                 place on average"
            )?;
        }
        write!(f, "\n  trace {}, {} events in {:.1} s", self.trace_hash, self.events, self.wall_s)
    }
}
