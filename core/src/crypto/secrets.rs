//! The RLPx key schedule (`rlpx.md`, "Initial Handshake"): from two agreements and two nonces to a session's secrets.
