//! What a service says first on a connection in plain text: whether it speaks HTTP/2 at all, as gRPC does.

use super::Trouble;
use proto::tls::HandshakeError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a caller begins with (RFC 9113, 3.4): the preface, and a frame with no settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Bytes of a frame's head; the fourth is its type, and the first frame is one of settings.
const HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// The first byte of a TLS record that says why a connection ends.
const ALERT: u8 = 0x15;

/// Most bytes of something else that are repeated.
const MOST: u64 = 64;

/// Greets, and hears whether the answer is one of HTTP/2.
///
/// # Errors
/// [`Trouble::Unproven`] when it is one of TLS, [`Trouble::OtherProtocol`] when it is any other, [`Trouble::Unreachable`] when there is none.
pub(super) async fn exchange(mut connection: TcpStream) -> Result<(), Trouble> {
    let mut said = vec![];
    let exchanged = async {
        connection.write_all(GREETING).await?;
        let mut answer = (&mut connection).take(MOST);
        while said.len() < HEAD && answer.read_buf(&mut said).await? > 0 {}
        std::io::Result::Ok(())
    };
    let exchanged = exchanged.await;
    match (said.first(), said.get(3)) {
        (Some(&ALERT), _) => Err(Trouble::Unproven(HandshakeError::Secured.to_string())),
        (_, Some(&SETTINGS)) => Ok(()),
        (None, _) => Err(Trouble::Unreachable(exchanged.err().map_or_else(
            || "the connection was closed at once".into(),
            |error| error.to_string(),
        ))),
        (Some(_), _) => {
            let line = said.split(|&byte| byte == b'\r' || byte == b'\n').next();
            let line = String::from_utf8_lossy(line.unwrap_or_default());
            Err(Trouble::OtherProtocol(format!("it says {line:?}")))
        }
    }
}
