//! Reads the pickles of PyTorch files as data. Nothing in them is executed: of Python's functions and classes only those of a state
//! dict are known, and each has its meaning here.
//!
//! Values lie in one table and name each other by position, as they do in Python: containers may share parts or hold themselves, so
//! whoever walks the table bounds depth and visits.

mod input;

use super::scalar::Scalar;
use input::Input;
use std::collections::HashMap;
use std::io::BufRead;

/// Values put on the stack while reading a pickle.
const MAX_PUSHES: usize = 4 << 20;
/// Dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Position of a value in the table.
pub(super) type Id = usize;

/// A value of the pickle.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Something that holds no tensor: a float, None, an object of a library.
    Opaque,
    /// An integer or truth value that fits.
    Int(i64),
    /// Text.
    Str(String),
    /// A tuple or list.
    List(Vec<Id>),
    /// Keys and values in order.
    Dict(Vec<(Id, Id)>),
    /// A known function or class.
    Global(Global),
    /// Position in [`Pickle::storages`].
    Storage(usize),
    /// A view of a storage.
    Tensor(View),
}

/// The functions and classes that are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// `OrderedDict` and the like.
    Dict,
    /// `_rebuild_tensor_v2(storage, offset, shape, stride, ..)`; with a type in `_rebuild_tensor_v3`.
    Tensor,
    /// `_rebuild_parameter(tensor, ..)`.
    Parameter,
    /// `torch.Size(dims)`.
    Size,
    /// `torch.FloatStorage`; without a type `UntypedStorage`.
    Storage(Option<Scalar>),
    /// `torch.float32`.
    Type(Scalar),
    /// Makes something that holds no tensor.
    Inert,
}

/// A storage that the pickle refers to.
#[derive(Clone, Debug)]
pub(super) struct StorageRef {
    /// Its name in the container.
    pub key: String,
    /// Type of its numbers, if it has one.
    pub scalar: Option<Scalar>,
    /// Where this view of it begins, in numbers; old files only.
    pub offset: usize,
}

/// A tensor: which numbers of which storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Position in [`Pickle::storages`].
    pub storage: usize,
    /// Type of the numbers.
    pub scalar: Scalar,
    /// First number.
    pub offset: usize,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Numbers from one index of a dimension to the next.
    pub stride: Vec<usize>,
}

/// A whole pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    /// All values.
    pub values: Vec<Value>,
    /// Storages that tensors refer to.
    pub storages: Vec<StorageRef>,
    /// The value that was pickled.
    pub root: Id,
}

/// Why a pickle cannot be read.
#[derive(Debug)]
pub(super) enum PickleError {
    /// Byte and reason.
    Bad(u64, String),
    /// It needs code: module and name.
    Global(String),
}

type Result<T> = std::result::Result<T, PickleError>;

/// Reads one pickle up to its end.
pub(super) fn read(input: &mut impl BufRead) -> Result<Pickle> {
    let mut machine = Machine {
        input: Input::new(input),
        values: Vec::new(),
        storages: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        pushes: 0,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle { values: machine.values, storages: machine.storages, root })
}

/// What a pickle's module and name mean; `None` if they are not known to be data.
fn known(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Global::Dict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => Global::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch", "Size") => Global::Size,
        ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Global::Storage(None),
        ("torch" | "torch.cuda", name) if name.ends_with("Storage") => Global::Storage(Some(Scalar::of_storage(name)?)),
        ("torch", "device") => Global::Inert,
        ("torch", name) => Global::Type(Scalar::of_dtype(name)?),
        ("collections", "Counter")
        | ("argparse", "Namespace")
        | ("pathlib", "PosixPath")
        | ("_codecs", "encode")
        | ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray" | "complex" | "slice")
        | ("numpy", "dtype" | "ndarray")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Global::Inert,
        _ => return None,
    })
}

/// Python's pickle machine: a stack, marks in it, a memo.
struct Machine<'a, R> {
    input: Input<'a, R>,
    values: Vec<Value>,
    storages: Vec<StorageRef>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    pushes: usize,
}

impl<R: BufRead> Machine<'_, R> {
    /// Carries out one instruction; false at the end of the pickle.
    fn step(&mut self) -> Result<bool> {
        match self.input.byte()? {
            0x80 => drop(self.input.byte()?),          // PROTO
            0x95 => drop(self.input.array::<8>()?),    // FRAME
            b'.' => return Ok(false),                  // STOP
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' => drop(self.pop()?),                 // POP
            b'1' => drop(self.pop_mark()?),            // POP_MARK
            b'2' => {
                let top = self.top()?; // DUP
                self.push_id(top)?;
            }
            b'N' => self.push(Value::Opaque)?,
            b'G' => {
                self.input.array::<8>()?; // BINFLOAT
                self.push(Value::Opaque)?;
            }
            0x88 => self.push(Value::Int(1))?, // NEWTRUE
            0x89 => self.push(Value::Int(0))?, // NEWFALSE
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?); // BININT
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let value = self.input.byte()?; // BININT1
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?); // BININT2
                self.push(Value::Int(value.into()))?;
            }
            0x8a => {
                let len = self.input.byte()?; // LONG1
                self.long(len.into())?;
            }
            0x8b => {
                let len = u32::from_le_bytes(self.input.array()?); // LONG4
                self.long(len.into())?;
            }
            b'X' => self.string4()?,        // BINUNICODE
            0x8c | b'U' => self.string1()?, // SHORT_BINUNICODE, SHORT_BINSTRING
            b'T' => self.string4()?,        // BINSTRING
            0x8d => {
                let len = u64::from_le_bytes(self.input.array()?); // BINUNICODE8
                let text = self.input.text(len)?;
                self.push(Value::Str(text))?;
            }
            b'B' => {
                let len = u32::from_le_bytes(self.input.array()?); // BINBYTES
                self.input.bytes(len.into())?;
                self.push(Value::Opaque)?;
            }
            b'C' => {
                let len = self.input.byte()?; // SHORT_BINBYTES
                self.input.bytes(len.into())?;
                self.push(Value::Opaque)?;
            }
            b')' | b']' => self.push(Value::List(Vec::new()))?, // EMPTY_TUPLE, EMPTY_LIST
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?; // TUPLE, LIST, FROZENSET
                self.push(Value::List(items))?;
            }
            count @ 0x85..=0x87 => {
                let count = usize::from(count - 0x84); // TUPLE1, TUPLE2, TUPLE3
                let at = self.floor(count)?;
                let items = self.stack.split_off(at);
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?; // APPENDS, ADDITEMS
                self.append(items)?;
            }
            0x8f => self.push(Value::List(Vec::new()))?, // EMPTY_SET
            b'}' => self.push(Value::Dict(Vec::new()))?, // EMPTY_DICT
            b'd' => {
                let items = self.pop_mark()?; // DICT
                let pairs = self.pairs(&items)?;
                self.push(Value::Dict(pairs))?;
            }
            b's' => {
                let at = self.floor(2)?; // SETITEM
                let items = self.stack.split_off(at);
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?; // SETITEMS
                self.set_items(&items)?;
            }
            b'q' => {
                let at = self.input.byte()?; // BINPUT
                self.remember(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.input.array()?); // LONG_BINPUT
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?, // MEMOIZE
            b'h' => {
                let at = self.input.byte()?; // BINGET
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.input.array()?); // LONG_BINGET
                self.recall(at)?;
            }
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?); // GLOBAL
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                match (self.values[module].clone(), self.values[name].clone()) {
                    (Value::Str(module), Value::Str(name)) => self.global(&module, &name)?,
                    _ => return self.input.fail("a class without a name"),
                }
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                let value = self.call(callable, arguments)?;
                // Copies count too, or a short pickle could copy a long list without end.
                self.pushes += match &value {
                    Value::List(items) => items.len(),
                    Value::Dict(pairs) => pairs.len(),
                    _ => 0,
                };
                self.push(value)?;
            }
            b'b' => {
                self.pop()?; // BUILD: attributes of an object, which hold no weights
                self.top()?;
            }
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                let value = self.storage(id)?;
                self.push(value)?;
            }
            other => return self.input.fail(format!("instruction {other:#04x}, which no state dict needs")),
        }
        Ok(true)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.values.push(value);
        self.push_id(self.values.len() - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        self.pushes += 1;
        if self.pushes > MAX_PUSHES {
            return self.input.fail("more than 4 million values");
        }
        self.stack.push(id);
        Ok(())
    }

    /// Height of the stack below its last `count` values, which no mark may divide.
    fn floor(&self, count: usize) -> Result<usize> {
        let mark = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(at) if at >= mark => Ok(at),
            _ => self.input.fail("it takes a value that is not there"),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let at = self.floor(1)?;
        Ok(self.stack.split_off(at)[0])
    }

    fn top(&self) -> Result<Id> {
        Ok(self.stack[self.floor(1)?])
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.input.fail("it takes a mark that is not there"),
        }
    }

    fn remember(&mut self, at: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        match self.memo.get(&at).copied() {
            Some(id) => self.push_id(id),
            None => self.input.fail(format!("it recalls value {at}, which it did not keep")),
        }
    }

    /// A whole number of `len` bytes, lowest first.
    fn long(&mut self, len: u64) -> Result<()> {
        let bytes = self.input.bytes(len)?;
        let value = match bytes.last() {
            None => Value::Int(0),
            Some(&top) if bytes.len() <= 8 => {
                let mut whole = [if top >= 0x80 { 0xff } else { 0 }; 8];
                whole[..bytes.len()].copy_from_slice(&bytes);
                Value::Int(i64::from_le_bytes(whole))
            }
            Some(_) => Value::Opaque,
        };
        self.push(value)
    }

    fn string1(&mut self) -> Result<()> {
        let len = self.input.byte()?;
        let text = self.input.text(len.into())?;
        self.push(Value::Str(text))
    }

    fn string4(&mut self) -> Result<()> {
        let len = u32::from_le_bytes(self.input.array()?);
        let text = self.input.text(len.into())?;
        self.push(Value::Str(text))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list] {
            Value::List(list) => list.extend(items),
            Value::Opaque => {}
            _ => return self.input.fail("it appends to something that is no list"),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        match items.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => self.input.fail("a key without a value"),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let pairs = self.pairs(items)?;
        let dict = self.top()?;
        match &mut self.values[dict] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Opaque => {}
            _ => return self.input.fail("it sets items of something that is no dict"),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match known(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(PickleError::Global(format!("{module}.{name}"))),
        }
    }

    fn list(&self, id: Id) -> Result<&[Id]> {
        match &self.values[id] {
            Value::List(items) => Ok(items),
            _ => self.input.fail("a list was expected"),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match self.values[id] {
            Value::Int(size) => usize::try_from(size).or_else(|_| self.input.fail(format!("a size or offset of {size}"))),
            _ => self.input.fail("a number was expected"),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let sizes = self.list(id)?;
        if sizes.len() > MAX_RANK {
            return self.input.fail(format!("a tensor of {} dimensions", sizes.len()));
        }
        sizes.iter().map(|&size| self.size(size)).collect()
    }

    /// What a known function makes of its arguments.
    fn call(&self, callable: Id, arguments: Id) -> Result<Value> {
        let Value::Global(global) = self.values[callable] else {
            return match self.values[callable] {
                Value::Opaque => Ok(Value::Opaque),
                _ => self.input.fail("it calls something that is no function"),
            };
        };
        let arguments = self.list(arguments)?;
        match (global, arguments) {
            (Global::Inert, _) => Ok(Value::Opaque),
            // A default dict's first argument is what makes its defaults.
            (Global::Dict, []) => Ok(Value::Dict(Vec::new())),
            (Global::Dict, &[first, ..]) => match &self.values[first] {
                Value::Dict(pairs) => Ok(Value::Dict(pairs.clone())),
                Value::List(items) => {
                    let pair = |&item: &Id| match self.list(item)? {
                        &[key, value] => Ok((key, value)),
                        _ => self.input.fail("a dict's item that is no pair"),
                    };
                    items.iter().map(pair).collect::<Result<_>>().map(Value::Dict)
                }
                _ => Ok(Value::Dict(Vec::new())),
            },
            (Global::Size, &[sizes]) => Ok(Value::List(self.list(sizes)?.to_vec())),
            (Global::Parameter, &[tensor, ..]) => match &self.values[tensor] {
                tensor @ Value::Tensor(_) => Ok(tensor.clone()),
                _ => self.input.fail("a parameter that is no tensor"),
            },
            (Global::Tensor, &[storage, offset, shape, stride, ref rest @ ..]) => {
                let Value::Storage(storage) = self.values[storage] else {
                    return self.input.fail("a tensor without a storage");
                };
                let of_tensor = rest.iter().find_map(|&id| match self.values[id] {
                    Value::Global(Global::Type(scalar)) => Some(scalar),
                    _ => None,
                });
                let Some(scalar) = of_tensor.or(self.storages[storage].scalar) else {
                    return self.input.fail("a tensor whose type is not known");
                };
                let (shape, stride) = (self.sizes(shape)?, self.sizes(stride)?);
                if shape.len() != stride.len() {
                    return self
                        .input
                        .fail(format!("a tensor with {} sizes and {} strides", shape.len(), stride.len()));
                }
                let Some(offset) = self.size(offset)?.checked_add(self.storages[storage].offset) else {
                    return self.input.fail("an offset beyond the file");
                };
                Ok(Value::Tensor(View { storage, scalar, offset, shape, stride }))
            }
            _ => self.input.fail("a call with too few arguments"),
        }
    }

    /// A reference to a storage: ("storage", type, key, device, numbers), and in old files a view (key, offset, numbers) of it.
    fn storage(&mut self, id: Id) -> Result<Value> {
        let (kind, key, view) = match *self.list(id)? {
            [_, kind, key, _, _] => (kind, key, None),
            [_, kind, key, _, _, view] => (kind, key, Some(view)),
            _ => return self.input.fail("a reference that is none to a storage"),
        };
        let (Value::Global(Global::Storage(scalar)), Value::Str(key)) = (&self.values[kind], &self.values[key]) else {
            return self.input.fail("a reference that is none to a storage");
        };
        let offset = match view.map(|view| &self.values[view]) {
            Some(Value::List(view)) if view.len() == 3 => self.size(view[1])?,
            _ => 0,
        };
        let storage = StorageRef { key: key.clone(), scalar: *scalar, offset };
        self.storages.push(storage);
        Ok(Value::Storage(self.storages.len() - 1))
    }
}
