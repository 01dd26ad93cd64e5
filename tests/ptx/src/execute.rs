//! What the active lanes of a warp do.

use crate::arithmetic::{evaluate, in_variable, resolve};
use crate::block::{Block, Stop, Turn};
use crate::copies::Phase;
use crate::fault::{FaultKind, Space};
use crate::instruction::{Address, Fragment, Function, Instruction, Operand, Operation, Shuffle, Special, Type};
use crate::matrix::{self, Whole};
use crate::shared::Visitor;
use crate::warp::{LANES, Values, Warp, lanes};

/// At a lane.
fn at(lane: usize) -> impl Fn(FaultKind) -> Stop {
    move |kind| (kind, Some(lane))
}

const MALFORMED: Stop = (FaultKind::Malformed, None);

impl Block<'_> {
    /// Runs an instruction that is no branch, for the lanes of `active`.
    ///
    /// # Errors
    /// What is wrong and at which lane.
    pub fn execute(&mut self, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<Turn, Stop> {
        match instruction.operation {
            Operation::Each(function, kind) => self.each(function, kind, instruction, warp, active)?,
            Operation::Pack(kind) => self.pack(kind, instruction, warp, active)?,
            Operation::Unpack(kind) => self.unpack(kind, instruction, warp, active)?,
            Operation::Load(space, kind) => self.load(space, kind, instruction, warp, active)?,
            Operation::Store(space, kind) => self.store(space, kind, instruction, warp, active)?,
            Operation::AtomicAdd(kind) => self.atomic_add(kind, instruction, warp, active)?,
            Operation::Elect => self.elect(instruction, warp, active)?,
            Operation::Shuffle(mode) => self.shuffle(mode, instruction, warp, active)?,
            Operation::LoadMatrix(_) | Operation::StoreMatrix(_) | Operation::Product => self.tile(instruction, warp, active)?,
            Operation::WholeLoad(..) | Operation::WholeStore(..) | Operation::WholeProduct => self.whole(instruction, warp, active)?,
            Operation::Copy(bytes) => self.copy(bytes, instruction, warp, active)?,
            Operation::CopyCommit => lanes(active).for_each(|lane| self.copies.commit(thread(warp, lane))),
            Operation::CopyWait(left) => {
                let by = Visitor { warp: warp.number, clock: &self.clocks[warp.number] };
                lanes(active).for_each(|lane| self.copies.wait(thread(warp, lane), left, &mut self.shared, by));
            }
            _ => return self.barrier(instruction, warp, active),
        }
        Ok(Turn::GoesOn)
    }

    /// The value of an operand at a lane.
    fn value(&self, operand: Operand, warp: &Warp, lane: usize) -> u64 {
        match operand {
            Operand::Register(register) => warp.registers[register][lane],
            Operand::Constant(value) => value,
            Operand::Special(special) => {
                let [x, y, _] = self.launch.block.map(|it| it as usize);
                let thread = thread(warp, lane);
                match special {
                    Special::Thread(axis) => [thread % x, thread / x % y, thread / (x * y)][axis] as u64,
                    Special::Threads(axis) => u64::from(self.launch.block[axis]),
                    Special::Block(axis) => u64::from(self.position[axis]),
                    Special::Blocks(axis) => u64::from(self.launch.grid[axis]),
                    Special::Lane => lane as u64,
                    Special::Clock => self.instructions,
                }
            }
        }
    }

    fn operand(&self, instruction: &Instruction, index: usize, warp: &Warp, lane: usize) -> Result<u64, Stop> {
        let operand = instruction.operands.get(index).ok_or(MALFORMED)?;
        Ok(self.value(*operand, warp, lane))
    }

    fn address(&self, instruction: &Instruction, index: usize, warp: &Warp, lane: usize) -> Result<u64, Stop> {
        let Address { base, offset } = *instruction.addresses.get(index).ok_or(MALFORMED)?;
        Ok(self.value(base, warp, lane).wrapping_add_signed(offset))
    }

    fn each(&self, function: Function, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let &[Some(result), ..] = instruction.results.as_slice() else {
            return Err(MALFORMED);
        };
        for lane in lanes(active) {
            let mut x = [0; 5];
            for (slot, operand) in x.iter_mut().zip(&instruction.operands) {
                *slot = self.value(*operand, warp, lane);
            }
            warp.registers[result][lane] = evaluate(function, kind, &x).ok_or(MALFORMED)?;
        }
        Ok(())
    }

    fn pack(&self, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let (&[Some(result)], count) = (instruction.results.as_slice(), instruction.operands.len() as u32) else {
            return Err(MALFORMED);
        };
        let width = kind.bits / count;
        for lane in lanes(active) {
            let mut packed = 0;
            for index in 0..count {
                packed |= (self.operand(instruction, index as usize, warp, lane)? & ((1 << width) - 1)) << (index * width);
            }
            warp.registers[result][lane] = packed;
        }
        Ok(())
    }

    fn unpack(&self, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let width = kind.bits / instruction.results.len() as u32;
        for lane in lanes(active) {
            let packed = self.operand(instruction, 0, warp, lane)?;
            for (index, result) in instruction.results.iter().enumerate() {
                if let Some(result) = result {
                    warp.registers[*result][lane] = packed >> (index as u32 * width) & ((1 << width) - 1);
                }
            }
        }
        Ok(())
    }

    /// Reads bytes for a lane.
    fn read(&mut self, space: Option<Space>, address: u64, into: &mut [u8], warp: &Warp, lane: usize) -> Result<(), Stop> {
        let (space, mut address) = resolve(space, address);
        let out = FaultKind::OutOfBounds { space, address, bytes: into.len() };
        let from = match space {
            Space::Global => return self.memory.read(address, into).map_err(at(lane)),
            Space::Shared => {
                let by = Visitor { warp: warp.number, clock: &self.clocks[warp.number] };
                return self.shared.read(address, into, by).map_err(at(lane));
            }
            Space::Local => warp.local.get(lane).map_or(&[][..], |it| it),
            Space::Param => self.params,
            Space::Module => {
                let (index, at) = in_variable(address);
                address = at;
                self.kernel.source.variables.get(index).map_or(&[][..], |(_, bytes)| bytes)
            }
        };
        let range = address as usize..(address as usize).saturating_add(into.len());
        into.copy_from_slice(from.get(range).ok_or((out, Some(lane)))?);
        Ok(())
    }

    /// Writes bytes for a lane.
    fn write(&mut self, space: Option<Space>, address: u64, from: &[u8], warp: &mut Warp, lane: usize) -> Result<(), Stop> {
        let (space, address) = resolve(space, address);
        match space {
            Space::Module => Err((FaultKind::VariableWritten { address }, Some(lane))),
            Space::Global => self.memory.write(address, from).map_err(at(lane)),
            Space::Shared => {
                let by = Visitor { warp: warp.number, clock: &self.clocks[warp.number] };
                self.shared.write(address, from, by).map_err(at(lane))
            }
            Space::Local | Space::Param => {
                let out = FaultKind::OutOfBounds { space, address, bytes: from.len() };
                let range = address as usize..(address as usize).saturating_add(from.len());
                let local = warp.local.get_mut(lane).filter(|_| space == Space::Local);
                let to = local.and_then(|it| it.get_mut(range)).ok_or((out, Some(lane)))?;
                to.copy_from_slice(from);
                Ok(())
            }
        }
    }

    fn load(&mut self, space: Option<Space>, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let size = kind.bytes();
        let count = instruction.results.len();
        let mut bytes = [0; 64];
        let bytes = bytes.get_mut(..size * count).ok_or(MALFORMED)?;
        for lane in lanes(active) {
            let address = self.address(instruction, 0, warp, lane)?;
            aligned(space, address, size * count, lane)?;
            self.read(space, address, bytes, warp, lane)?;
            for (result, bytes) in instruction.results.iter().zip(bytes.chunks(size)) {
                if let Some(result) = result {
                    let bits = bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    warp.registers[*result][lane] = evaluate_extension(kind, bits);
                }
            }
        }
        Ok(())
    }

    fn store(&mut self, space: Option<Space>, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let size = kind.bytes();
        for lane in lanes(active) {
            let address = self.address(instruction, 0, warp, lane)?;
            let mut bytes = Vec::with_capacity(16);
            for operand in &instruction.operands {
                bytes.extend_from_slice(&self.value(*operand, warp, lane).to_le_bytes()[..size]);
            }
            aligned(space, address, bytes.len(), lane)?;
            self.write(space, address, &bytes, warp, lane)?;
        }
        Ok(())
    }

    fn atomic_add(&mut self, kind: Type, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..kind.bytes()];
        for lane in lanes(active) {
            let address = self.address(instruction, 0, warp, lane)?;
            aligned(Some(Space::Global), address, bytes.len(), lane)?;
            self.read(Some(Space::Global), address, bytes, warp, lane)?;
            let before = bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            let added = self.operand(instruction, 0, warp, lane)?;
            let sum = evaluate(Function::Add, kind, &[before, added, 0, 0, 0]).ok_or(MALFORMED)?;
            bytes.copy_from_slice(&sum.to_le_bytes()[..kind.bytes()]);
            self.write(Some(Space::Global), address, bytes, warp, lane)?;
            if let Some(Some(result)) = instruction.results.first() {
                warp.registers[*result][lane] = before;
            }
        }
        Ok(())
    }

    /// The lowest of the lanes that are asked for; all of them that have not ended must be here.
    fn elect(&self, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        for lane in lanes(active) {
            let mask = self.operand(instruction, 0, warp, lane)? as u32;
            if mask >> lane & 1 == 0 {
                return Err((FaultKind::Malformed, Some(lane)));
            }
            if mask & warp.live() & !active != 0 {
                return Err((FaultKind::Diverged, Some(lane)));
            }
            let leader = (mask & active).trailing_zeros() as usize;
            for (result, value) in instruction.results.iter().zip([leader, usize::from(lane == leader)]) {
                if let Some(result) = result {
                    warp.registers[*result][lane] = value as u64;
                }
            }
        }
        Ok(())
    }

    fn shuffle(&self, mode: Shuffle, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        let source = *instruction.operands.first().ok_or(MALFORMED)?;
        let values: Values = std::array::from_fn(|lane| self.value(source, warp, lane) & 0xffff_ffff);
        for lane in lanes(active) {
            let (b, c) = (self.operand(instruction, 1, warp, lane)? as usize & 31, self.operand(instruction, 2, warp, lane)? as usize);
            if self.operand(instruction, 3, warp, lane)? as u32 & warp.live() & !active != 0 {
                return Err((FaultKind::Diverged, Some(lane)));
            }
            let (clamp, segment) = (c & 31, c >> 8 & 31);
            let last = lane & segment | clamp & !segment;
            let first = lane & segment;
            let (from, there) = match mode {
                Shuffle::Up => (lane.wrapping_sub(b), lane >= b + last),
                Shuffle::Down => (lane + b, lane + b <= last),
                Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
                Shuffle::Index => (first | b & !segment, first | b & !segment <= last),
            };
            let from = if there { from } else { lane };
            if active >> from & 1 == 0 {
                return Err((FaultKind::Diverged, Some(lane)));
            }
            let results = [values[from], u64::from(there)];
            for (result, value) in instruction.results.iter().zip(results) {
                if let Some(result) = result {
                    warp.registers[*result][lane] = value;
                }
            }
        }
        Ok(())
    }

    /// The values of operands `from ..` of an instruction of the whole warp.
    fn registers(&self, instruction: &Instruction, from: usize, count: usize, warp: &Warp) -> Result<Vec<Values>, Stop> {
        let operands = instruction.operands.get(from..from + count).ok_or(MALFORMED)?;
        Ok(operands
            .iter()
            .map(|it| std::array::from_fn(|lane| self.value(*it, warp, lane)))
            .collect())
    }

    /// `ldmatrix`, `stmatrix` and `mma`.
    fn tile(&mut self, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        whole_warp(active)?;
        let mut computed = Vec::new();
        match instruction.operation {
            Operation::LoadMatrix(transposed) => {
                for matrix in 0..instruction.results.len() {
                    let mut rows = [[0u16; 8]; 8];
                    for (row, target) in rows.iter_mut().enumerate() {
                        let lane = (8 * matrix + row) % LANES;
                        let address = self.address(instruction, 0, warp, lane)?;
                        aligned(Some(Space::Shared), address, 16, lane)?;
                        let mut bytes = [0; 16];
                        self.read(Some(Space::Shared), address, &mut bytes, warp, lane)?;
                        *target = std::array::from_fn(|it| u16::from_le_bytes([bytes[2 * it], bytes[2 * it + 1]]));
                    }
                    computed.push(matrix::spread(&rows, transposed));
                }
            }
            Operation::StoreMatrix(transposed) => {
                let registers = self.registers(instruction, 0, instruction.operands.len(), warp)?;
                for (matrix, values) in registers.iter().enumerate() {
                    for (row, elements) in matrix::gather(values, transposed).iter().enumerate() {
                        let lane = (8 * matrix + row) % LANES;
                        let address = self.address(instruction, 0, warp, lane)?;
                        aligned(Some(Space::Shared), address, 16, lane)?;
                        let bytes: Vec<u8> = elements.iter().flat_map(|it| it.to_le_bytes()).collect();
                        self.write(Some(Space::Shared), address, &bytes, warp, lane)?;
                    }
                }
            }
            _ => {
                let part = |from, count| self.registers(instruction, from, count, warp);
                computed.extend(matrix::product(&part(0, 4)?, &part(4, 2)?, &part(6, 4)?));
            }
        }
        put(instruction, warp, &computed)
    }

    /// `wmma`, 16 x 16 at a time.
    fn whole(&mut self, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        whole_warp(active)?;
        let computed = match instruction.operation {
            Operation::WholeLoad(fragment, rows, space) => {
                let is_brain = fragment != Fragment::Sum;
                let mut matrix: Whole = [[0.0; 16]; 16];
                let mut bytes = [0; 4];
                let bytes = &mut bytes[..if is_brain { 2 } else { 4 }];
                for element in 0..256 {
                    let (lane, address) = self.whole_address(instruction, 0, element, rows, bytes.len(), warp)?;
                    self.read(space, address, bytes, warp, lane)?;
                    let bits = bytes.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
                    matrix[element / 16][element % 16] = f32::from_bits(if is_brain { bits << 16 } else { bits });
                }
                matrix::whole_to_registers(&matrix, is_brain)
            }
            Operation::WholeStore(rows, space) => {
                let matrix = matrix::whole_from_registers(&self.registers(instruction, 0, 8, warp)?);
                for element in 0..256 {
                    let (lane, address) = self.whole_address(instruction, 8, element, rows, 4, warp)?;
                    self.write(space, address, &matrix[element / 16][element % 16].to_le_bytes(), warp, lane)?;
                }
                Vec::new()
            }
            _ => {
                let part = |from, count| Ok(matrix::whole_from_registers(&self.registers(instruction, from, count, warp)?));
                matrix::whole_to_registers(&matrix::whole_product(&part(0, 4)?, &part(4, 4)?, &part(8, 8)?), false)
            }
        };
        put(instruction, warp, &computed)
    }

    /// Where an element of a `wmma` operand lies, and a lane to blame; `stride` is the operand that tells elements from row to row.
    fn whole_address(
        &self,
        instruction: &Instruction,
        stride: usize,
        element: usize,
        rows: bool,
        size: usize,
        warp: &Warp,
    ) -> Result<(usize, u64), Stop> {
        let lane = element / 8;
        let stride = self.operand(instruction, stride, warp, lane)?;
        let [outer, inner] = if rows {
            [element / 16, element % 16]
        } else {
            [element % 16, element / 16]
        };
        let offset = (outer as u64 * stride + inner as u64) * size as u64;
        let base = self.address(instruction, 0, warp, lane)?;
        aligned(None, base, 16, lane)?;
        Ok((lane, base + offset))
    }

    fn copy(&mut self, bytes: usize, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<(), Stop> {
        for lane in lanes(active) {
            let (to, from) = (self.address(instruction, 0, warp, lane)?, self.address(instruction, 1, warp, lane)?);
            // Fewer bytes may be read; the rest is zeros.
            let count = self
                .operand(instruction, 1, warp, lane)
                .map_or(bytes, |count| count as usize & 0xffff_ffff);
            aligned(Some(Space::Shared), to, bytes, lane)?;
            aligned(Some(Space::Global), from, bytes, lane)?;
            let mut content = vec![0; bytes];
            self.read(Some(Space::Global), from, content.get_mut(..count).ok_or(MALFORMED)?, warp, lane)?;
            let by = Visitor { warp: warp.number, clock: &self.clocks[warp.number] };
            let started = self.copies.start(thread(warp, lane), to, content, instruction.line, &mut self.shared, by);
            started.map_err(at(lane))?;
        }
        Ok(())
    }

    /// Barriers in shared memory.
    fn barrier(&mut self, instruction: &Instruction, warp: &mut Warp, active: u32) -> Result<Turn, Stop> {
        let own = warp.number;
        let mut turn = Turn::GoesOn;
        for lane in lanes(active) {
            let address = match instruction.addresses.first() {
                Some(_) => self.address(instruction, 0, warp, lane)?,
                None => return Ok(Turn::GoesOn),
            };
            let by = Visitor { warp: own, clock: &self.clocks[own] };
            match instruction.operation {
                Operation::BarrierInit => {
                    aligned(Some(Space::Shared), address, 8, lane)?;
                    self.shared.write(address, &[0; 8], by).map_err(at(lane))?;
                    let expected = self.operand(instruction, 0, warp, lane)? as u32;
                    self.copies.init(address, expected);
                    continue;
                }
                // Whoever uses a barrier must know that it was initialised.
                _ => self.shared.read(address, &mut [0; 8], by).map_err(at(lane))?,
            }
            match instruction.operation {
                Operation::CopyArrive(counted) => {
                    self.copies
                        .arrive_with_copies(thread(warp, lane), address, counted, by)
                        .map_err(at(lane))?;
                    self.fruitless = 0;
                }
                Operation::BarrierArrive => {
                    let count = self.operand(instruction, 0, warp, lane).unwrap_or(1) as u32;
                    let phase = self.copies.arrive(address, count, by).map_err(at(lane))?;
                    if let Some(Some(result)) = instruction.results.first() {
                        warp.registers[*result][lane] = phase;
                    }
                    self.fruitless = 0;
                }
                _ => {
                    let wanted = self.operand(instruction, 0, warp, lane)?;
                    let parity = instruction.operation == Operation::BarrierTest { parity: true };
                    let phase = if parity { Phase::Parity(wanted) } else { Phase::Number(wanted) };
                    let ended = self.copies.test(address, phase, &mut self.shared).map_err(at(lane))?;
                    if let Some(Some(result)) = instruction.results.first() {
                        warp.registers[*result][lane] = u64::from(ended.is_some());
                    }
                    match ended {
                        Some(clock) => self.clocks[own].join(&clock),
                        None => turn = Turn::Ends,
                    }
                }
            }
        }
        if matches!(instruction.operation, Operation::BarrierArrive | Operation::CopyArrive(_)) {
            self.clocks[own].step(own);
        }
        Ok(turn)
    }
}

fn thread(warp: &Warp, lane: usize) -> usize {
    warp.number * LANES + lane
}

/// What a loaded value looks like in a register: signed ones are extended to its width.
fn evaluate_extension(kind: Type, bits: u64) -> u64 {
    if kind.class == crate::instruction::Class::Signed && kind.bits < 32 && bits >> (kind.bits - 1) == 1 {
        bits | 0xffff_ffff & !kind.mask()
    } else {
        bits
    }
}

fn aligned(space: Option<Space>, address: u64, alignment: usize, lane: usize) -> Result<(), Stop> {
    if address.is_multiple_of(alignment as u64) {
        return Ok(());
    }
    let (space, address) = resolve(space, address);
    Err((FaultKind::Misaligned { space, address, alignment }, Some(lane)))
}

fn whole_warp(active: u32) -> Result<(), Stop> {
    if active == u32::MAX {
        Ok(())
    } else {
        Err((FaultKind::Diverged, None))
    }
}

fn put(instruction: &Instruction, warp: &mut Warp, computed: &[Values]) -> Result<(), Stop> {
    if instruction.results.len() != computed.len() {
        return Err(MALFORMED);
    }
    for (result, values) in instruction.results.iter().zip(computed) {
        if let Some(result) = result {
            warp.registers[*result] = *values;
        }
    }
    Ok(())
}
