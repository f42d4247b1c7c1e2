//! What Lightning puts beside a state dict: passed over there, refused in it, and never run.

use super::pickles::{tensor, text, with_pickle};
use super::*;

/// `numpy.core.multiarray.scalar(numpy.dtype("f8", False, True), _codecs.encode("...", "latin1"))`, as numpy pickles a number.
fn number_of_numpy() -> Vec<u8> {
    [
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n",
        &text("f8")[..],
        b"\x89\x88\x87R(K\x03",
        &text("<"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbc_codecs\nencode\n",
        &text("01234567"),
        &text("latin1"),
        b"\x86R\x86R",
    ]
    .concat()
}

/// `{"callbacks": {ModelCheckpoint: {"score": score}}, "state_dict": {"a": value}}`, whole.
fn lightning(score: &[u8], value: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}(",
        &text("callbacks")[..],
        b"}cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n}",
        &text("score"),
        score,
        b"ss",
        &text("state_dict"),
        b"}",
        &text("a"),
        value,
        b"su.",
    ]
    .concat()
}

#[test]
fn what_lightning_puts_beside_a_state_dict_is_passed_over_and_in_it_is_an_error() {
    let (tensor, number) = (tensor(4, 0, &[4], &[1]), number_of_numpy());
    let mut file = with_pickle(&lightning(&number, &tensor), &[0; 16]).unwrap();
    assert!(file.names().eq(["a"]));
    assert_eq!(file.read("a").unwrap(), [0; 16]);
    let class = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n";
    for value in [&number[..], class] {
        let message = message(with_pickle(&lightning(&number, value), &[0; 16]));
        assert_eq!(message, "key \"a\": expected a tensor or a plain value");
    }
    let keyed = [b"}", &class[..], &tensor, b"s."].concat();
    let message = message(with_pickle(&keyed, &[0; 16]));
    assert!(
        message.contains("a key of the state dict is no string"),
        "{message}"
    );
}

#[test]
fn nothing_that_stands_beside_a_state_dict_is_run_or_becomes_part_of_a_tensor() {
    let tensor = tensor(4, 0, &[4], &[1]);
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("made");
    let command = text(&format!("touch {}", made.display()));
    // Whatever surrounds them: other functions of the same modules, and what a shell or an interpreter would be asked.
    for global in [
        "posix.system",
        "__builtin__.eval",
        "numpy.load",
        "numpy.core.multiarray._reconstruct",
        "_codecs.decode",
        "pytorch_lightning.callbacks.model_checkpoint.os",
    ] {
        let (module, name) = global.rsplit_once('.').unwrap();
        let call = [format!("c{module}\n{name}\n").as_bytes(), &command, b"\x85R"].concat();
        let opened = with_pickle(&lightning(&call, &tensor), &[0; 16]);
        let Err(TorchError::Global { global: found, .. }) = opened else {
            panic!("{global}: {opened:?}");
        };
        assert_eq!(found, global);
    }
    // A known name is called with anything and stays a name: neither a text, nor a storage, nor a shape, nor a function.
    let inert = [b"c_codecs\nencode\n", &command[..], b"\x85R"].concat();
    assert!(with_pickle(&lightning(&inert, &tensor), &[0; 16]).is_ok());
    let storage = b"ctorch._utils\n_rebuild_tensor_v2\n((";
    let (kind, class) = (text("storage"), b"ctorch\nFloatStorage\n");
    let key = [storage, &kind[..], class, &inert, b"NK\x04tQ"].concat();
    let rebuilt = [
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &inert[..],
        b"K\0K\0K\0NNtR",
    ]
    .concat();
    for (value, expected) in [
        (key, "as persistent id"),
        (rebuilt, "a call that torch.save does not write"),
        (
            [&inert[..], b"]R"].concat(),
            "a call that torch.save does not write",
        ),
        (
            [&inert[..], b"Na"].concat(),
            "appends to something that is no list",
        ),
        (
            [&inert[..], b"NNs"].concat(),
            "sets items of something that is no dict",
        ),
    ] {
        let message = message(with_pickle(&lightning(&value, &tensor), &[0; 16]));
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(!made.exists());
}
