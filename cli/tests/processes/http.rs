//! Plain HTTP, one request a connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// What is answered to a request such as `GET /`, head and all.
pub(crate) fn ask(address: &str, request: &str, headers: &[&str], body: &str) -> String {
    let mut head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A role's page of numbers.
pub(crate) fn page_of(address: &str) -> String {
    let answer = ask(address, "GET /metrics", &[], "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A number on such a page.
pub(crate) fn number(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}
