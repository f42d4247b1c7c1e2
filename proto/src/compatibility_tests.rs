//! The check that `build.rs` makes of the wire's definitions.

use crate::compatibility::breaking_changes;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, OneofDescriptorProto,
    ServiceDescriptorProto,
};

fn field(name: &str, number: i32) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(Type::Uint64.into()),
        label: Some(Label::Optional.into()),
        ..Default::default()
    }
}

fn choice(name: &str) -> OneofDescriptorProto {
    OneofDescriptorProto {
        name: Some(name.into()),
        ..Default::default()
    }
}

fn wire() -> FileDescriptorSet {
    let file = FileDescriptorProto {
        message_type: vec![DescriptorProto {
            name: Some("Lease".into()),
            field: vec![
                field("task", 1),
                field("ttl_ms", 2),
                FieldDescriptorProto {
                    oneof_index: Some(0),
                    ..field("wait", 3)
                },
            ],
            oneof_decl: vec![choice("answer"), choice("reason")],
            ..Default::default()
        }],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Finish".into()),
            value: vec![EnumValueDescriptorProto {
                name: Some("FINISH_STOP".into()),
                number: Some(1),
                ..Default::default()
            }],
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("LearnerService".into()),
            method: vec![MethodDescriptorProto {
                name: Some("Join".into()),
                input_type: Some(".JoinRequest".into()),
                output_type: Some(".JoinResponse".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }
}

#[test]
fn what_is_added_breaks_nothing_and_what_goes_or_changes_is_named() {
    type Change = fn(&mut FileDescriptorProto);
    let cases: [(Change, &str); 10] = [
        (|f| f.message_type[0].field.push(field("more", 4)), ""),
        (|f| f.message_type.push(DescriptorProto::default()), ""),
        (
            |f| f.message_type[0].field[1].number = Some(4),
            "Lease.ttl_ms was field 2",
        ),
        (
            |f| f.message_type[0].field[0].r#type = Some(Type::Uint32.into()),
            "Lease.task was field 1 of Uint64",
        ),
        (
            |f| f.message_type[0].field[2].oneof_index = None,
            "Lease.wait was field 3 of Uint64, Optional, one of \"answer\" and is",
        ),
        (
            |f| f.message_type[0].field[2].oneof_index = Some(1),
            "Lease.wait was field 3 of Uint64, Optional, one of \"answer\" and is",
        ),
        (
            |f| f.message_type[0].field[1].oneof_index = Some(0),
            "Lease.ttl_ms was field 2 of Uint64, Optional and is",
        ),
        (|f| f.message_type[0].field.truncate(2), "Lease.wait (field 3"),
        (
            |f| f.enum_type[0].value[0].number = Some(2),
            "Finish.FINISH_STOP was value 1",
        ),
        (
            |f| f.service[0].method[0].server_streaming = Some(true),
            "LearnerService/Join was .JoinRequest",
        ),
    ];
    for (change, expected) in cases {
        let mut today = wire();
        change(&mut today.file[0]);
        let found = breaking_changes(&wire(), &today).join("; ");
        assert!(
            found.starts_with(expected) && found.is_empty() == expected.is_empty(),
            "{found}"
        );
    }
}
