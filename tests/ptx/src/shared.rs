//! Shared memory, which knows of each two bytes who touched them last and whether a copy to them is in flight.

use crate::clocks::Clock;
use crate::fault::{FaultKind, Hazard, Space};

/// Bytes that are watched as one: the least that kernels of bf16 share between threads. Threads of different warps that write single bytes
/// side by side would be taken for a race.
const CELL: usize = 2;

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Which of its bytes were written, a bit each.
    written: u8,
    /// Who wrote it, and when by the clock of that warp; 0 is never.
    writer: usize,
    time: u32,
    /// Line of the copy that is in flight to it; 0 is none.
    in_flight: usize,
}

/// The shared memory of a block.
#[derive(Debug)]
pub struct Shared {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    /// When each warp last read each cell.
    reads: Vec<u32>,
    warps: usize,
}

/// Who accesses memory: a warp and what it knows.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    /// Number of the warp.
    pub warp: usize,
    /// Its clock.
    pub clock: &'a Clock,
}

impl Shared {
    /// Nothing has been written.
    pub fn new(bytes: usize, warps: usize) -> Self {
        let cells = bytes.div_ceil(CELL);
        Self {
            bytes: vec![0xcd; bytes],
            cells: vec![Cell::default(); cells],
            reads: vec![0; cells * warps],
            warps,
        }
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, FaultKind> {
        let fits = usize::try_from(address)
            .ok()
            .filter(|at| at.checked_add(bytes).is_some_and(|end| end <= self.bytes.len()));
        let at = fits.ok_or(FaultKind::OutOfBounds { space: Space::Shared, address, bytes })?;
        Ok(at..at + bytes)
    }

    /// Whether what was written to a cell happened before the visitor.
    fn check_writer(&self, index: usize, by: Visitor<'_>, hazard: Hazard) -> Result<(), FaultKind> {
        let cell = &self.cells[index];
        let address = (index * CELL) as u64;
        if cell.in_flight != 0 {
            return Err(FaultKind::CopyInFlight { address, started: cell.in_flight });
        }
        if cell.writer != by.warp && cell.time > by.clock.of(cell.writer) {
            return Err(FaultKind::Race { address, hazard, other: cell.writer });
        }
        Ok(())
    }

    /// Whether all reads of a cell happened before the visitor.
    fn check_readers(&self, index: usize, by: Visitor<'_>) -> Result<(), FaultKind> {
        let reads = &self.reads[index * self.warps..][..self.warps];
        let late = |warp: usize| warp != by.warp && reads[warp] > by.clock.of(warp);
        match (0..self.warps).find(|warp| late(*warp)) {
            Some(other) => Err(FaultKind::Race { address: (index * CELL) as u64, hazard: Hazard::WriteAfterRead, other }),
            None => Ok(()),
        }
    }

    /// Reads from an address.
    ///
    /// # Errors
    /// Out of bounds, never written, a race, or a copy in flight.
    pub fn read(&mut self, address: u64, into: &mut [u8], by: Visitor<'_>) -> Result<(), FaultKind> {
        let range = self.range(address, into.len())?;
        for index in range.start / CELL..range.end.div_ceil(CELL) {
            self.check_writer(index, by, Hazard::ReadAfterWrite)?;
            let cell = &self.cells[index];
            let unwritten = (0..CELL).find(|byte| cell.written >> byte & 1 == 0 && range.contains(&(index * CELL + byte)));
            if let Some(byte) = unwritten {
                return Err(FaultKind::Uninitialised { space: Space::Shared, address: (index * CELL + byte) as u64 });
            }
            self.reads[index * self.warps + by.warp] = by.clock.of(by.warp);
        }
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    /// Writes to an address.
    ///
    /// # Errors
    /// Out of bounds, a race, or a copy in flight.
    pub fn write(&mut self, address: u64, from: &[u8], by: Visitor<'_>) -> Result<(), FaultKind> {
        let range = self.range(address, from.len())?;
        for index in range.start / CELL..range.end.div_ceil(CELL) {
            self.check_writer(index, by, Hazard::WriteAfterWrite)?;
            self.check_readers(index, by)?;
        }
        self.put(range, from, by);
        Ok(())
    }

    fn put(&mut self, range: std::ops::Range<usize>, from: &[u8], by: Visitor<'_>) {
        for index in range.start / CELL..range.end.div_ceil(CELL) {
            let now = (0..CELL)
                .filter(|byte| range.contains(&(index * CELL + byte)))
                .fold(0, |mask, byte| mask | 1 << byte);
            let written = self.cells[index].written | now;
            self.cells[index] = Cell { written, writer: by.warp, time: by.clock.of(by.warp), in_flight: 0 };
        }
        self.bytes[range].copy_from_slice(from);
    }

    /// A copy to an address starts.
    ///
    /// # Errors
    /// As [`Shared::write`].
    pub fn start_copy(&mut self, address: u64, bytes: usize, line: usize, by: Visitor<'_>) -> Result<(), FaultKind> {
        let range = self.range(address, bytes)?;
        for index in range.start / CELL..range.end.div_ceil(CELL) {
            self.check_writer(index, by, Hazard::WriteAfterWrite)?;
            self.check_readers(index, by)?;
            self.cells[index].in_flight = line;
        }
        Ok(())
    }

    /// The copy lands; the bytes count as written by the visitor.
    pub fn land_copy(&mut self, address: u64, from: &[u8], by: Visitor<'_>) {
        let at = address as usize;
        self.put(at..at + from.len(), from, by);
    }
}
