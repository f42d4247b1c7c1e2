//! Whether today's wire still understands who speaks an earlier one: messages, fields, methods and enum values may come, none may go
//! or change its number, type, cardinality or the choice (`oneof`) that it is one of.

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};
use std::collections::BTreeMap;

/// What a wire consists of: a name, and what must stay as it is under it.
type Parts = BTreeMap<String, String>;

/// What is in `released` and not, or not the same, in `today`.
pub(crate) fn breaking_changes(released: &FileDescriptorSet, today: &FileDescriptorSet) -> Vec<String> {
    let today = parts(today);
    let change = |(name, was): (String, String)| match today.get(&name) {
        Some(is) if *is == was => None,
        Some(is) => Some(format!("{name} was {was} and is {is}")),
        None => Some(format!("{name} ({was}) is gone")),
    };
    parts(released).into_iter().filter_map(change).collect()
}

fn parts(files: &FileDescriptorSet) -> Parts {
    let mut parts = Parts::new();
    for file in &files.file {
        file.message_type
            .iter()
            .for_each(|message| add_message("", message, &mut parts));
        file.enum_type
            .iter()
            .for_each(|values| add_enum("", values, &mut parts));
        file.service
            .iter()
            .for_each(|service| add_service(service, &mut parts));
    }
    parts
}

fn add_message(within: &str, message: &DescriptorProto, parts: &mut Parts) {
    let name = format!("{within}{}", message.name());
    parts.insert(name.clone(), "a message".into());
    for field in &message.field {
        // On the wire a field is its number. Its name counts too: JSON and people use it.
        let is = format!(
            "field {} of {:?}, {:?}{}{}",
            field.number(),
            field.r#type(),
            field.label(),
            field
                .type_name
                .as_deref()
                .map(|of| format!(", {of}"))
                .unwrap_or_default(),
            choice(message, field)
                .map(|of| format!(", one of {of:?}"))
                .unwrap_or_default()
        );
        parts.insert(format!("{name}.{}", field.name()), is);
    }
    let within = format!("{name}.");
    message
        .nested_type
        .iter()
        .for_each(|nested| add_message(&within, nested, parts));
    message
        .enum_type
        .iter()
        .for_each(|values| add_enum(&within, values, parts));
}

/// The `oneof` that a field is a member of. An optional field is the only one of its own.
fn choice<'a>(message: &'a DescriptorProto, field: &FieldDescriptorProto) -> Option<&'a str> {
    let index = usize::try_from(field.oneof_index?).ok()?;
    Some(message.oneof_decl.get(index)?.name())
}

fn add_enum(within: &str, values: &EnumDescriptorProto, parts: &mut Parts) {
    for value in &values.value {
        let name = format!("{within}{}.{}", values.name(), value.name());
        parts.insert(name, format!("value {}", value.number()));
    }
}

fn add_service(service: &ServiceDescriptorProto, parts: &mut Parts) {
    for method in &service.method {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        let is = format!(
            "{}{} -> {}{}",
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type()
        );
        parts.insert(format!("{}/{}", service.name(), method.name()), is);
    }
}
