use std::io::Cursor;

use super::*;

mod lightning;

type Opened = Result<TorchFile<Cursor<Vec<u8>>>, TorchError>;
/// Name and data of a zip entry.
type Part<'a> = (&'a str, &'a [u8]);

fn open(name: &str) -> Opened {
    TorchFile::new(Cursor::new(fixture(name)))
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/torch_bin");
    std::fs::read(format!("{directory}/torch_bin_{name}.bin")).unwrap()
}

fn f32s(file: &mut TorchFile<Cursor<Vec<u8>>>, name: &str) -> Vec<f32> {
    assert_eq!(file.entry(name).unwrap().dtype, Dtype::F32);
    let bytes = file.read(name).unwrap();
    let (chunks, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

fn message(opened: Opened) -> String {
    opened.unwrap_err().to_string()
}

/// A zip file of stored entries; `edit` may change the records of the directory.
fn zip_of(entries: &[Part], edit: impl Fn(&str, &mut [u8])) -> Vec<u8> {
    let (mut bytes, mut directory) = (vec![], vec![]);
    for (name, data) in entries {
        let len = (data.len() as u32).to_le_bytes();
        let header = [
            &[0; 12][..], // Flags, method, time, checksum.
            &len,
            &len,
            &(name.len() as u16).to_le_bytes(),
        ]
        .concat();
        let mut record = [
            b"PK\x01\x02\x14\0\x14\0",
            &header[..],
            &[0; 12],
            &(bytes.len() as u32).to_le_bytes(),
        ]
        .concat();
        edit(name, &mut record);
        directory.extend([&record, name.as_bytes()].concat());
        bytes.extend([b"PK\x03\x04\x14\0", &header[..], &[0; 2], name.as_bytes(), data].concat());
    }
    let (at, len) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    let count = (entries.len() as u16).to_le_bytes();
    bytes.extend(
        [
            b"PK\x05\x06\0\0\0\0",
            &count[..],
            &count,
            &len.to_le_bytes(),
            &at.to_le_bytes(),
            &[0; 2],
        ]
        .concat(),
    );
    bytes
}

fn with_pickle(pickle: &[u8], storage: &[u8]) -> Opened {
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

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// `(numbers...)`.
fn tuple(numbers: &[i64]) -> Vec<u8> {
    let numbers: Vec<_> = numbers.iter().flat_map(|number| int(*number)).collect();
    [b"(", &numbers[..], b"t"].concat()
}

/// A tensor of the storage `0` of `numel` f32.
fn tensor(numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
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
fn dict_of(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}", &text("a")[..], value, b"s."].concat()
}

#[test]
fn every_number_format_of_torch_is_read() {
    let mut file = open("formats").unwrap();
    let expected: [(&str, Dtype, &[u8]); 10] = [
        ("bf16", Dtype::BF16, &[0, 0, 0x80, 0x3f, 0x40, 0x40]),
        ("bool", Dtype::Bool, &[0, 1, 1]),
        ("f16", Dtype::F16, &[0, 0, 0, 0x3c, 0, 0x42]),
        (
            "f32",
            Dtype::F32,
            &[0f32, 1.0, 3.0].map(f32::to_le_bytes).concat(),
        ),
        (
            "f64",
            Dtype::F64,
            &[0f64, 1.0, 3.0].map(f64::to_le_bytes).concat(),
        ),
        ("i16", Dtype::I16, &[0, 0, 1, 0, 3, 0]),
        ("i32", Dtype::I32, &[0i32, 1, 3].map(i32::to_le_bytes).concat()),
        ("i64", Dtype::I64, &[0i64, 1, 3].map(i64::to_le_bytes).concat()),
        ("i8", Dtype::I8, &[0, 1, 3]),
        ("u8", Dtype::U8, &[0, 1, 3]),
    ];
    assert!(file.names().eq(expected.iter().map(|(name, ..)| *name)));
    for (name, dtype, bytes) in expected {
        let entry = file.entry(name).unwrap();
        assert_eq!((entry.dtype, entry.shape.as_slice()), (dtype, &[3][..]), "{name}");
        assert_eq!(file.read(name).unwrap(), bytes, "{name}");
    }
}

#[test]
fn a_module_and_its_parameters_give_the_same_tensors() {
    for name in ["module", "parameters"] {
        let mut file = open(name).unwrap();
        assert!(file.names().eq(["0.bias", "0.weight", "1.bias", "1.weight"]));
        assert_eq!(file.entry("0.weight").unwrap().shape, [3, 2]);
        assert_eq!(f32s(&mut file, "0.weight"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(f32s(&mut file, "0.bias"), [10.0, 11.0, 12.0]);
        assert_eq!(f32s(&mut file, "1.bias"), [30.0, 31.0, 32.0]);
    }
}

#[test]
fn views_are_gathered_in_row_major_order_and_share_their_storage() {
    let mut file = open("views").unwrap();
    let base: Vec<f32> = (0..12).map(|number| number as f32).collect();
    let expected: [(&str, &[usize], &[f32]); 9] = [
        ("base", &[3, 4], &base),
        (
            "transposed",
            &[4, 3],
            &[0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0],
        ),
        ("cut", &[2, 2], &[5.0, 6.0, 9.0, 10.0]),
        ("every_second", &[6], &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]),
        (
            "permuted",
            &[2, 3, 2],
            &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0],
        ),
        ("expanded", &[3, 5], &[[0.0; 5], [4.0; 5], [8.0; 5]].concat()),
        ("scalar", &[], &[11.0]),
        ("empty", &[0, 4], &[]),
        ("empty_view", &[0, 4], &[]),
    ];
    let storage = file.entry("base").unwrap().storage_file_offset;
    for (name, shape, values) in expected {
        assert_eq!(f32s(&mut file, name), values, "{name}");
        let entry = file.entry(name).unwrap();
        assert_eq!(
            (entry.shape.as_slice(), entry.numel()),
            (shape, values.len()),
            "{name}"
        );
        assert_eq!(entry.storage_file_offset == storage, name != "empty", "{name}");
    }
}

#[test]
fn a_wrapped_state_dict_is_found_and_plain_values_are_skipped() {
    for name in ["wrapped", "plain_values"] {
        let mut file = open(name).unwrap();
        assert!(file.names().eq(["a"]));
        assert_eq!(f32s(&mut file, "a"), [0.0, 1.0, 2.0]);
    }
}

#[test]
fn a_file_is_opened_by_path_and_an_unknown_tensor_is_an_error() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/torch_bin");
    let mut file = TorchFile::open(&Path::new(directory).join("torch_bin_views.bin")).unwrap();
    assert_eq!(file.read("scalar").unwrap(), 11f32.to_le_bytes());
    let error = file.read("scale").unwrap_err();
    assert_eq!(error.to_string(), r#"tensor "scale" is not in the checkpoint"#);
    assert!(matches!(
        TorchFile::open(Path::new(directory)),
        Err(TorchError::Io(_))
    ));
}

#[test]
fn what_is_no_plain_state_dict_is_an_error_that_says_why() {
    let expected = [
        ("list_value", "key \"sizes\": expected a tensor or a plain value"),
        (
            "two_models",
            "key \"model\": a state dict beside a second one or a tensor",
        ),
        ("tensor_alone", "ends with something that is no dict"),
        (
            "uint16",
            "global \"torch._utils._rebuild_tensor_v3\" is not allowed",
        ),
        ("complex", "global \"torch.ComplexFloatStorage\" is not allowed"),
        (
            "sparse",
            "global \"torch._utils._rebuild_sparse_tensor\" is not allowed",
        ),
        (
            "whole_module",
            "global \"torch.nn.modules.container.Sequential\" is not allowed",
        ),
        ("negated", "a call that torch.save does not write"),
        ("protocol_4", "pickle protocol 4, expected 2"),
        ("before_1_6", "the format of torch before 1.6"),
        (
            "compressed",
            "entry 0 of its directory is cut off, compressed or encrypted",
        ),
    ];
    for (name, expected) in expected {
        let message = message(open(name));
        assert!(message.contains(expected), "{name}: {message}");
    }
    assert!(matches!(open("before_1_6"), Err(TorchError::OldFormat)));
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

#[test]
fn zip_files_that_lie_are_errors() {
    let pickle = dict_of(&tensor(4, 0, &[4], &[1]));
    let entries = [("m/data.pkl", &pickle[..]), ("m/data/0", &[0; 16])];
    let opened =
        |entries: &[Part], edit: &dyn Fn(&str, &mut [u8])| TorchFile::new(Cursor::new(zip_of(entries, edit)));
    assert!(opened(&entries, &|_, _| {}).is_ok());

    // Sizes, offset, checks of the record in the directory.
    let edits: [(&str, usize, &[u8], &str); 8] = [
        (
            "m/data/0",
            20,
            &[17, 0, 0, 0, 17, 0, 0, 0],
            "entry \"m/data/0\" is misplaced or cut off",
        ),
        (
            "m/data/0",
            20,
            &[15, 0, 0, 0, 15, 0, 0, 0],
            "the file has 3 of them",
        ),
        ("m/data/0", 20, &[15, 0, 0, 0], "entry 1 of its directory"),
        ("m/data/0", 20, &[0xff; 8], "entry 1 of its directory"),
        ("m/data/0", 42, &[1, 0, 0, 0], "entry \"m/data/0\" is misplaced"),
        (
            "m/data/0",
            42,
            &[0xfe, 0xff, 0xff, 0xff],
            "entry \"m/data/0\" is misplaced",
        ),
        (
            "m/data.pkl",
            8,
            &[1, 0],
            "entry 0 of its directory is cut off, compressed or encrypted",
        ),
        (
            "m/data.pkl",
            10,
            &[8, 0],
            "entry 0 of its directory is cut off, compressed or encrypted",
        ),
    ];
    for (name, at, bytes, expected) in edits {
        let edit = |found: &str, record: &mut [u8]| {
            if found == name {
                record[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        let message = message(opened(&entries, &edit));
        assert!(message.contains(expected), "{name} {at}: {message}");
    }

    let pickle = entries[0];
    let lies: [(&[Part], &str); 6] = [
        (&[pickle], "key \"a\": its storage is not in the file"),
        (&[pickle, pickle], "two entries \"m/data.pkl\""),
        (&[entries[1]], "expected one entry data.pkl"),
        (&[pickle, ("data.pkl", pickle.1)], "expected one entry data.pkl"),
        (&[pickle, ("m/byteorder", b"big")], "byteorder is not little"),
        (
            &[pickle, ("m/byteorder", &[b'l'; 17])],
            "is 17 bytes, expected at most 16",
        ),
    ];
    for (entries, expected) in lies {
        let message = message(opened(entries, &|_, _| {}));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn sizes_and_offsets_in_zip64_fields_are_read() {
    // What a shard of more than 4 GiB has: a record with all three numbers in the extra field, behind another.
    let field = [
        &b"ab\x03\0xyz\x01\0\x18\0"[..],
        &(5u64 << 32).to_le_bytes(),
        &(5u64 << 32).to_le_bytes(),
        &(6u64 << 32).to_le_bytes(),
    ]
    .concat();
    let mut record = [0; 46];
    record[..4].copy_from_slice(b"PK\x01\x02");
    record[20..28].fill(0xff);
    record[28..32].copy_from_slice(&[1, 0, field.len() as u8, 0]);
    record[42..].fill(0xff);
    let directory = [&record, &b"n"[..], &field, b"rest"].concat();
    let mut rest = &directory[..];
    assert_eq!(zip::next_entry(&mut rest), Some(("n", (6 << 32, 5 << 32))));
    assert_eq!(rest, b"rest");
}
