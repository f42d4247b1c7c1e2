//! What torch wrote, in `fixtures/torch_bin`, is read, and what of it is no plain state dict is refused.

use std::io::Cursor;

use super::*;

mod lightning;
mod pickles;
mod zips;

type Opened = Result<TorchFile<Cursor<Vec<u8>>>, TorchError>;

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
