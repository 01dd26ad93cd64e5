//! Instructions as the interpreter runs them: operands are numbers of registers, constants or coordinates, names are gone.

use crate::fault::Space;

/// How the bits of a value are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Unsigned numbers and plain bits.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE floating point.
    Float,
    /// bf16, or two of them.
    Brain,
    /// A truth value.
    Predicate,
}

/// A type: `.u32`, `.bf16x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// How the bits are meant.
    pub class: Class,
    /// Bits of the whole value.
    pub bits: u32,
}

impl Type {
    /// Reads the name of a type, without its dot.
    pub fn parse(name: &str) -> Option<Self> {
        let (class, bits) = match name {
            "pred" => (Class::Predicate, 1),
            "bf16" => (Class::Brain, 16),
            "bf16x2" => (Class::Brain, 32),
            _ => {
                let class = match name.as_bytes().first()? {
                    b'u' | b'b' => Class::Unsigned,
                    b's' => Class::Signed,
                    b'f' => Class::Float,
                    _ => return None,
                };
                (class, name[1..].parse().ok().filter(|bits| [8, 16, 32, 64].contains(bits))?)
            }
        };
        Some(Self { class, bits })
    }

    /// Bytes in memory.
    pub fn bytes(self) -> usize {
        self.bits as usize / 8
    }

    /// The bits that a value of this type may have.
    pub fn mask(self) -> u64 {
        if self.bits == 64 { u64::MAX } else { (1 << self.bits) - 1 }
    }
}

/// Something that differs by thread or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Place of the thread in the block, on an axis.
    Thread(usize),
    /// Threads of a block along an axis.
    Threads(usize),
    /// Place of the block in the grid.
    Block(usize),
    /// Blocks of the grid along an axis.
    Blocks(usize),
    /// Place of the thread in the warp.
    Lane,
    /// A clock, which only ever rises.
    Clock,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(usize),
    /// A constant.
    Constant(u64),
    /// A coordinate.
    Special(Special),
}

/// `[base + offset]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Register or constant.
    pub base: Operand,
    /// Bytes after it.
    pub offset: i64,
}

/// How a result is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Towards zero.
    Zero,
    /// Down.
    Down,
    /// Up.
    Up,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Less makes it true.
    pub less: bool,
    /// Equal makes it true.
    pub equal: bool,
    /// Greater makes it true.
    pub greater: bool,
    /// A NaN makes it true.
    pub unordered: bool,
}

/// What a thread does by itself, from values to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // named after the instructions
pub enum Function {
    Move,
    /// From an address of a space to one that says its space itself.
    ToGeneric(Space),
    /// And back.
    FromGeneric(Space),
    Add,
    Sub,
    MulLow,
    MulHigh,
    MulWide,
    MadLow,
    MadWide,
    /// `a * b + c`, rounded once.
    Fma(Rounding),
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Not,
    Neg,
    Abs,
    ShiftLeft,
    ShiftRight,
    /// The third chooses between the first two.
    Select,
    Compare(Comparison),
    Convert {
        from: Type,
        rounding: Rounding,
        /// To a whole number in floating point.
        integral: bool,
        saturate: bool,
    },
    /// Two `f32` to bf16x2, the first to the upper half.
    PackBrain,
    Exp2,
    Log2,
    Reciprocal,
    Sqrt,
    InverseSqrt,
    Sine,
    Cosine,
    Tanh,
    BitInsert,
    BitExtract,
    Permute,
    CountOnes,
    LeadingZeros,
}

/// Shuffles of a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    /// From the lane whose number differs by these bits.
    Butterfly,
    /// From this lane.
    Index,
    /// From so many lanes before.
    Up,
    /// From so many lanes behind.
    Down,
}

/// Which operand of a 16 x 16 x 16 product a fragment of `wmma` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// Left, bf16.
    A,
    /// Right, bf16.
    B,
    /// Sums, `f32`.
    Sum,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Each thread by itself.
    Each(Function, Type),
    /// Several registers to one, the first to the lowest bits.
    Pack(Type),
    /// One register to several.
    Unpack(Type),
    /// Values from memory; `None` is an address that says its space itself.
    Load(Option<Space>, Type),
    /// Values to memory.
    Store(Option<Space>, Type),
    /// Adds to global memory and returns what was there; lanes one after another.
    AtomicAdd(Type),
    /// To another statement.
    Branch(usize),
    /// The thread ends.
    Exit,
    /// All threads of the block meet.
    BlockBarrier,
    /// Fences, hints, and what orders the lanes of a warp, which run in step.
    Nothing,
    /// Chooses one lane of a mask: its number, and whether this lane is it.
    Elect,
    /// A value of another lane.
    Shuffle(Shuffle),
    /// 8 x 8 matrices of 16 bits from shared memory; transposed or not.
    LoadMatrix(bool),
    /// The same to shared memory.
    StoreMatrix(bool),
    /// 16 x 16 times 16 x 8 bf16 plus `f32`.
    Product,
    /// A fragment of 16 x 16; whether rows of memory are rows of the matrix.
    WholeLoad(Fragment, bool, Option<Space>),
    /// Sums of 16 x 16 to memory.
    WholeStore(bool, Option<Space>),
    /// 16 x 16 times 16 x 16 bf16 plus `f32`.
    WholeProduct,
    /// Starts a copy of so many bytes from global to shared memory.
    Copy(usize),
    /// Ends a group of copies.
    CopyCommit,
    /// Waits until at most so many groups of this thread are in flight.
    CopyWait(usize),
    /// The copies of this thread arrive at a barrier when they are done; whether it had counted on them.
    CopyArrive(bool),
    /// A barrier in shared memory begins.
    BarrierInit,
    /// Arrives at it.
    BarrierArrive,
    /// Whether a phase of it has ended, given by its parity or else by what the arrival returned.
    BarrierTest {
        /// Given by its parity.
        parity: bool,
    },
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Only where this register is true, or false.
    pub predicate: Option<(usize, bool)>,
    /// What it does.
    pub operation: Operation,
    /// Registers that it sets; `None` is thrown away.
    pub results: Vec<Option<usize>>,
    /// Values that it takes.
    pub operands: Vec<Operand>,
    /// Memory that it touches.
    pub addresses: Vec<Address>,
    /// Line of the PTX, from 1.
    pub line: usize,
}
