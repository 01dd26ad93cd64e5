//! Reads the pickles of PyTorch files as data. Nothing in them is executed: of Python's functions and classes only those of a state
//! dict are known, and each has its meaning here.
//!
//! Values lie in one table and name each other by position, as they do in Python: containers may share parts or hold themselves, so
//! whoever walks the table bounds depth and visits.

// Paths, because a fuzz target takes this file in without the rest of the crate.
#[path = "pickle/input.rs"]
mod input;
#[path = "pickle/opcode.rs"]
mod opcode;
#[path = "pickle/value.rs"]
mod value;

use super::error::{PickleError, PickleProblem};
use input::Input;
use std::collections::HashMap;
use std::io::BufRead;
use value::Global;
pub(super) use value::{Id, StorageRef, Value, View};

/// Values put on the stack while reading a pickle.
const MAX_PUSHES: usize = 4 << 20;
/// Dimensions of a tensor.
const MAX_RANK: usize = 16;

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

/// Python's pickle machine: a stack, marks in it, a memo.
struct Machine<'a, R> {
    input: Input<'a, R>,
    values: Vec<Value>,
    storages: Vec<StorageRef>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    pushes: usize,
}

impl<R: BufRead> Machine<'_, R> {
    /// Carries out one instruction; false at the end of the pickle.
    fn step(&mut self) -> Result<bool> {
        use opcode::*;
        match self.input.byte()? {
            STOP => return Ok(false),
            PROTO => drop(self.input.byte()?),
            FRAME => drop(self.input.number::<8>()?),
            MARK => self.marks.push(self.stack.len()),
            POP => drop(self.pop()?),
            POP_MARK => drop(self.pop_mark()?),
            DUP => self.duplicate()?,

            NONE => self.push(Value::Opaque)?,
            BINFLOAT => self.skip(8)?,
            NEWTRUE => self.push(Value::Int(1))?,
            NEWFALSE => self.push(Value::Int(0))?,
            BININT1 => self.sized::<1>(Self::unsigned)?,
            BININT2 => self.sized::<2>(Self::unsigned)?,
            BININT => self.long(4)?,
            LONG1 => self.sized::<1>(Self::long)?,
            LONG4 => self.sized::<4>(Self::long)?,

            SHORT_BINUNICODE | SHORT_BINSTRING => self.sized::<1>(Self::string)?,
            BINUNICODE | BINSTRING => self.sized::<4>(Self::string)?,
            BINUNICODE8 => self.sized::<8>(Self::string)?,
            SHORT_BINBYTES => self.sized::<1>(Self::skip)?,
            BINBYTES => self.sized::<4>(Self::skip)?,

            EMPTY_TUPLE | EMPTY_LIST | EMPTY_SET => self.push(Value::List(Vec::new()))?,
            TUPLE1 => self.tuple(1)?,
            TUPLE2 => self.tuple(2)?,
            TUPLE3 => self.tuple(3)?,
            TUPLE | LIST | FROZENSET => self.list_from_mark()?,
            APPEND => self.append_one()?,
            APPENDS | ADDITEMS => self.append_from_mark()?,
            EMPTY_DICT => self.push(Value::Dict(Vec::new()))?,
            DICT => self.dict_from_mark()?,
            SETITEM => self.set_item()?,
            SETITEMS => self.set_items_from_mark()?,

            BINPUT => self.sized::<1>(Self::remember)?,
            LONG_BINPUT => self.sized::<4>(Self::remember)?,
            MEMOIZE => self.remember(self.memo.len() as u64)?,
            BINGET => self.sized::<1>(Self::recall)?,
            LONG_BINGET => self.sized::<4>(Self::recall)?,

            GLOBAL => self.global_of_lines()?,
            STACK_GLOBAL => self.global_of_stack()?,
            REDUCE | NEWOBJ => self.reduce()?,
            BUILD => self.build()?,
            BINPERSID => self.persistent()?,
            other => return self.input.fail(PickleProblem::Instruction(other)),
        }
        Ok(true)
    }

    /// Reads a number of `N` bytes, a length or a place in the memo, and hands it on.
    fn sized<const N: usize>(&mut self, then: impl FnOnce(&mut Self, u64) -> Result<()>) -> Result<()> {
        let number = self.input.number::<N>()?;
        then(self, number)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.values.push(value);
        self.push_id(self.values.len() - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        self.pushes += 1;
        if self.pushes > MAX_PUSHES {
            return self.input.fail(PickleProblem::TooManyValues);
        }
        self.stack.push(id);
        Ok(())
    }

    /// Height of the stack below its last `count` values, which no mark may divide.
    fn floor(&self, count: usize) -> Result<usize> {
        let mark = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(at) if at >= mark => Ok(at),
            _ => self.input.fail(PickleProblem::NoValue),
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
            None => self.input.fail(PickleProblem::NoMark),
        }
    }

    fn remember(&mut self, at: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<()> {
        match self.memo.get(&at).copied() {
            Some(id) => self.push_id(id),
            None => self.input.fail(PickleProblem::NotKept(at)),
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

    fn unsigned(&mut self, number: u64) -> Result<()> {
        self.push(i64::try_from(number).map_or(Value::Opaque, Value::Int))
    }

    fn string(&mut self, len: u64) -> Result<()> {
        let text = self.input.text(len)?;
        self.push(Value::Str(text))
    }

    /// A value of `len` bytes that holds no tensor.
    fn skip(&mut self, len: u64) -> Result<()> {
        self.input.bytes(len)?;
        self.push(Value::Opaque)
    }

    fn duplicate(&mut self) -> Result<()> {
        let top = self.top()?;
        self.push_id(top)
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let at = self.floor(count)?;
        let items = self.stack.split_off(at);
        self.push(Value::List(items))
    }

    fn list_from_mark(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.push(Value::List(items))
    }

    fn append_one(&mut self) -> Result<()> {
        let item = self.pop()?;
        self.append(vec![item])
    }

    fn append_from_mark(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.append(items)
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list] {
            Value::List(list) => list.extend(items),
            Value::Opaque => {}
            _ => return self.input.fail(PickleProblem::AppendsToOther),
        }
        Ok(())
    }

    fn dict_from_mark(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        let pairs = self.pairs(&items)?;
        self.push(Value::Dict(pairs))
    }

    fn set_item(&mut self) -> Result<()> {
        let at = self.floor(2)?;
        let items = self.stack.split_off(at);
        self.set_items(&items)
    }

    fn set_items_from_mark(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.set_items(&items)
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        match items.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => self.input.fail(PickleProblem::OddItems),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let pairs = self.pairs(items)?;
        let dict = self.top()?;
        match &mut self.values[dict] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Opaque => {}
            _ => return self.input.fail(PickleProblem::NotADict),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(PickleError::Global(format!("{module}.{name}"))),
        }
    }

    fn global_of_lines(&mut self) -> Result<()> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        self.global(&module, &name)
    }

    fn global_of_stack(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.values[module].clone(), self.values[name].clone()) {
            (Value::Str(module), Value::Str(name)) => self.global(&module, &name),
            _ => self.input.fail(PickleProblem::UnnamedClass),
        }
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let value = self.call(callable, arguments)?;
        // Copies count too, or a short pickle could copy a long list without end.
        self.pushes += match &value {
            Value::List(items) => items.len(),
            Value::Dict(pairs) => pairs.len(),
            _ => 0,
        };
        self.push(value)
    }

    /// Gives an object attributes, which hold no weights.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        self.top().map(drop)
    }

    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let value = self.storage(id)?;
        self.push(value)
    }

    fn list(&self, id: Id) -> Result<&[Id]> {
        match &self.values[id] {
            Value::List(items) => Ok(items),
            _ => self.input.fail(PickleProblem::NotAList),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match self.values[id] {
            Value::Int(size) => usize::try_from(size).or_else(|_| self.input.fail(PickleProblem::Size(size))),
            _ => self.input.fail(PickleProblem::NotANumber),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let sizes = self.list(id)?;
        if sizes.len() > MAX_RANK {
            return self.input.fail(PickleProblem::Rank(sizes.len()));
        }
        sizes.iter().map(|&size| self.size(size)).collect()
    }

    /// What a known function makes of its arguments.
    fn call(&self, callable: Id, arguments: Id) -> Result<Value> {
        let Value::Global(global) = self.values[callable] else {
            return match self.values[callable] {
                Value::Opaque => Ok(Value::Opaque),
                _ => self.input.fail(PickleProblem::NotAFunction),
            };
        };
        let arguments = self.list(arguments)?;
        match (global, arguments) {
            (Global::Inert, _) => Ok(Value::Opaque),
            // The first argument of a default dict makes its defaults.
            (Global::Dict, []) => Ok(Value::Dict(Vec::new())),
            (Global::Dict, &[first, ..]) => match &self.values[first] {
                Value::Dict(pairs) => Ok(Value::Dict(pairs.clone())),
                Value::List(items) => {
                    let pair = |&item: &Id| match self.list(item)? {
                        &[key, value] => Ok((key, value)),
                        _ => self.input.fail(PickleProblem::NotAPair),
                    };
                    items.iter().map(pair).collect::<Result<_>>().map(Value::Dict)
                }
                _ => Ok(Value::Dict(Vec::new())),
            },
            (Global::Size, &[sizes]) => Ok(Value::List(self.list(sizes)?.to_vec())),
            (Global::Parameter, &[tensor, ..]) => match &self.values[tensor] {
                tensor @ Value::Tensor(_) => Ok(tensor.clone()),
                _ => self.input.fail(PickleProblem::NotATensor),
            },
            (Global::Tensor, &[storage, offset, shape, stride, ref rest @ ..]) => {
                self.tensor(storage, offset, shape, stride, rest).map(Value::Tensor)
            }
            _ => self.input.fail(PickleProblem::FewArguments),
        }
    }

    /// A tensor of a storage; one of the `rest` may be its type.
    fn tensor(&self, storage: Id, offset: Id, shape: Id, stride: Id, rest: &[Id]) -> Result<View> {
        let Value::Storage(storage) = self.values[storage] else {
            return self.input.fail(PickleProblem::NoStorage);
        };
        let of_tensor = rest.iter().find_map(|&id| match self.values[id] {
            Value::Global(Global::Type(scalar)) => Some(scalar),
            _ => None,
        });
        let Some(scalar) = of_tensor.or(self.storages[storage].scalar) else {
            return self.input.fail(PickleProblem::NoType);
        };
        let (shape, stride) = (self.sizes(shape)?, self.sizes(stride)?);
        if shape.len() != stride.len() {
            return self.input.fail(PickleProblem::Strides { sizes: shape.len(), strides: stride.len() });
        }
        let Some(offset) = self.size(offset)?.checked_add(self.storages[storage].offset) else {
            return self.input.fail(PickleProblem::Offset);
        };
        Ok(View { storage, scalar, offset, shape, stride })
    }

    /// A reference to a storage: ("storage", type, key, device, numbers), and in old files a view (key, offset, numbers) of it.
    fn storage(&mut self, id: Id) -> Result<Value> {
        let (kind, key, view) = match *self.list(id)? {
            [_, kind, key, _, _] => (kind, key, None),
            [_, kind, key, _, _, view] => (kind, key, Some(view)),
            _ => return self.input.fail(PickleProblem::NotAStorage),
        };
        let (Value::Global(Global::Storage(scalar)), Value::Str(key)) = (&self.values[kind], &self.values[key]) else {
            return self.input.fail(PickleProblem::NotAStorage);
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
