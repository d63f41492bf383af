//! Conditions on a node's state, such as `table >= 10 and not banned(8f2a)`.
//!
//! ```text
//! expression  = conjunction { ("or" | "||") conjunction }
//! conjunction = term { ("and" | "&&") term }
//! term        = ("not" | "!") term | "(" expression ")" | value [ ("<" | "<=" | ">" | ">=" | "==" | "!=") value ]
//! value       = number | duration | name | name "(" argument ")"
//! ```
//!
//! A value alone is true if it is not zero. A name may have a qualifier, as in `peers.banned(ID)`. A duration is a number with
//! the suffix `us`, `ms`, `s`, `m` or `h`. An argument is all text up to the closing parenthesis, in quotation marks if it
//! contains one: an id's first hexadecimal digits, or a part of a reason's text.

use std::fmt;
use std::str::FromStr;

use peerless::crypto::NodeId;
use peerless::node::Node;
use peerless::peers::Banned;
use peerless::time::Instant;

use super::is_in_session;

/// The most nested parentheses and negations.
const DEPTH_MAX: usize = 64;

/// A condition on the state of a node.
#[derive(Clone, Debug)]
pub struct Condition(Expression);

#[derive(Clone, Debug)]
enum Expression {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    Holds(Value),
    Compare(Value, Comparison, Value),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    Unequal,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Number(i128),
    Table,
    Proofs,
    Calls,
    Connections,
    Sessions,
    Bans,
    DatagramsIn,
    DatagramsOut,
    FramesIn,
    FramesOut,
    Dials,
    Accepts,
    /// Microseconds since the driver's start.
    Time,
    /// Connections that ended for a reason, or for any.
    Ended(String),
    /// Datagrams dropped for a reason, or for any.
    Dropped(String),
    Banned(Prefix),
    InSession(Prefix),
    Connected(Prefix),
    Known(Prefix),
    Score(Prefix),
}

/// The first digits of an id.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Prefix(String);

impl Prefix {
    fn fits(&self, id: &NodeId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

/// Why a text is not a condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidCondition(String);

impl fmt::Display for InvalidCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidCondition {}

impl Condition {
    /// Whether it is true of `node` at `now`.
    pub fn holds(&self, node: &Node, now: Instant) -> bool {
        self.0.holds(node, now)
    }
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        let mut parser = Parser { rest: text };
        let expression = parser.expression(0)?;
        if parser.rest.trim_start().is_empty() { Ok(Self(expression)) } else { Err(parser.unexpected("its end")) }
    }
}

impl Expression {
    fn holds(&self, node: &Node, now: Instant) -> bool {
        match self {
            Self::Or(terms) => terms.iter().any(|term| term.holds(node, now)),
            Self::And(terms) => terms.iter().all(|term| term.holds(node, now)),
            Self::Not(term) => !term.holds(node, now),
            Self::Holds(value) => value.of(node, now) != 0,
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.of(node, now), right.of(node, now));
                match comparison {
                    Comparison::Less => left < right,
                    Comparison::LessOrEqual => left <= right,
                    Comparison::Greater => left > right,
                    Comparison::GreaterOrEqual => left >= right,
                    Comparison::Equal => left == right,
                    Comparison::Unequal => left != right,
                }
            }
        }
    }
}

impl Value {
    fn of(&self, node: &Node, now: Instant) -> i128 {
        let stats = node.stats();
        let discovery = node.discovery().discv4();
        let count = |count: usize| count as i128;
        match self {
            Self::Number(number) => *number,
            Self::Table => count(discovery.map_or(0, |discovery| discovery.table().len())),
            Self::Proofs => count(discovery.map_or(0, |discovery| discovery.bonds().len())),
            Self::Calls => count(discovery.map_or(0, |discovery| discovery.calls().len())),
            Self::Connections => count(node.sessions().count()),
            Self::Sessions => count(node.sessions().filter(is_in_session).count()),
            Self::Bans => count(node.peers().bans().iter(now).count()),
            Self::DatagramsIn => stats.datagrams_in.count.into(),
            Self::DatagramsOut => stats.datagrams_out.count.into(),
            Self::FramesIn => stats.frames_in.count.into(),
            Self::FramesOut => stats.frames_out.count.into(),
            Self::Dials => stats.dials.into(),
            Self::Accepts => stats.accepts.into(),
            Self::Time => now.as_micros().into(),
            Self::Ended(reason) => {
                let ended = stats.ended.iter().filter(|((_, end), _)| has(&end.to_string(), reason));
                ended.map(|(_, count)| i128::from(*count)).sum()
            }
            Self::Dropped(reason) => {
                let dropped = stats.datagrams_dropped.iter().filter(|(why, _)| has(&why.to_string(), reason));
                dropped.map(|(_, count)| i128::from(*count)).sum()
            }
            Self::Banned(prefix) => {
                let is_it = |who: &Banned| matches!(who, Banned::Id(id) if prefix.fits(id));
                count(node.peers().bans().iter(now).filter(|(who, _)| is_it(who)).count())
            }
            Self::InSession(prefix) => {
                let peers = node.sessions().filter(is_in_session).filter_map(|session| session.id);
                count(peers.filter(|id| prefix.fits(id)).count())
            }
            Self::Connected(prefix) => {
                count(node.sessions().filter_map(|session| session.id).filter(|id| prefix.fits(id)).count())
            }
            Self::Known(prefix) => {
                let entries = discovery.into_iter().flat_map(|discovery| discovery.table().entries());
                count(entries.filter(|entry| prefix.fits(&entry.contact().id())).count())
            }
            Self::Score(prefix) => {
                let ledgers = node.peers().ledgers();
                ledgers.iter().find(|(id, _)| prefix.fits(id)).map_or(0, |(_, ledger)| ledger.score(now).into())
            }
        }
    }

    /// A value by its name.
    fn named(name: &str, argument: Option<&str>) -> Result<Self, InvalidCondition> {
        let text = || argument.unwrap_or_default().to_lowercase();
        let id = || {
            let digits = text();
            let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_owned();
            if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(InvalidCondition(format!("{name} needs the first digits of a node id")));
            }
            Ok(Prefix(digits))
        };
        // A qualifier has no effect.
        let plain = name.rsplit('.').next().unwrap_or(name);
        let value = match (plain, argument) {
            ("ended", _) => return Ok(Self::Ended(text())),
            ("dropped", _) => return Ok(Self::Dropped(text())),
            ("banned", Some(_)) => return Ok(Self::Banned(id()?)),
            ("session", Some(_)) => return Ok(Self::InSession(id()?)),
            ("connected", Some(_)) => return Ok(Self::Connected(id()?)),
            ("known", Some(_)) => return Ok(Self::Known(id()?)),
            ("score", Some(_)) => return Ok(Self::Score(id()?)),
            ("table", None) => Self::Table,
            ("proofs", None) => Self::Proofs,
            ("calls", None) => Self::Calls,
            ("connections", None) => Self::Connections,
            ("sessions", None) => Self::Sessions,
            ("banned", None) => Self::Bans,
            ("datagrams_in", None) => Self::DatagramsIn,
            ("datagrams_out", None) => Self::DatagramsOut,
            ("frames_in", None) => Self::FramesIn,
            ("frames_out", None) => Self::FramesOut,
            ("dials", None) => Self::Dials,
            ("accepts", None) => Self::Accepts,
            ("time", None) => Self::Time,
            _ => {
                let known = "table, proofs, calls, connections, sessions, banned, datagrams_in, datagrams_out, \
                             frames_in, frames_out, dials, accepts, time, ended(REASON), dropped(REASON), banned(ID), \
                             session(ID), connected(ID), known(ID), score(ID)";
                return Err(InvalidCondition(format!("there is no {name:?} as it is used; there are {known}")));
            }
        };
        Ok(value)
    }
}

/// Whether a reason contains a text, in any letter case.
fn has(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(part)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn expression(&mut self, depth: usize) -> Result<Expression, InvalidCondition> {
        let first = self.conjunction(depth)?;
        let mut terms = vec![first];
        while self.word("or") || self.symbol("||") {
            terms.push(self.conjunction(depth)?);
        }
        Ok(Expression::Or(terms))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Expression, InvalidCondition> {
        let first = self.term(depth)?;
        let mut terms = vec![first];
        while self.word("and") || self.symbol("&&") {
            terms.push(self.term(depth)?);
        }
        Ok(Expression::And(terms))
    }

    fn term(&mut self, depth: usize) -> Result<Expression, InvalidCondition> {
        if depth > DEPTH_MAX {
            return Err(InvalidCondition("too many nested parentheses".to_owned()));
        }
        if self.word("not") || self.symbol("!") {
            return Ok(Expression::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.symbol("(") {
            let inner = self.expression(depth + 1)?;
            return if self.symbol(")") { Ok(inner) } else { Err(self.unexpected("a closing parenthesis")) };
        }
        let left = self.value()?;
        // Longer symbols first.
        let comparisons = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        for (symbol, comparison) in comparisons {
            if self.symbol(symbol) {
                return Ok(Expression::Compare(left, comparison, self.value()?));
            }
        }
        Ok(Expression::Holds(left))
    }

    fn value(&mut self) -> Result<Value, InvalidCondition> {
        let word = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return number(word).ok_or_else(|| InvalidCondition(format!("{word:?} is neither number nor duration")));
        }
        if word.is_empty() {
            return Err(self.unexpected("a value"));
        }
        let argument = if self.rest.starts_with('(') { Some(self.argument()?) } else { None };
        Value::named(word, argument)
    }

    /// The text in parentheses, or in quotation marks within them.
    fn argument(&mut self) -> Result<&'a str, InvalidCondition> {
        let inner = self.rest[1..].trim_start();
        let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''));
        let open = InvalidCondition("a closing parenthesis is missing".to_owned());
        let (argument, rest) = match quote {
            Some(quote) => {
                let (argument, rest) = inner[1..].split_once(quote).ok_or(open.clone())?;
                (argument, rest.trim_start().strip_prefix(')').ok_or(open)?)
            }
            None => {
                let (argument, rest) = inner.split_once(')').ok_or(open)?;
                (argument.trim(), rest)
            }
        };
        self.rest = rest;
        Ok(argument)
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let (taken, rest) = rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(symbol);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(word);
        let rest = rest.filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn unexpected(&self, expected: &str) -> InvalidCondition {
        InvalidCondition(format!("expected {expected} at {:?}", self.rest.trim_start()))
    }
}

/// A number, or a duration in microseconds.
fn number(word: &str) -> Option<Value> {
    let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
    let (digits, unit) = word.split_at(end);
    let factor = match unit {
        "" | "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    let number: i64 = digits.parse().ok()?;
    Some(Value::Number(i128::from(number) * factor))
}

#[cfg(test)]
mod tests {
    use peerless::crypto::SecretKey;
    use peerless::eth::Chain;
    use peerless::node::Config;
    use peerless::time::UnixTime;
    use peerless::wire::forkid::{ForkSchedule, Head, Network};

    use super::*;

    fn node() -> Node {
        let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
        let network = Network { name: "test".to_owned(), network_id: 1, schedule };
        let secret = SecretKey::from_bytes([1; 32]).unwrap();
        let config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
        Node::new(config, [1; 32], Instant::ZERO, UnixTime::from_secs(1)).unwrap()
    }

    #[test]
    fn conditions_of_a_new_node() {
        let node = node();
        let now = Instant::from_micros(2_500_000);
        for (text, expected) in [
            ("table == 0", true),
            ("table", false),
            ("not table", true),
            ("!table && sessions=0", true),
            ("table >= 1 or time > 2s", true),
            ("time > 2s and time <= 2500ms and time < 1h", true),
            ("banned > 0 or (banned == 0 and not (calls > 3))", true),
            ("peers.banned(00ff)", false),
            ("score(0xab) < 0", false),
            ("ended(too many peers)", false),
            ("ended(\"wrong (MAC)\") == 0", true),
            ("dropped(expired) != 0", false),
            ("-1 < 0", true),
            ("order", false),
        ] {
            match text.parse::<Condition>() {
                Ok(condition) => assert_eq!(condition.holds(&node, now), expected, "{text}"),
                Err(error) => assert!(text == "order", "{text}: {error}"),
            }
        }
    }

    #[test]
    fn misuse_is_told() {
        for text in
            ["", "table >=", "table 3", "(table", "banned()", "banned(xyz)", "ended(", "3q", "table(1)", "or", ")"]
        {
            assert!(text.parse::<Condition>().is_err(), "{text:?}");
        }
        let deep = "(".repeat(100_000);
        assert!(deep.parse::<Condition>().is_err());
        assert!("!".repeat(100_000).parse::<Condition>().is_err());
    }
}
