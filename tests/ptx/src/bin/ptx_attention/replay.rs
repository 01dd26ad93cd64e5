//! The launches of attention that a stub driver has written down, run by the interpreter on inputs of our own.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use pixgen_ptx::{BufferId, Buffers, Fault, Kernel, Launch, brain, to_brain};

use crate::reference::{Case, Inputs, Reference, error, reference};

/// A launch: which kernel, how, and the bytes of its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    /// PTX of the module.
    pub module: String,
    /// Name of the kernel.
    pub kernel: String,
    /// Grid, block and shared memory.
    pub launch: Launch,
    /// Bytes of each argument, buffers as the addresses that they had.
    pub arguments: Vec<Vec<u8>>,
}

/// Reads `calls.tsv` of a folder and the modules that it names.
///
/// # Errors
/// What cannot be read, as a message.
pub fn calls(folder: &Path) -> Result<Vec<Call>, String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| format!("{}: {error}", folder.join(name).display()));
    let parse = |line: &str| -> Option<(String, Call)> {
        let [file, kernel, grid, block, shared, arguments @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let launch = Launch { grid: three(grid)?, block: three(block)?, dynamic_shared: shared.parse().ok()?, seed: 1 };
        let arguments = arguments.iter().map(|hex| bytes(hex)).collect::<Option<_>>()?;
        Some(((*file).to_owned(), Call { module: String::new(), kernel: (*kernel).to_owned(), launch, arguments }))
    };
    read("calls.tsv")?
        .lines()
        .map(|line| {
            let (file, call) = parse(line).ok_or_else(|| format!("calls.tsv: `{line}`"))?;
            Ok(Call { module: read(&file)?, ..call })
        })
        .collect()
}

fn three(text: &str) -> Option<[u32; 3]> {
    text.split(',').map(|it| it.parse().ok()).collect::<Option<Vec<u32>>>()?.try_into().ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

/// What a buffer of attention is, in the order of a kernel's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Qkv,
    Out,
    Lse,
    Dy,
    Delta,
    Dqkv,
}

fn roles(kernel: &str) -> Option<&'static [Role]> {
    use Role::{Delta, Dqkv, Dy, Lse, Out, Qkv};
    Some(match kernel.split('_').next()? {
        "forward" => &[Qkv, Out, Lse],
        "queries" => &[Qkv, Out, Dy, Lse, Delta, Dqkv],
        "keys" => &[Qkv, Dy, Lse, Delta, Dqkv],
        _ => return None,
    })
}

/// Buffers of a case, shared by its kernels.
#[derive(Clone)]
pub struct Problem {
    case: Case,
    want: Reference,
    buffers: Buffers,
    roles: HashMap<Role, BufferId>,
}

/// Why a kernel is not right.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    /// The interpreter stopped it.
    Fault(Fault),
    /// It left a part of a result unwritten.
    Unwritten(&'static str),
    /// A result is too far from float64.
    Inexact(&'static str, f64),
    /// The module cannot be read, or its kernel is none of attention.
    Unreadable(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Unwritten(name) => write!(f, "a part of {name} is not written"),
            Self::Inexact(name, error) => write!(f, "{name} is off by {error:.1e} of its largest value"),
            Self::Unreadable(message) => f.write_str(message),
        }
    }
}

/// Errors of results, and instructions of warps.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Each result and its largest difference over its largest value.
    pub errors: Vec<(&'static str, f64)>,
    /// Instructions of warps.
    pub instructions: u64,
}

/// The largest error of a result over its largest value: about a rounding and a half of bf16.
const LIMIT: f64 = 6e-3;

/// The log-sum-exp is `f32`.
const LSE_LIMIT: f64 = 1e-6;

impl Problem {
    /// Random inputs of a case and what they must give.
    pub fn new(case: Case) -> Self {
        let Case { tokens, heads, head } = case;
        let mut random = Normal(tokens as u64 * 1000 + head as u64);
        let mut draw = |count: usize| (0..count).map(|_| brain(to_brain(random.draw()))).collect::<Vec<f32>>();
        let inputs = Inputs { qkv: draw(tokens * 3 * heads * head), dy: draw(tokens * heads * head) };
        let want = reference(case, &inputs);
        let mut buffers = Buffers::default();
        let stored = |values: &[f32]| values.iter().flat_map(|it| (to_brain(*it) as u16).to_le_bytes()).collect::<Vec<u8>>();
        let (numbers, statistics) = (tokens * heads * head, 4 * tokens * heads);
        let roles = HashMap::from([
            (Role::Qkv, buffers.filled(stored(&inputs.qkv))),
            (Role::Dy, buffers.filled(stored(&inputs.dy))),
            (Role::Out, buffers.empty(2 * numbers)),
            (Role::Lse, buffers.empty(statistics)),
            (Role::Delta, buffers.empty(statistics)),
            (Role::Dqkv, buffers.empty(6 * numbers)),
        ]);
        Self { case, want, buffers, roles }
    }

    /// Runs a kernel; its results stay for the next.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn run(&mut self, call: &Call, seed: u64) -> Result<Outcome, Wrong> {
        let kernel = Kernel::parse(&call.module, &call.kernel).map_err(|error| Wrong::Unreadable(error.to_string()))?;
        let roles = roles(&call.kernel).ok_or_else(|| Wrong::Unreadable(format!("{} is no kernel of attention", call.kernel)))?;
        let buffers = roles.iter().map(|role| self.buffers.argument(self.roles[role]));
        let arguments: Vec<Vec<u8>> = buffers.chain(call.arguments.iter().skip(roles.len()).cloned()).collect();
        if kernel.arguments().count() != arguments.len() {
            return Err(Wrong::Unreadable(format!("{} has other arguments", call.kernel)));
        }
        let launch = Launch { seed, ..call.launch.clone() };
        let statistics = kernel.run(&launch, &arguments, &mut self.buffers).map_err(Wrong::Fault)?;
        let errors = match roles[1..] {
            [Role::Out, Role::Lse] => vec![self.check(Role::Out, None, "out")?, self.check(Role::Lse, None, "lse")?],
            [Role::Out, ..] => vec![self.check(Role::Dqkv, Some(0), "dq")?],
            _ => vec![self.check(Role::Dqkv, Some(1), "dk")?, self.check(Role::Dqkv, Some(2), "dv")?],
        };
        Ok(Outcome { errors, instructions: statistics.instructions })
    }

    /// The error of a result, or of one of its three parts.
    fn check(&self, role: Role, part: Option<usize>, name: &'static str) -> Result<(&'static str, f64), Wrong> {
        let id = self.roles[&role];
        let bytes = self.buffers.bytes(id);
        let width = self.case.heads * self.case.head;
        let inside = |index: usize| part.is_none_or(|part| index / width % 3 == part);
        let size = if role == Role::Lse { 4 } else { 2 };
        if (0..bytes.len() / size).any(|index| inside(index) && !self.buffers.is_written(id, index * size)) {
            return Err(Wrong::Unwritten(name));
        }
        let values = bytes
            .chunks(size)
            .enumerate()
            .filter(|(index, _)| inside(*index))
            .map(|(_, it)| match *it {
                [a, b] => brain(u64::from(u16::from_le_bytes([a, b]))),
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                _ => f32::NAN,
            });
        let all = match role {
            Role::Out => &self.want.out,
            Role::Lse => &self.want.lse,
            _ => &self.want.dqkv,
        };
        let want: Vec<f64> = all.iter().enumerate().filter(|(index, _)| inside(*index)).map(|(_, it)| *it).collect();
        let error = error(values, &want);
        let limit = if role == Role::Lse { LSE_LIMIT } else { LIMIT };
        if error <= limit {
            Ok((name, error))
        } else {
            Err(Wrong::Inexact(name, error))
        }
    }
}

/// Numbers near a normal distribution: the sum of twelve uniform ones.
struct Normal(u64);

impl Normal {
    fn draw(&mut self) -> f32 {
        let mut sum = -6.0;
        for _ in 0..12 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1 << 24) as f32;
        }
        sum
    }
}
