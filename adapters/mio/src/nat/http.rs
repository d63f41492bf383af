//! One HTTP/1.1 request and its answer, as far as gateways need them: no redirects, no reuse, everything bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Trouble, left};

/// An answer's size, head and body: descriptions of gateways have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// The time for a request and its answer, as in geth.
const LIMIT: Duration = Duration::from_secs(3);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// An open connection to a gateway.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    at: SocketAddr,
    deadline: Instant,
}

impl Client {
    /// Connects.
    pub(super) fn connect(at: SocketAddr) -> Result<Self, Trouble> {
        Ok(Self { stream: TcpStream::connect_timeout(&at, LIMIT)?, at, deadline: Instant::now() + LIMIT })
    }

    /// The address of this machine that the gateway sees.
    pub(super) fn local_addr(&self) -> Result<SocketAddr, Trouble> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends a request and reads the answer. `headers` end in line breaks.
    pub(super) fn request(mut self, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer, Trouble> {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.at,
            body.len(),
        );
        self.stream.set_write_timeout(Some(LIMIT))?;
        self.stream.write_all(text.as_bytes())?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let time = left(self.deadline).ok_or(Trouble::Silent(self.at))?;
            self.stream.set_read_timeout(Some(time))?;
            let n = self.stream.read(&mut buffer).map_err(|_| Trouble::Silent(self.at))?;
            received.extend_from_slice(&buffer[..n]);
            if let Some(answer) = parse(&received, n == 0)? {
                return Ok(answer);
            }
            if n == 0 || received.len() > ANSWER_BYTES_MAX {
                return Err(Trouble::Malformed("an incomplete answer, or one that is too long"));
            }
        }
    }
}

/// The answer, once it is complete.
fn parse(received: &[u8], is_at_end: bool) -> Result<Option<Answer>, Trouble> {
    let malformed = |_| Trouble::Malformed("not HTTP");
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(at) = head.parse(received).map_err(malformed)? else { return Ok(None) };
    let (status, rest) = (head.code.unwrap_or(0), &received[at..]);
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else if let Some(length) = header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        rest.get(..length).map(<[u8]>::to_vec)
    } else {
        is_at_end.then(|| rest.to_vec())
    };
    Ok(body.map(|body| Answer { status, body }))
}

/// The content of all chunks, once the last one is there.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest).map_err(|_| Trouble::Malformed("a chunk"))?;
        let httparse::Status::Complete((at, size)) = size else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= ANSWER_BYTES_MAX);
        let size = size.ok_or(Trouble::Malformed("a chunk that is too long"))?;
        let Some(chunk) = rest.get(at..at + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        // A line break follows each chunk.
        let Some(next) = rest.get(at + size + 2..) else { return Ok(None) };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(received: &str, is_at_end: bool) -> Option<(u16, String)> {
        let answer = parse(received.as_bytes(), is_at_end).unwrap()?;
        Some((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    #[test]
    fn bodies_end_by_length_by_chunk_or_with_the_stream() {
        let whole = |status, text: &str| Some((status, text.to_owned()));
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false), whole(200, "abc"));
        assert_eq!(body("HTTP/1.0 500 x\r\n\r\nabc", false), None);
        assert_eq!(body("HTTP/1.0 500 x\r\n\r\nabc", true), whole(500, "abc"));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunks, false), whole(200, "abcde"));
        for end in 0..chunks.len() - "\r\n\r\n".len() - 1 {
            assert_eq!(body(&chunks[..end], false), None, "cut at {end}");
        }
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for text in ["hello there\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"] {
            assert!(parse(text.as_bytes(), false).is_err(), "{text}");
        }
        let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffff0\r\n";
        assert!(parse(huge.as_bytes(), false).is_err());
    }
}
