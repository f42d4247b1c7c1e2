//! A bucket that keeps what it is given first and answers that it has failed: its client asks again by itself, and is then told that
//! something is there. It may also deny to tell what is there.

use super::*;
use object_store::aws::AmazonS3Builder;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

/// What is under the one key that is asked about.
#[derive(Default)]
struct Bucket {
    bytes: Option<Vec<u8>>,
    puts: usize,
    /// Whether nobody may look up or list what is there.
    hides: bool,
}

impl Bucket {
    /// Status, and bytes. `once`: whether only what is new is to be written.
    fn answer(&mut self, method: &str, once: bool, body: Vec<u8>) -> (&'static str, Vec<u8>) {
        match (method, &self.bytes) {
            ("HEAD" | "LIST", _) if self.hides => ("403 Forbidden", vec![]),
            ("PUT", None) => {
                (self.bytes, self.puts) = (Some(body), self.puts + 1);
                ("500 Internal Server Error", vec![])
            }
            ("PUT", Some(_)) if once => {
                self.puts += 1;
                ("412 Precondition Failed", vec![])
            }
            ("PUT", Some(_)) => {
                (self.bytes, self.puts) = (Some(body), self.puts + 1);
                ("200 OK", vec![])
            }
            (_, Some(bytes)) => ("200 OK", bytes.clone()),
            (_, None) => ("404 Not Found", vec![]),
        }
    }
}

/// Serves one request of a connection.
fn serve(stream: TcpStream, bucket: &Mutex<Bucket>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let (mut request, mut length, mut once) = (String::new(), 0, false);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("if-none-match", _)) => once = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let method = match request.contains("?list-type=2") {
        true => "LIST",
        false => request.split(' ').next().unwrap(),
    };
    let (status, bytes) = bucket.lock().unwrap().answer(method, once, body);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"1\"\r\nlast-modified: Mon, 30 Nov 2026 00:00:00 GMT\r\nconnection: close\r\n\r\n",
        bytes.len()
    );
    (&stream).write_all(&[head.as_bytes(), &bytes].concat())
}

/// A store in this bucket.
fn store_in(bucket: &Arc<Mutex<Bucket>>) -> Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let served = bucket.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &served).unwrap();
        }
    });
    crate::backend::cryptography();
    let client = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_bucket_name("bucket")
        .with_region("nowhere")
        .with_access_key_id("id")
        .with_secret_access_key("secret")
        .build()
        .unwrap();
    Store::over(Arc::new(client), "s3://bucket".parse().unwrap())
}

#[tokio::test]
async fn what_a_bucket_has_kept_and_not_acknowledged_is_created() {
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let store = store_in(&bucket);
    store.create("manifest", &b"first"[..]).await.unwrap();
    assert_eq!(bucket.lock().unwrap().puts, 2, "the client asks again");
    // As whoever has lost that answer too.
    store.create("manifest", &b"first"[..]).await.unwrap();
    let refusal = store.create("manifest", &b"second"[..]).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Exists { .. }), "{refusal:?}");
    assert_eq!(bucket.lock().unwrap().bytes.as_deref(), Some(&b"first"[..]));
}

#[tokio::test]
async fn other_bytes_under_a_digest_are_replaced_where_a_bucket_does_not_tell_of_them() {
    let bucket = Arc::new(Mutex::new(Bucket {
        bytes: Some(b"pict".to_vec()),
        hides: true,
        ..Bucket::default()
    }));
    let store = store_in(&bucket);
    let stored = store.put_content("products", &b"picture"[..]).await.unwrap();
    assert_eq!(stored, digest(b"picture"));
    assert_eq!(bucket.lock().unwrap().bytes.as_deref(), Some(&b"picture"[..]));
    store.put_content("products", &b"picture"[..]).await.unwrap();
    assert_eq!(
        bucket.lock().unwrap().puts,
        3,
        "bytes that are there are not written again"
    );
}

#[tokio::test]
async fn a_listing_that_is_not_allowed_is_a_denial_and_says_whose_credentials_were_used() {
    let bucket = Arc::new(Mutex::new(Bucket {
        hides: true,
        ..Bucket::default()
    }));
    let store = Store {
        credentials: "credentials: of a test".into(),
        ..store_in(&bucket)
    };
    let refusal = store.list("runs").await.unwrap_err();
    assert!(
        matches!(&refusal, StoreError::Denied { credentials, .. } if credentials.contains("of a test")),
        "{refusal:?}"
    );
}
