//! The 32 threads of a warp: their registers, and where each of them is in the program.

/// Threads of a warp.
pub const LANES: usize = 32;

/// Values of a register, one for each lane.
pub type Values = [u64; LANES];

/// The lanes of a mask.
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}

/// Lanes that are at the same instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    at: usize,
    mask: u32,
}

/// A warp.
#[derive(Debug)]
pub struct Warp {
    /// Number in the block.
    pub number: usize,
    /// Registers.
    pub registers: Vec<Values>,
    /// Local memory of each lane.
    pub local: Vec<Vec<u8>>,
    /// Whether it waits at a barrier of the block.
    pub waits: bool,
    groups: Vec<Group>,
}

impl Warp {
    /// A warp whose first `threads` lanes exist, at the first instruction.
    pub fn new(number: usize, threads: usize, registers: usize, local_bytes: usize) -> Self {
        let mask = if threads >= LANES { u32::MAX } else { (1 << threads) - 1 };
        Self {
            number,
            registers: vec![[0; LANES]; registers],
            local: vec![vec![0; local_bytes]; if local_bytes > 0 { LANES } else { 0 }],
            waits: false,
            groups: vec![Group { at: 0, mask }],
        }
    }

    /// Lanes that have not ended.
    pub fn live(&self) -> u32 {
        self.groups.iter().fold(0, |mask, group| mask | group.mask)
    }

    /// The next instruction and the lanes that are there: those furthest behind, so that the others wait where ways join.
    pub fn next(&self) -> Option<(usize, u32)> {
        self.groups.iter().map(|group| (group.at, group.mask)).min()
    }

    /// The lanes of `mask`, which were furthest behind, go on: those of `taken` at `target`, the others at the next instruction.
    pub fn advance(&mut self, mask: u32, taken: u32, target: usize) {
        let Some(index) = self.groups.iter().position(|group| group.mask == mask) else {
            return;
        };
        let Group { at, .. } = self.groups.swap_remove(index);
        self.join(Group { at: at + 1, mask: mask & !taken });
        self.join(Group { at: target, mask: taken });
    }

    /// The lanes of `mask` end.
    pub fn end(&mut self, mask: u32) {
        self.groups.iter_mut().for_each(|group| group.mask &= !mask);
        self.groups.retain(|group| group.mask != 0);
    }

    fn join(&mut self, group: Group) {
        if group.mask == 0 {
            return;
        }
        match self.groups.iter_mut().find(|other| other.at == group.at) {
            Some(other) => other.mask |= group.mask,
            None => self.groups.push(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_part_and_join() {
        let mut warp = Warp::new(0, 32, 0, 0);
        warp.advance(u32::MAX, 0xffff, 10);
        assert_eq!(warp.next(), Some((1, 0xffff_0000)));
        warp.advance(0xffff_0000, 0xffff_0000, 10);
        assert_eq!(warp.next(), Some((10, u32::MAX)));
        warp.end(0xff);
        assert_eq!(warp.live(), 0xffff_ff00);
        warp.end(u32::MAX);
        assert_eq!(warp.next(), None);
    }
}
