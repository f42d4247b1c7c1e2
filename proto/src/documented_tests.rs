//! The wire is a public interface, and its definitions are its reference: whatever has a name there says what it is.

use std::path::Path;

/// What is declared without a comment right above it. Fields may speak for themselves, and so does what is not set.
fn undocumented(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let above = std::iter::once("").chain(lines.iter().copied());
    let bare = lines
        .iter()
        .zip(above)
        .filter(|(line, above)| is_declared(line) && !above.starts_with("//"));
    bare.map(|(line, _)| *line).collect()
}

/// Whether a line declares a message, a service, a method, an enumeration or a value of one.
fn is_declared(line: &str) -> bool {
    let kinds = ["message ", "service ", "rpc ", "enum "];
    let is_value = || {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        let is_constant = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        !name.is_empty() && name.chars().all(is_constant) && !name.ends_with("_UNSPECIFIED")
    };
    kinds.iter().any(|kind| line.starts_with(kind)) || is_value()
}

#[test]
fn everything_on_the_wire_says_what_it_is() {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("adwright/v1");
    let mut files = 0;
    for entry in std::fs::read_dir(definitions).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(undocumented(&text), [""; 0], "{}", path.display());
        files += 1;
    }
    assert!(files >= 6, "{files}");
}

#[test]
fn what_has_no_comment_is_found() {
    let text = "// Said.\nmessage A {\n  uint64 n = 1;\n}\n\nenum B {\n  B_UNSPECIFIED = 0;\n  B_ONE = 1;\n  // Said.\n  B_TWO = 2;\n}\nservice C {\n  rpc D(A) returns (A);\n}\n";
    assert_eq!(
        undocumented(text),
        ["enum B {", "B_ONE = 1;", "service C {", "rpc D(A) returns (A);"]
    );
}
