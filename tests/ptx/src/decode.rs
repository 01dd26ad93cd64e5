//! From statements to instructions.

use std::collections::HashMap;

use crate::arithmetic::variable;
use crate::fault::Space;
use crate::instruction::{
    Address, Class, Comparison, Fragment, Function, Instruction, Operand, Operation, Rounding, Shuffle, Special, Type,
};
use crate::source::{ParseError, Source, Statement, constant};

/// The program of a kernel.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its instructions.
    pub instructions: Vec<Instruction>,
    /// Registers of a thread.
    pub registers: usize,
    /// First byte of each argument among all, and its size.
    pub params: Vec<(usize, usize)>,
}

/// Decodes all statements.
///
/// # Errors
/// The first instruction that is not known.
pub fn decode(source: &Source) -> Result<Program, ParseError> {
    let mut params = Vec::new();
    let mut end = 0usize;
    for (_, bytes) in &source.params {
        params.push((end.next_multiple_of(16), *bytes));
        end = end.next_multiple_of(16) + bytes;
    }
    let mut names = Names { source, params: &params, registers: HashMap::new() };
    let instructions = source.statements.iter().map(|statement| {
        names
            .instruction(statement)
            .ok_or_else(|| ParseError::Unsupported { line: statement.line, instruction: statement.text.clone() })
    });
    let instructions = instructions.collect::<Result<_, _>>()?;
    let registers = names.registers.len();
    Ok(Program { instructions, registers, params })
}

/// What names mean.
struct Names<'a> {
    source: &'a Source,
    params: &'a [(usize, usize)],
    registers: HashMap<String, usize>,
}

impl Names<'_> {
    fn instruction(&mut self, statement: &Statement) -> Option<Instruction> {
        let predicate = statement.predicate.as_ref().map(|(name, negated)| (self.register(name), *negated));
        let opcode: Vec<&str> = statement.opcode.iter().map(String::as_str).collect();
        let shape = shape(&opcode, &statement.operands)?;
        let operation = match shape.operation {
            // The only operand of a branch is a label.
            Operation::Branch(_) => Operation::Branch(*self.source.labels.get(statement.operands.first()?)?),
            other => other,
        };
        let mut instruction = Instruction {
            predicate,
            operation,
            results: Vec::new(),
            operands: Vec::new(),
            addresses: Vec::new(),
            line: statement.line,
        };
        if matches!(operation, Operation::Branch(_) | Operation::BlockBarrier | Operation::Nothing) {
            return Some(instruction);
        }
        for (index, text) in statement.operands.iter().enumerate() {
            if let Some(inner) = text.strip_prefix('[') {
                instruction.addresses.push(self.address(inner.strip_suffix(']')?)?);
            } else if index < shape.results {
                // `%r1|%p1`: the second is whether the lane read exists, or the opposite of a comparison.
                let parts = text.trim_matches(['{', '}']).split(['|', ',']);
                instruction
                    .results
                    .extend(parts.map(|it| Some(it.trim()).filter(|it| *it != "_").map(|it| self.register(it))));
            } else {
                for part in text.trim_matches(['{', '}']).split(',') {
                    instruction.operands.push(self.operand(part.trim())?);
                }
            }
        }
        Some(instruction)
    }

    fn register(&mut self, name: &str) -> usize {
        let next = self.registers.len();
        *self.registers.entry(name.to_owned()).or_insert(next)
    }

    fn operand(&mut self, text: &str) -> Option<Operand> {
        if let Some(special) = special(text) {
            return Some(Operand::Special(special));
        }
        if let Some(value) = constant(text) {
            return Some(Operand::Constant(value));
        }
        if let Some(place) = self.source.shared.get(text).or_else(|| self.source.local.get(text)) {
            return Some(Operand::Constant(place.address as u64));
        }
        if let Some(index) = self.source.params.iter().position(|(name, _)| name == text) {
            return Some(Operand::Constant(self.params[index].0 as u64));
        }
        if let Some(index) = self.source.variables.iter().position(|(name, _)| name == text) {
            return Some(Operand::Constant(variable(index)));
        }
        let known = text.starts_with('%') || self.source.named_registers.contains(text);
        known.then(|| Operand::Register(self.register(text)))
    }

    /// `%rd1+-12`, `name+4`, `%r5`.
    fn address(&mut self, text: &str) -> Option<Address> {
        let (base, offset) = text.split_once('+').unwrap_or((text, "0"));
        Some(Address { base: self.operand(base.trim())?, offset: constant(offset.trim())? as i64 })
    }
}

fn special(text: &str) -> Option<Special> {
    let (name, axis) = text.split_once('.').unwrap_or((text, "x"));
    let axis = ["x", "y", "z"].iter().position(|it| *it == axis)?;
    Some(match name {
        "%tid" => Special::Thread(axis),
        "%ntid" => Special::Threads(axis),
        "%ctaid" => Special::Block(axis),
        "%nctaid" => Special::Blocks(axis),
        "%laneid" => Special::Lane,
        "%globaltimer" | "%clock" | "%clock64" => Special::Clock,
        _ => return None,
    })
}

/// What an opcode says, and how many of its operands are results.
struct Shape {
    operation: Operation,
    results: usize,
}

fn shape(opcode: &[&str], operands: &[String]) -> Option<Shape> {
    let (operation, results) = match *opcode.first()? {
        "ld" => (Operation::Load(space(opcode), last_type(opcode)?), 1),
        "st" => (Operation::Store(space(opcode), last_type(opcode)?), 0),
        "atom" if opcode.contains(&"add") && space(opcode) == Some(Space::Global) => (Operation::AtomicAdd(last_type(opcode)?), 1),
        "bra" => (Operation::Branch(0), 0),
        "ret" | "exit" => (Operation::Exit, 0),
        "bar" | "barrier" if opcode.contains(&"warp") => (Operation::Nothing, 0),
        "bar" | "barrier" if operands.len() == 1 && opcode.contains(&"sync") => (Operation::BlockBarrier, 0),
        "fence" | "membar" | "nanosleep" | "pragma" => (Operation::Nothing, 0),
        "elect" if opcode.ends_with(&["sync"]) => (Operation::Elect, 1),
        "shfl" => (Operation::Shuffle(shuffle(opcode.get(2)?)?), 1),
        "ldmatrix" | "stmatrix" if opcode.contains(&"m8n8") && last(opcode) == "b16" => {
            let across = opcode.contains(&"trans");
            if opcode[0] == "ldmatrix" {
                (Operation::LoadMatrix(across), 1)
            } else {
                (Operation::StoreMatrix(across), 0)
            }
        }
        "mma" => (product(opcode, "m16n8k16", Operation::Product)?, 1),
        "wmma" => wmma(opcode)?,
        "cp" => (copy(opcode, operands)?, 0),
        "mbarrier" => mbarrier(opcode)?,
        "mov" if operands.get(1)?.starts_with('{') => (Operation::Pack(last_type(opcode)?), 1),
        "mov" if operands.first()?.starts_with('{') => (Operation::Unpack(last_type(opcode)?), 1),
        _ => {
            let kind = last_type(opcode);
            let (function, kind) = function(opcode, kind)?;
            (Operation::Each(function, kind), 1)
        }
    };
    Some(Shape { operation, results })
}

fn last<'a>(opcode: &[&'a str]) -> &'a str {
    opcode.last().copied().unwrap_or_default()
}

fn last_type(opcode: &[&str]) -> Option<Type> {
    Type::parse(last(opcode))
}

fn space(opcode: &[&str]) -> Option<Space> {
    opcode.iter().find_map(|part| match part.split("::").next()? {
        "global" => Some(Space::Global),
        "shared" => Some(Space::Shared),
        "local" => Some(Space::Local),
        "param" => Some(Space::Param),
        _ => None,
    })
}

fn shuffle(mode: &str) -> Option<Shuffle> {
    Some(match mode {
        "bfly" => Shuffle::Butterfly,
        "idx" => Shuffle::Index,
        "up" => Shuffle::Up,
        "down" => Shuffle::Down,
        _ => return None,
    })
}

/// Products of bf16 with `f32` sums; other types are not supported.
fn product(opcode: &[&str], size: &str, operation: Operation) -> Option<Operation> {
    (opcode.contains(&size) && opcode.ends_with(&["f32", "bf16", "bf16", "f32"])).then_some(operation)
}

fn wmma(opcode: &[&str]) -> Option<(Operation, usize)> {
    let rows = opcode.contains(&"row");
    if !opcode.contains(&"m16n16k16") {
        return None;
    }
    Some(match (*opcode.get(1)?, *opcode.get(2)?, last(opcode)) {
        ("load", "a", "bf16") => (Operation::WholeLoad(Fragment::A, rows, space(opcode)), 1),
        ("load", "b", "bf16") => (Operation::WholeLoad(Fragment::B, rows, space(opcode)), 1),
        ("load", "c", "f32") => (Operation::WholeLoad(Fragment::Sum, rows, space(opcode)), 1),
        ("store", "d", "f32") => (Operation::WholeStore(rows, space(opcode)), 0),
        ("mma", ..) => (product(opcode, "m16n16k16", Operation::WholeProduct)?, 1),
        _ => return None,
    })
}

fn copy(opcode: &[&str], operands: &[String]) -> Option<Operation> {
    let number = |at: usize| constant(operands.get(at)?).map(|it| it as usize);
    Some(match opcode[1..] {
        ["async", "ca" | "cg", ..] => Operation::Copy(number(2).filter(|it| [4, 8, 16].contains(it))?),
        ["async", "commit_group"] => Operation::CopyCommit,
        ["async", "wait_group"] => Operation::CopyWait(number(0)?),
        ["async", "wait_all"] => Operation::CopyWait(0),
        ["async", "mbarrier", "arrive", "noinc", ..] => Operation::CopyArrive(true),
        ["async", "mbarrier", "arrive", ..] => Operation::CopyArrive(false),
        _ => return None,
    })
}

fn mbarrier(opcode: &[&str]) -> Option<(Operation, usize)> {
    Some(match *opcode.get(1)? {
        "init" => (Operation::BarrierInit, 0),
        // Transactions are of bulk copies, which are not supported.
        "arrive" if !opcode.contains(&"expect_tx") => (Operation::BarrierArrive, 1),
        "try_wait" | "test_wait" => (Operation::BarrierTest { parity: opcode.contains(&"parity") }, 1),
        _ => return None,
    })
}

fn rounding(opcode: &[&str]) -> (Rounding, bool) {
    let find = |names: [&str; 2]| opcode.iter().any(|part| names.contains(part));
    let integral = opcode.iter().any(|part| ["rni", "rzi", "rmi", "rpi"].contains(part));
    let rounding = if find(["rz", "rzi"]) {
        Rounding::Zero
    } else if find(["rm", "rmi"]) {
        Rounding::Down
    } else if find(["rp", "rpi"]) {
        Rounding::Up
    } else {
        Rounding::Nearest
    };
    (rounding, integral)
}

/// What a thread does by itself, and the type of the result (of the operands for comparisons).
fn function(opcode: &[&str], kind: Option<Type>) -> Option<(Function, Type)> {
    let named = |name: &str| opcode.contains(&name);
    let function = match opcode[0] {
        "cvta" => {
            let space = space(opcode)?;
            let back = named("to");
            return Some((
                if back {
                    Function::FromGeneric(space)
                } else {
                    Function::ToGeneric(space)
                },
                kind?,
            ));
        }
        "cvt" => return conversion(opcode),
        "setp" => Function::Compare(comparison(opcode.get(1)?)?),
        "mul" if named("wide") => Function::MulWide,
        "mul" if named("hi") => Function::MulHigh,
        "mul" => Function::MulLow,
        "mad" if named("wide") => Function::MadWide,
        "mad" => Function::MadLow,
        "fma" => Function::Fma(rounding(opcode).0),
        other => plain(other)?,
    };
    // A combined comparison (`setp.lt.and.u32`) has a part more.
    let parts_of_comparison = opcode.iter().filter(|part| !["ftz", "wide"].contains(*part)).count();
    (opcode[0] != "setp" || parts_of_comparison == 3).then_some((function, kind?))
}

fn plain(name: &str) -> Option<Function> {
    Some(match name {
        "mov" => Function::Move,
        "add" => Function::Add,
        "sub" => Function::Sub,
        "div" => Function::Div,
        "rem" => Function::Rem,
        "min" => Function::Min,
        "max" => Function::Max,
        "and" => Function::And,
        "or" => Function::Or,
        "xor" => Function::Xor,
        "not" => Function::Not,
        "neg" => Function::Neg,
        "abs" => Function::Abs,
        "shl" => Function::ShiftLeft,
        "shr" => Function::ShiftRight,
        "selp" => Function::Select,
        "ex2" => Function::Exp2,
        "lg2" => Function::Log2,
        "rcp" => Function::Reciprocal,
        "sqrt" => Function::Sqrt,
        "rsqrt" => Function::InverseSqrt,
        "sin" => Function::Sine,
        "cos" => Function::Cosine,
        "tanh" => Function::Tanh,
        "bfi" => Function::BitInsert,
        "bfe" => Function::BitExtract,
        "prmt" => Function::Permute,
        "popc" => Function::CountOnes,
        "clz" => Function::LeadingZeros,
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<Comparison> {
    let (name, unordered) = match name {
        "nan" => return Some(Comparison { less: false, equal: false, greater: false, unordered: true }),
        "num" => return Some(Comparison { less: true, equal: true, greater: true, unordered: false }),
        _ => name.strip_suffix('u').filter(|it| it.len() == 2).map_or((name, false), |it| (it, true)),
    };
    let (less, equal, greater) = match name {
        "lt" | "lo" => (true, false, false),
        "le" | "ls" => (true, true, false),
        "gt" | "hi" => (false, false, true),
        "ge" | "hs" => (false, true, true),
        "eq" => (false, true, false),
        "ne" => (true, false, true),
        _ => return None,
    };
    Some(Comparison { less, equal, greater, unordered })
}

fn conversion(opcode: &[&str]) -> Option<(Function, Type)> {
    let [.., to, from] = *opcode else { return None };
    let (to, from) = (Type::parse(to)?, Type::parse(from)?);
    let (rounding, integral) = rounding(opcode);
    let saturate = opcode.contains(&"sat");
    let packs = to.class == Class::Brain && to.bits == 32;
    let function = if packs {
        Function::PackBrain
    } else {
        Function::Convert { from, rounding, integral, saturate }
    };
    Some((function, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_named() {
        let text = ".visible .entry k(.param .u64 p)\n{\nwgmma.fence.sync.aligned;\nret;\n}\n";
        let source = crate::source::read(text, "k").unwrap();
        let unsupported = ParseError::Unsupported { line: 3, instruction: "wgmma.fence.sync.aligned".into() };
        assert_eq!(decode(&source).unwrap_err(), unsupported);
    }
}
