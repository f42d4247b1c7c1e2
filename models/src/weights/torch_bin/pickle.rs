//! The pickle of a state dict, without Python: a stack machine that knows the opcodes and globals that
//! `torch.save` writes for one, the names that Lightning puts beside it, and nothing else. It builds plain
//! values; nothing in it could run.
//!
//! Every opcode costs at least one byte and makes at most one value; values refer to each other by number and
//! are never copied, strings stay in the input, and nothing recurses. So memory is linear in the number of
//! opcodes, which [`MAX_OPCODES`] bounds, whatever refers to what.

use std::collections::HashMap;
use std::rc::Rc;

use global::Global;

use super::Dtype;
use super::error::TorchError;
use super::zip::int;

mod global;

/// Enough for about a hundred thousand tensors; a hostile file of so many costs some 300 MB.
const MAX_OPCODES: usize = 4 << 20;
/// Longest line of a global: a module or a name.
const MAX_LINE: usize = 200;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// The number of a value.
type Id = usize;

enum Value<'a> {
    /// `None`, a truth value or a float: none of them is ever looked at.
    Plain,
    Int(i64),
    Text(&'a str),
    Tuple(Box<[Id]>),
    /// A list, whose items nothing needs.
    List,
    /// A `dict` or an `OrderedDict`.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Rc<Storage<'a>>),
    Tensor(Rc<Tensor<'a>>),
}

/// A storage as the pickle describes it; nothing of it has been compared with the file.
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    /// The last part of the name of its zip entry.
    pub(super) key: &'a str,
    pub(super) numel: u64,
}

/// A tensor as the pickle describes it.
pub(super) struct Tensor<'a> {
    pub(super) storage: Rc<Storage<'a>>,
    pub(super) offset: usize,
    pub(super) shape: Box<[usize]>,
    pub(super) strides: Box<[usize]>,
}

/// A tensor with its name.
pub(super) type Named<'a> = (&'a str, Rc<Tensor<'a>>);

/// The tensors of the state dict that a pickle is, or has under the one of `wrappers` that it has.
pub(super) fn state_dict<'a>(bytes: &'a [u8], wrappers: &[&str]) -> Result<Vec<Named<'a>>, TorchError> {
    let mut machine = Machine {
        bytes,
        ..Machine::default()
    };
    let mut opcodes = 0;
    while machine.step()? {
        opcodes += 1;
        if opcodes == MAX_OPCODES {
            return Err(machine.wrong(format!("expected at most {MAX_OPCODES} opcodes")));
        }
    }
    let root = machine.pop()?;
    let (tensors, dicts, other) = machine.items(root)?;
    let mut wrapped = dicts.iter().filter(|(key, _)| wrappers.contains(key));
    let (found, other) = match (wrapped.next(), wrapped.next()) {
        (None, _) => (tensors, other.or(dicts.first().map(|(key, _)| *key))),
        (Some((_, dict)), None) if tensors.is_empty() => {
            let (tensors, dicts, other) = machine.items(*dict)?;
            (tensors, other.or(dicts.first().map(|(key, _)| *key)))
        }
        (Some((key, _)), _) => {
            let reason = "a state dict beside a second one or a tensor, expected one state dict";
            return Err(TorchError::key(key, reason));
        }
    };
    match other {
        Some(key) => Err(TorchError::key(key, "expected a tensor or a plain value")),
        None => Ok(found),
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    /// How far `bytes` are read.
    at: usize,
    /// Where the present opcode stands.
    opcode_at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode; false at the end of the pickle.
    fn step(&mut self) -> Result<bool, TorchError> {
        self.opcode_at = self.at;
        match self.number(1)? as u8 {
            // PROTO, STOP.
            0x80 => match self.number(1)? {
                2 => {}
                found => return Err(self.wrong(format!("pickle protocol {found}, expected 2"))),
            },
            b'.' => return Ok(false),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT.
            b'N' | 0x88 | 0x89 => self.push(Value::Plain),
            b'G' => {
                self.take(8)?;
                self.push(Value::Plain);
            }
            // BININT1, BININT2, BININT, LONG1.
            b'K' => self.push_int(1, false)?,
            b'M' => self.push_int(2, false)?,
            b'J' => self.push_int(4, true)?,
            0x8a => match self.number(1)? as usize {
                len @ 0..=8 => self.push_int(len, true)?,
                len => return Err(self.wrong(format!("an integer of {len} bytes, expected at most 8"))),
            },
            // BINUNICODE.
            b'X' => {
                let len = self.number(4)? as usize;
                let text = str::from_utf8(self.take(len)?);
                let text = text.map_err(|_| self.wrong("a string that is not UTF-8"))?;
                self.push(Value::Text(text));
            }
            // MARK, TUPLE, EMPTY_TUPLE, TUPLE1 to TUPLE3.
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items.into()));
            }
            b')' => self.push(Value::Tuple(Box::default())),
            opcode @ 0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Value::Tuple(items.into()));
            }
            // EMPTY_LIST, APPEND, APPENDS.
            b']' => self.push(Value::List),
            opcode @ (b'a' | b'e') => {
                self.pop_items(opcode == b'e', 1)?;
                if !matches!(self.top()?, Value::List) {
                    return Err(self.wrong("appends to something that is no list"));
                }
            }
            // EMPTY_DICT, SETITEM, SETITEMS.
            b'}' => self.push(Value::Dict(vec![])),
            opcode @ (b's' | b'u') => {
                let items = self.pop_items(opcode == b'u', 2)?;
                match (self.top()?, items.as_chunks()) {
                    (Value::Dict(dict), (pairs, [])) => {
                        dict.extend(pairs.iter().map(|&[key, value]| (key, value)))
                    }
                    _ => return Err(self.wrong("sets items of something that is no dict, or a key alone")),
                }
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET.
            opcode @ (b'q' | b'r') => {
                let slot = self.number(if opcode == b'q' { 1 } else { 4 })?;
                let id = self.pop()?;
                self.stack.push(id);
                self.memo.insert(slot, id);
            }
            opcode @ (b'h' | b'j') => {
                let slot = self.number(if opcode == b'h' { 1 } else { 4 })?;
                let id = self.memo.get(&slot).copied();
                self.stack
                    .push(id.ok_or_else(|| self.wrong(format!("memo {slot} was never set")))?);
            }
            // GLOBAL, BINPERSID, REDUCE.
            b'c' => {
                let global = self.global()?;
                self.push(Value::Global(global));
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id);
                let expected = "expected (\"storage\", class, key, device, length) as persistent id";
                let storage = storage.ok_or_else(|| self.wrong(expected))?;
                self.push(Value::Storage(storage.into()));
            }
            b'R' => {
                let (args, function) = (self.pop()?, self.pop()?);
                let value = self.call(function, args);
                let reason = "a call that torch.save does not write, or a tensor of more than 8 dimensions";
                let value = value.ok_or_else(|| self.wrong(reason))?;
                self.push(value);
            }
            // BUILD: the attributes of an OrderedDict, such as `_metadata`, are dropped, and those of what is inert.
            b'b' => {
                self.pop()?;
                if !matches!(self.top()?, Value::Dict(_) | Value::Global(Global::Inert)) {
                    return Err(self.wrong("sets attributes of something that is no OrderedDict"));
                }
            }
            opcode => {
                let offset = self.opcode_at;
                return Err(TorchError::Opcode { offset, opcode });
            }
        }
        Ok(true)
    }

    /// Takes a class or function, named by two lines, off the input.
    fn global(&mut self) -> Result<Global, TorchError> {
        let (module, name) = (self.line()?, self.line()?);
        Global::of(module, name).ok_or_else(|| TorchError::Global {
            offset: self.opcode_at,
            global: format!("{module}.{name}"),
        })
    }

    /// The storage that a persistent id names.
    fn storage(&self, id: Id) -> Option<Storage<'a>> {
        let Value::Tuple(parts) = &self.values[id] else {
            return None;
        };
        let &[kind, class, key, _device, numel] = &parts[..] else {
            return None;
        };
        match (&self.values[kind], &self.values[class], &self.values[key]) {
            (Value::Text("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key)) => {
                Some(Storage {
                    dtype: *dtype,
                    key,
                    numel: self.size(numel)? as u64,
                })
            }
            _ => None,
        }
    }

    /// What a function makes of its arguments.
    fn call(&self, function: Id, args: Id) -> Option<Value<'a>> {
        let (Value::Global(function), Value::Tuple(args)) = (&self.values[function], &self.values[args])
        else {
            return None;
        };
        match (function, &args[..]) {
            (Global::Inert, _) => Some(Value::Global(Global::Inert)),
            (Global::OrderedDict, []) => Some(Value::Dict(vec![])),
            (Global::RebuildParameter, &[tensor, _requires_grad, _hooks]) => match &self.values[tensor] {
                Value::Tensor(tensor) => Some(Value::Tensor(tensor.clone())),
                _ => None,
            },
            // A seventh argument would hold flags that change the values: negated, conjugated.
            (Global::RebuildTensor, &[storage, offset, shape, strides, _requires_grad, _hooks]) => {
                let Value::Storage(storage) = &self.values[storage] else {
                    return None;
                };
                let tensor = Tensor {
                    storage: storage.clone(),
                    offset: self.size(offset)?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                };
                Some(Value::Tensor(tensor.into()))
            }
            _ => None,
        }
    }

    fn size(&self, id: Id) -> Option<usize> {
        match &self.values[id] {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Box<[usize]>> {
        match &self.values[id] {
            Value::Tuple(ids) if ids.len() <= MAX_RANK => ids.iter().map(|id| self.size(*id)).collect(),
            _ => None,
        }
    }

    /// The tensors of a dict, its dicts, and the first key of what is neither nor a plain value.
    #[expect(clippy::type_complexity, reason = "three lists for the one caller")]
    fn items(&self, dict: Id) -> Result<(Vec<Named<'a>>, Vec<(&'a str, Id)>, Option<&'a str>), TorchError> {
        let Value::Dict(pairs) = &self.values[dict] else {
            return Err(self.wrong("ends with something that is no dict, expected a state dict"));
        };
        let (mut tensors, mut dicts, mut other) = (vec![], vec![], None);
        for (key, value) in pairs {
            let Value::Text(key) = &self.values[*key] else {
                return Err(self.wrong("a key of the state dict is no string"));
            };
            match &self.values[*value] {
                Value::Tensor(tensor) => tensors.push((*key, tensor.clone())),
                Value::Dict(_) => dicts.push((*key, *value)),
                Value::Plain | Value::Int(_) | Value::Text(_) => {}
                _ => other = other.or(Some(*key)),
            }
        }
        Ok((tensors, dicts, other))
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn push_int(&mut self, len: usize, signed: bool) -> Result<(), TorchError> {
        let number = self.number(len)?;
        let unused = if signed && len > 0 { 64 - 8 * len } else { 0 };
        // To the top and back, so that the sign fills what is unused.
        self.push(Value::Int((number << unused) as i64 >> unused));
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, TorchError> {
        self.pop_many(1).map(|ids| ids[0])
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, TorchError> {
        let height = self.stack.len().checked_sub(count);
        match height.filter(|height| *height >= self.marks.last().copied().unwrap_or(0)) {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(self.wrong(format!(
                "expected at least {count} on the stack above the last mark"
            ))),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, TorchError> {
        let height = self.marks.pop();
        let height = height.ok_or_else(|| self.wrong("expected a mark before it"))?;
        Ok(self.stack.split_off(height))
    }

    fn pop_items(&mut self, many: bool, count: usize) -> Result<Vec<Id>, TorchError> {
        if many {
            self.pop_mark()
        } else {
            self.pop_many(count)
        }
    }

    fn top(&mut self) -> Result<&mut Value<'a>, TorchError> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values[id])
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TorchError> {
        let bytes = self.bytes[self.at..].get(..len);
        let bytes = bytes.ok_or_else(|| self.wrong(format!("expected {len} more bytes, it is cut off")))?;
        self.at += len;
        Ok(bytes)
    }

    /// A little-endian number of at most 8 bytes.
    fn number(&mut self, len: usize) -> Result<u64, TorchError> {
        Ok(int(self.take(len)?, 0, len).unwrap_or(0))
    }

    fn line(&mut self) -> Result<&'a str, TorchError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        let line = len.and_then(|len| str::from_utf8(&rest[..len]).ok());
        let line = line.ok_or_else(|| self.wrong(format!("expected names of less than {MAX_LINE} bytes")))?;
        self.at += line.len() + 1;
        Ok(line)
    }

    fn wrong(&self, reason: impl Into<String>) -> TorchError {
        TorchError::Pickle {
            offset: self.opcode_at,
            reason: reason.into(),
        }
    }
}
