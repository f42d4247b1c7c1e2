//! What a broadcast is compared with: the same bytes over one plain connection, hashed at both ends.

use anyhow::{Context as _, anyhow};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes written and read at a time.
const BUFFER: usize = 1 << 20;

/// Copies `bytes` bytes over loopback, one thread at each end.
///
/// # Errors
/// What the system says, or that the digests differ.
#[expect(clippy::disallowed_methods, reason = "a measurement of two plain threads")]
pub(super) fn copy(bytes: usize) -> anyhow::Result<Duration> {
    let content: Vec<u8> = (0..bytes).map(|i| (i / 3) as u8).collect();
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("cannot listen")?;
    let receiver = thread::spawn(move || -> std::io::Result<blake3::Hash> {
        let (mut stream, _) = listener.accept()?;
        let (mut hasher, mut kept) = (blake3::Hasher::new(), Vec::with_capacity(bytes));
        let mut buffer = vec![0; BUFFER];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                read => {
                    hasher.update(&buffer[..read]);
                    kept.extend_from_slice(&buffer[..read]);
                }
            }
        }
    });
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    let mut hasher = blake3::Hasher::new();
    for part in content.chunks(BUFFER) {
        hasher.update(part);
        stream.write_all(part).context("cannot send")?;
    }
    drop(stream);
    let received = receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
    let took = begun.elapsed();
    match received.context("cannot receive")? == hasher.finalize() {
        true => Ok(took),
        false => Err(anyhow!("the copy has another digest")),
    }
}
