//! Node keys: geth's key files, and the commands `key ..`.
//!
//! A key file is 64 hexadecimal digits and at most two characters of line end. Only its owner may read it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use peerless::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
use peerless::wire::enode::Contact;
use peerless::wire::enr::RecordBuilder;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::Outcome;
use crate::output::Output;

/// What to do with a key.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Generate a key and write it to a new file
    Generate {
        /// The file to write
        #[arg(env = "PEERLESS_NODEKEY", value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the public side of a key
    Show {
        #[command(flatten)]
        identity: Identity,
        /// Address for the enode URL
        #[arg(long, env = "PEERLESS_IP", default_value = "127.0.0.1")]
        ip: IpAddr,
        /// RLPx port for the enode URL
        #[arg(long, env = "PEERLESS_PORT", default_value_t = 30303)]
        port: u16,
    },
    /// Print the node id
    ToId {
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Print the enode URL
    ToEnode {
        #[command(flatten)]
        key: KeyArgument,
        #[command(flatten)]
        endpoint: EndpointArguments,
    },
    /// Print a record, signed by the key; `enr sign` has more entries
    ToEnr {
        #[command(flatten)]
        key: KeyArgument,
        #[command(flatten)]
        endpoint: EndpointArguments,
    },
}

/// A key file as geth's `devp2p key` takes it, or as the other commands do.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeyArgument {
    /// The key file
    #[arg(value_name = "FILE", conflicts_with_all = ["nodekey", "nodekeyhex"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    identity: Identity,
}

impl KeyArgument {
    fn load(&self) -> Result<SecretKey> {
        match &self.file {
            Some(file) => load(file),
            None => self.identity.load(),
        }
    }

    fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.identity.nodekey.as_deref())
    }
}

/// Where the node listens.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct EndpointArguments {
    /// Address
    #[arg(long, env = "PEERLESS_IP", default_value = "127.0.0.1")]
    ip: IpAddr,
    /// RLPx port; 0 for none
    #[arg(long, env = "PEERLESS_TCP", value_name = "PORT", default_value_t = 30303)]
    tcp: u16,
    /// Discovery port; 0 for none [default: the RLPx port]
    #[arg(long, env = "PEERLESS_UDP", value_name = "PORT")]
    udp: Option<u16>,
}

impl EndpointArguments {
    fn contact(&self, secret: &SecretKey) -> Contact {
        Contact::new(Secp256k1::new().public_key(secret), self.ip, self.udp.unwrap_or(self.tcp), self.tcp)
    }
}

/// Which key to use.
#[derive(Args, Clone, Debug)]
pub(crate) struct Identity {
    /// The node's key file; created if it does not exist
    #[arg(long, env = "PEERLESS_NODEKEY", value_name = "FILE", conflicts_with = "nodekeyhex")]
    pub(crate) nodekey: Option<PathBuf>,
    /// The node's key as 64 hexadecimal digits, for tests: other users of the machine can see it
    #[arg(long, env = "PEERLESS_NODEKEYHEX", value_name = "HEX", hide_env_values = true)]
    pub(crate) nodekeyhex: Option<String>,
}

impl Identity {
    /// The files that are read.
    pub(crate) fn files(&self) -> Vec<&Path> {
        self.nodekey.as_deref().into_iter().collect()
    }

    /// Returns the key of the digits or of the file, which is created if it does not exist, or else a fresh key.
    pub(crate) fn load_or_create(&self) -> Result<SecretKey> {
        match (&self.nodekey, &self.nodekeyhex) {
            (_, Some(digits)) => parse(digits),
            (Some(file), None) => match load(file) {
                Err(error) if is_missing(&error) => create(file),
                other => other,
            },
            (None, None) => generate(),
        }
    }

    /// Returns the key of the digits or of the file.
    pub(crate) fn load(&self) -> Result<SecretKey> {
        match (&self.nodekey, &self.nodekeyhex) {
            (_, Some(digits)) => parse(digits),
            (Some(file), None) => load(file),
            (None, None) => bail!("name a key by --nodekey or --nodekeyhex"),
        }
    }
}

/// Runs `key ..`.
pub(crate) fn run(output: &Output, command: &Command) -> Result<Outcome> {
    match command {
        Command::Generate { file } => {
            let secret = create(file)?;
            output.report(&Report::new(&secret, IpAddr::from([127, 0, 0, 1]), 30303, Some(file)));
        }
        Command::Show { identity, ip, port } => {
            output.report(&Report::new(&identity.load()?, *ip, *port, identity.nodekey.as_deref()));
        }
        Command::ToId { key } => {
            let id = Secp256k1::new().public_key(&key.load()?).node_id();
            output.report(&Single { name: "node_id", value: id.to_string(), file: key.path() });
        }
        Command::ToEnode { key, endpoint } => {
            let contact = endpoint.contact(&key.load()?);
            output.report(&Single { name: "enode", value: contact.to_string(), file: key.path() });
        }
        Command::ToEnr { key, endpoint } => {
            let secret = key.load()?;
            let contact = endpoint.contact(&secret);
            let mut builder = RecordBuilder::default();
            builder.endpoint(contact.udp_addr(), contact.tcp());
            let record = builder.sign(&Secp256k1::new(), &secret, 1).map_err(|error| anyhow!("{error}"))?;
            output.report(&Single { name: "enr", value: record.to_string(), file: key.path() });
        }
    }
    Ok(Outcome::Success)
}

/// One value, which is printed alone so that scripts can take it.
struct Single<'a> {
    name: &'static str,
    value: String,
    file: Option<&'a Path>,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(file) = self.file {
            map.serialize_entry("file", &file.display().to_string())?;
        }
        map.serialize_entry(self.name, &self.value)?;
        map.end()
    }
}

impl fmt::Display for Single<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    public_key: String,
    node_id: String,
    enode: String,
}

impl Report {
    fn new(secret: &SecretKey, ip: IpAddr, port: u16, file: Option<&Path>) -> Self {
        let key: PublicKey = Secp256k1::new().public_key(secret);
        Self {
            file: file.map(|file| file.display().to_string()),
            public_key: key.to_string(),
            node_id: key.node_id().to_string(),
            enode: Contact::new(key, ip, port, port).to_string(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            writeln!(f, "file        {file}")?;
        }
        writeln!(f, "public key  {}", self.public_key)?;
        writeln!(f, "node id     {}", self.node_id)?;
        write!(f, "enode       {}", self.enode)
    }
}

/// A fresh key, from the operating system's entropy.
pub(crate) fn generate() -> Result<SecretKey> {
    loop {
        // One scalar in 2^127 is not a key.
        if let Ok(secret) = SecretKey::from_bytes(entropy()?) {
            return Ok(secret);
        }
    }
}

/// 32 bytes of the operating system's entropy.
pub(crate) fn entropy() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no entropy: {error}"))?;
    Ok(bytes)
}

/// Reads a file with a key that signs; an Ethereum keystore is told by its own error.
pub(crate) fn load_signing(path: &Path) -> Result<SecretKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    if text.trim_start().starts_with('{') {
        bail!(
            "{} is a keystore in JSON, which is not supported: write the key as 64 hexadecimal digits into a file",
            path.display()
        );
    }
    parse_file(&text).with_context(|| format!("{} is not a key file", path.display()))
}

/// Reads a key file.
pub(crate) fn load(path: &Path) -> Result<SecretKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    parse_file(&text).with_context(|| format!("{} is not a key file", path.display()))
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Accepts what geth's `LoadECDSA` accepts.
fn parse_file(text: &str) -> Result<SecretKey> {
    let (digits, rest) = text.split_at_checked(64).context("fewer than 64 hexadecimal digits")?;
    if rest.len() > 2 || rest.contains(|c| c != '\n' && c != '\r') {
        bail!("something follows the 64 hexadecimal digits and their line end");
    }
    parse(digits)
}

fn parse(digits: &str) -> Result<SecretKey> {
    // The decoder accepts a 0x prefix, geth does not.
    if digits.len() != 64 {
        bail!("a key is 64 hexadecimal digits");
    }
    let bytes = const_hex::decode_to_array(digits).map_err(|_| anyhow!("a key is 64 hexadecimal digits"))?;
    SecretKey::from_bytes(bytes).map_err(|error| anyhow!("{error}"))
}

/// Generates a key and writes its file.
fn create(path: &Path) -> Result<SecretKey> {
    let secret = generate()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| format!("cannot create the key file {}", path.display()))?;
    file.write_all(const_hex::encode(secret.expose()).as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write the key file {}", path.display()))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";

    #[test]
    fn key_files_are_geths() {
        for end in ["", "\n", "\r", "\r\n", "\n\n"] {
            assert!(parse_file(&format!("{DIGITS}{end}")).is_ok(), "{end:?}");
        }
        for end in ["\n\n\n", " ", "0", "\nx"] {
            assert!(parse_file(&format!("{DIGITS}{end}")).is_err(), "{end:?}");
        }
        assert!(parse_file(&format!("0x{DIGITS}")).is_err());
        assert!(parse_file(&format!("0x{}", &DIGITS[2..])).is_err());
        assert!(parse_file(&"0".repeat(64)).is_err(), "zero is not a key");
        assert!(parse_file(&"é".repeat(40)).is_err());
    }
}
