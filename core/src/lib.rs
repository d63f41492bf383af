//! Ethereum's peer-to-peer stack (devp2p) as sans-IO state machines.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

// Ground: time, randomness, bounds, addresses.
pub mod limits;
pub mod netfilter;
pub mod rng;
pub mod time;

pub mod crypto;
pub mod wire;

pub mod contract;

// Machines.
pub mod discv4;
pub mod eth;
pub mod peers;
pub mod rlpx;

pub mod node;
