//! HTTP/1.1 by hand over a plain socket, so that a probe can send what no client library would.
//!
//! Every read and write has a deadline: a server that does not answer fails the probe, it never
//! stops the run.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::answer::Answer;

/// How long a server may think about one request.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One request as it will stand on the wire.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Ask {
        Ask { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn post(path: &str) -> Ask {
        Ask::new("POST", path)
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = body.into();
        self
    }

    /// The head with a `Content-Length` of the body, unless the probe frames it itself.
    pub fn head(&self) -> Vec<u8> {
        let mut out =
            format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        let framed = self.headers.iter().any(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        });
        if !framed {
            out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend_from_slice(&self.body);
        out
    }
}

/// One connection.
#[derive(Debug)]
pub struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub fn open(address: SocketAddr) -> Result<Line, String> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .map_err(|error| format!("connect {address}: {error}"))?;
        let set = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_nodelay(true));
        set.map_err(|error| format!("set deadlines: {error}"))?;
        Ok(Line { reader: BufReader::new(stream) })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.reader.get_mut().write_all(bytes).map_err(|error| format!("write: {error}"))
    }

    /// Says that no more bytes come, and goes on reading.
    pub fn end(&mut self) -> Result<(), String> {
        self.reader.get_ref().shutdown(Shutdown::Write).map_err(|error| format!("end: {error}"))
    }

    /// Sends a request and reads its answer, and does both at once when the request is large: a
    /// server may refuse a body before it has read all of it, and then ends the connection.
    pub fn exchange(&mut self, bytes: &[u8]) -> Result<Answer, String> {
        if bytes.len() <= 64 << 10 {
            // What counts is the answer, which may stand even if the server read nothing.
            let written = self.write(bytes);
            return self.answer().or_else(|error| written.and(Err(error)));
        }
        let mut writer =
            self.reader.get_ref().try_clone().map_err(|error| format!("clone: {error}"))?;
        thread::scope(|scope| {
            let writing = scope.spawn(move || drop(writer.write_all(bytes)));
            let answer = self.answer();
            if answer.is_err() || !writing.is_finished() {
                let _ = self.reader.get_ref().shutdown(Shutdown::Both);
            }
            answer
        })
    }

    /// The next final answer; interim ones (1xx) are passed over.
    pub fn answer(&mut self) -> Result<Answer, String> {
        loop {
            let answer = self.answer_to("POST")?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// The next answer, interim or final, to a request of this method.
    pub fn answer_to(&mut self, method: &str) -> Result<Answer, String> {
        let first = self.text_line()?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| format!("no status line: {first:?}"))?;
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.text_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("no header line: {line:?}"))?;
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if method != "HEAD" && status >= 200 && status != 204 {
            answer.body = self.answer_body(&answer)?;
        }
        Ok(answer)
    }

    fn answer_body(&mut self, answer: &Answer) -> Result<Vec<u8>, String> {
        let coding = answer.header("transfer-encoding").unwrap_or_default();
        if coding.eq_ignore_ascii_case("chunked") {
            return self.chunked_body();
        }
        let Some(length) = answer.header("content-length") else {
            let mut body = Vec::new();
            let read = self.reader.read_to_end(&mut body);
            return read.map(|_| body).map_err(|error| format!("read to the end: {error}"));
        };
        let length = length.parse().map_err(|_| format!("Content-Length {length:?}"))?;
        self.exactly(length)
    }

    fn chunked_body(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.text_line()?;
            let digits = line.split(';').next().unwrap_or(&line).trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| format!("chunk {line:?}"))?;
            body.extend(self.exactly(size)?);
            if size == 0 {
                while !self.text_line()?.is_empty() {}
                return Ok(body);
            }
            self.text_line()?;
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).map_err(|error| format!("read body: {error}"))?;
        Ok(body)
    }

    fn text_line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => return Err("the server closed the connection without an answer".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!("no answer within {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(format!("read: {error}")),
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Waits for the server to end the connection; bytes before the end are an error.
    pub fn is_ended(&mut self) -> Result<(), String> {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err("the server said more than it was asked".to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(format!("the connection stays open: {error}")),
        }
    }
}
