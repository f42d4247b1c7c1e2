//! Pickles made by hand: what lies, calls or asks for more than a state dict needs is refused at once.

use super::zips::zip_of;
use super::*;

pub(super) fn with_pickle(pickle: &[u8], storage: &[u8]) -> Opened {
    let entries = [
        ("m/data.pkl", pickle),
        ("m/byteorder", b"little"),
        ("m/data/0", storage),
    ];
    TorchFile::new(Cursor::new(zip_of(&entries, |_, _| {})))
}

fn int(number: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &number.to_le_bytes()].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// `(numbers...)`.
fn tuple(numbers: &[i64]) -> Vec<u8> {
    let numbers: Vec<_> = numbers.iter().flat_map(|number| int(*number)).collect();
    [b"(", &numbers[..], b"t"].concat()
}

/// A tensor of the storage `0` of `numel` f32.
pub(super) fn tensor(numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &int(numel),
        b"tQ",
        &int(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89}tR",
    ]
    .concat()
}

/// `{"a": value}`, whole.
pub(super) fn dict_of(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}", &text("a")[..], value, b"s."].concat()
}

#[test]
fn hostile_pickles_are_refused_at_the_first_thing_that_no_state_dict_needs() {
    for (name, expected) in [("system", "posix.system"), ("eval", "__builtin__.eval")] {
        let opened = open(&format!("hostile_{name}"));
        let Err(TorchError::Global { global, .. }) = opened else {
            panic!("{name}: {opened:?}");
        };
        assert_eq!(global, expected);
    }
    assert!(matches!(
        open("hostile_stack_global"),
        Err(TorchError::Pickle { offset: 0, .. })
    ));
    let text = open("hostile_text");
    assert!(matches!(text, Err(TorchError::Global { offset: 0, global }) if global == "os.system"));
    // Without a protocol before it, so that the opcode itself is looked at: STACK_GLOBAL, NEWOBJ, INST, EXT1.
    for opcode in [0x93, 0x81, b'i', 0x82] {
        let opened = with_pickle(&[b"}X\x01\0\0\0aX\x01\0\0\0b", &[opcode][..]].concat(), &[]);
        assert!(matches!(opened, Err(TorchError::Opcode { offset: 13, opcode: found }) if found == opcode));
    }
}

#[test]
fn functions_of_the_list_called_in_other_ways_are_errors() {
    let expected = [
        (&b"}}R."[..], "a call that"),
        (b"ccollections\nOrderedDict\n]\x85R.", "a call that"),
        (b"ctorch\nFloatStorage\n)R.", "a call that"),
        (b"ctorch._utils\n_rebuild_parameter\n}\x88}\x87R.", "a call that"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "a call that"),
        (b"NQ.", "as persistent id"),
        (b"NNb.", "sets attributes of something that is no OrderedDict"),
        (b"NNa.", "appends to something that is no list"),
        (b"}(Nu.", "or a key alone"),
        (b"NNNs.", "sets items of something that is no dict"),
        (b"}NNs.", "a key of the state dict is no string"),
        (
            b"}(NNs.",
            "data.pkl, byte 4: expected at least 1 on the stack above the last mark",
        ),
        (b"}(s.", "expected at least 2 on the stack"),
        (b"u.", "expected a mark before it"),
        (b".", "expected at least 1 on the stack"),
        (b"h\x07.", "memo 7 was never set"),
        (b"\x8a\x09aaaaaaaaa.", "an integer of 9 bytes, expected at most 8"),
        (b"X\xff\xff\xff\xffab.", "expected 4294967295 more bytes"),
        (b"X\x01\0\0\0\xff.", "a string that is not UTF-8"),
        (b"cos", "expected names of less than 200 bytes"),
    ];
    for (pickle, expected) in expected {
        let message = message(with_pickle(pickle, &[]));
        assert!(message.contains(expected), "{}: {message}", pickle.escape_ascii());
    }
}

#[test]
fn tensors_that_lie_about_their_storage_are_errors_that_name_the_key() {
    let huge = i64::MAX;
    let expected = [
        (
            tensor(5, 0, &[4], &[1]),
            "a storage of 5 elements, but the file has 4 of them",
        ),
        (tensor(huge, 0, &[4], &[1]), "but the file has 4 of them"),
        (tensor(4, 0, &[5], &[1]), "reaches past its storage of 4 elements"),
        (
            tensor(4, 1, &[4], &[1]),
            "shape [4] with strides [1] from element 1 on reaches past",
        ),
        (tensor(4, huge, &[1], &[1]), "reaches past"),
        (tensor(3, 0, &[4], &[1]), "reaches past its storage of 3 elements"),
        (tensor(4, 0, &[2, 2], &[3, 1]), "reaches past"),
        (tensor(4, 0, &[2], &[huge]), "reaches past"),
        (tensor(4, 0, &[huge, huge, 4], &[0, 0, 1]), "reaches past"),
        (tensor(4, 0, &[3, 3], &[huge, huge]), "reaches past"),
        (tensor(4, 0, &[4], &[1, 1]), "expected as many of both"),
        (
            tensor(4, 0, &[1 << 40], &[0]),
            "1099511627776 elements made of 1, expected at most 262144",
        ),
        (
            tensor(4, 0, &[1 << 20, 4], &[0, 1]),
            "4194304 elements made of 4, expected at most 262144",
        ),
    ];
    for (tensor, expected) in expected {
        let message = message(with_pickle(&dict_of(&tensor), &[0; 16]));
        assert!(
            message.starts_with("key \"a\": ") && message.contains(expected),
            "{message}"
        );
    }
    for tensor in [
        tensor(4, 0, &[-1], &[1]),
        tensor(4, -1, &[1], &[1]),
        tensor(-4, 0, &[1], &[1]),
        tensor(4, 0, &[1; 9], &[1; 9]),
    ] {
        assert!(matches!(
            with_pickle(&dict_of(&tensor), &[0; 16]),
            Err(TorchError::Pickle { .. })
        ));
    }
    let sound = [
        tensor(4, 0, &[4], &[1]),
        tensor(4, 0, &[1, 4, 1], &[huge, 1, huge]),
        tensor(4, 3, &[1000], &[0]),
        tensor(4, huge, &[huge, 0, huge], &[huge, huge, huge]),
    ];
    for (tensor, numel) in sound.iter().zip([4, 4, 1000, 0]) {
        let mut file = with_pickle(&dict_of(tensor), &[0; 16]).unwrap();
        assert_eq!(file.entry("a").unwrap().numel(), numel);
        assert_eq!(file.read("a").unwrap(), vec![0; 4 * numel]);
    }
}

#[test]
fn a_name_that_is_too_long_or_there_twice_is_an_error() {
    let tensor = tensor(4, 0, &[4], &[1]);
    let of = |names: &[&str]| {
        let items: Vec<_> = names
            .iter()
            .flat_map(|name| [&text(name), &tensor[..]].concat())
            .collect();
        with_pickle(&[b"}(", &items[..], b"u."].concat(), &[0; 16])
    };
    assert_eq!(of(&["a", &"b".repeat(1024)]).unwrap().names().count(), 2);
    for names in [["a", "a"], ["a", &"ü".repeat(513)]] {
        let message = message(of(&names));
        assert!(
            message.ends_with("expected once, in a key of at most 1024 bytes"),
            "{message}"
        );
        assert!(message.len() < 600);
    }
}
