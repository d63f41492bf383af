//! Traces of nodes and captures of anybody's: read, decrypted, compared.
#![forbid(unsafe_code)]

pub mod capture;
